//! Socket diagnostics (sock_diag(7)): Multipath TCP connections, and the TCP sockets of their subflows.
//!
//! The kernel answers every user, about the sockets of the network namespace.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable as _, NLA_HEADER_SIZE, NetlinkSerializable, NlasIterator,
};

use crate::path::kernel::{NetlinkSocket, Subsystem};

/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
const IPPROTO_TCP: u32 = 6;
const IPPROTO_MPTCP: u32 = 262;

/// Attributes of requests and answers (`linux/inet_diag.h`).
const REQUEST_PROTOCOL: u16 = 3;
const INFO: u16 = 2;
const ULP_INFO: u16 = 19;
/// `INET_ULP_INFO_MPTCP`, and in it `MPTCP_SUBFLOW_ATTR_TOKEN_LOC` (`linux/mptcp.h`).
const ULP_MPTCP: u16 = 3;
const TOKEN_LOCAL: u16 = 2;
const SUBFLOW_FLAGS: u16 = 8;
/// `MPTCP_SUBFLOW_FLAG_BKUP_REM` and `MPTCP_SUBFLOW_FLAG_FULLY_ESTABLISHED`.
const BACKUP_REMOTE: u32 = 1 << 4;
const FULLY_ESTABLISHED: u32 = 1 << 6;

/// The states of sockets from `TCP_SYN_SENT` until both ends have closed.
const CONNECTED: u32 = 0b1011_0011_0110;

/// `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const REQUEST: usize = 56;
const ANSWER: usize = 72;

/// `INET_DIAG_NOCOOKIE`, twice.
const NO_COOKIE: u64 = u64::MAX;

/// `MPTCP_INFO_FLAG_FALLBACK`.
const FALLBACK: u32 = 1;

/// The kernel answers at once: this is for a broken one.
const TIMEOUT: Duration = Duration::from_secs(1);
/// More than one part of an answer ever has.
const MAX_PART: usize = 64 * 1024;
/// The most subflows of a connection that are reported; the kernel allows 8 besides the first.
const MAX_SUBFLOWS: usize = 64;

/// A socket to the diagnostics of the kernel.
pub(super) struct Diagnostics(NetlinkSocket);

/// A Multipath TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    /// Its name at this end.
    pub(super) token: u32,
    /// It is plain TCP.
    pub(super) fallback: bool,
    /// The ends of the first subflow.
    local: SocketAddr,
    peer: SocketAddr,
    received: u64,
    all_acknowledged: bool,
    reinjected: bool,
    /// The number of subflows; `None` where the kernel's structure is older.
    subflows: Option<usize>,
}

impl Connection {
    fn with(self, subflows: Vec<TcpSocket>) -> Snapshot {
        Snapshot {
            token: self.token,
            fallback: self.fallback,
            received: self.received,
            all_acknowledged: self.all_acknowledged,
            reinjected: self.reinjected,
            subflows,
        }
    }
}

/// The state of a connection: its counters and those of its subflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) token: u32,
    /// It is plain TCP.
    pub(crate) fallback: bool,
    /// The bytes that have arrived in order, over any subflow, each counted once.
    pub(crate) received: u64,
    /// The peer has acknowledged everything that was sent.
    pub(crate) all_acknowledged: bool,
    /// Bytes that one subflow has lost were sent again on another. Bytes that TCP sends again on the same one
    /// do not count.
    pub(crate) reinjected: bool,
    /// The first one first.
    pub(crate) subflows: Vec<TcpSocket>,
}

impl Snapshot {
    /// Whether so many bytes have left over the first subflow, acknowledged or not.
    pub(crate) fn has_sent_on_first(&self, sent: u64) -> bool {
        let first = self.subflows.first();
        first.is_some_and(|first| first.bytes_sent >= sent)
    }
}

/// The TCP socket of a subflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TcpSocket {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// The interface that it is bound to; 0: none.
    pub(crate) interface: u32,
    /// Bytes of data, each counted once.
    pub(crate) bytes_received: u64,
    /// Bytes of data, without those that were sent again.
    pub(crate) bytes_sent: u64,
    /// The peer wants no data over it while there is another.
    pub(crate) is_backup_for_peer: bool,
    /// Both ends have authenticated each other.
    pub(crate) is_established: bool,
}

impl Diagnostics {
    pub(super) fn open() -> io::Result<Self> {
        NetlinkSocket::open(Subsystem::SocketDiagnostics, MAX_PART, TIMEOUT).map(Self)
    }

    /// The connection between these addresses. Without `local`: the one from `peer`, if there is
    /// no other.
    pub(super) fn connection(
        &mut self,
        local: Option<SocketAddr>,
        peer: SocketAddr,
    ) -> io::Result<Option<Connection>> {
        let mut found = Vec::new();
        for family in FAMILIES {
            let ports = [local.map_or(0, |local| local.port()), peer.port()];
            let request = Request::all(family, IPPROTO_MPTCP, ports);
            self.0.dump(request, |answer| {
                if let Some(socket) = Socket::parse(answer)
                    && socket.peer == canonical(peer)
                    && local.is_none_or(|local| socket.local == canonical(local))
                {
                    found.extend(socket.connection());
                }
            })?;
        }
        Ok(found.pop().filter(|_| found.is_empty()))
    }

    /// The state of such a connection.
    pub(super) fn snapshot(
        &mut self,
        local: Option<SocketAddr>,
        peer: SocketAddr,
    ) -> io::Result<Option<Snapshot>> {
        let Some(connection) = self.connection(local, peer)? else {
            return Ok(None);
        };
        let mut subflows = self.subflows(connection.token)?;
        let first = (connection.local, connection.peer);
        subflows.sort_by_key(|one| (one.local, one.peer) != first);
        Ok(Some(connection.with(subflows)))
    }

    /// The state of a connection that was found before, without a search. The kernel's number of its
    /// subflows shows that there is no other: `None` if there may be, or the kernel does not say.
    pub(super) fn snapshot_again(&mut self, last: &Snapshot) -> Option<Snapshot> {
        let first = last.subflows.first()?;
        let request = Request::connection(last.token, first);
        let connection = self.one(request, |socket| socket.connection())?;
        let is_same = connection.token == last.token
            && (connection.local, connection.peer) == (first.local, first.peer)
            && connection.subflows == Some(last.subflows.len());
        if !is_same {
            return None;
        }
        let again = |one: &TcpSocket| {
            let now = self.one(Request::subflow(one), |socket: &Socket<'_>| {
                let is_same = socket.token() == Some(last.token);
                is_same.then(|| socket.subflow())
            })?;
            let is_same = (now.local, now.peer) == (one.local, one.peer);
            is_same.then_some(now)
        };
        let subflows: Option<_> = last.subflows.iter().map(again).collect();
        Some(connection.with(subflows?))
    }

    /// One socket, which the kernel looks up.
    fn one<T>(
        &mut self,
        request: Request,
        read: impl FnOnce(&Socket<'_>) -> Option<T>,
    ) -> Option<T> {
        let (mut read, mut found) = (Some(read), None);
        self.0.request(request, 0).ok()?;
        let answered = self.0.read_part(|answer| {
            if let Some((socket, read)) = Socket::parse(answer).zip(read.take()) {
                found = read(&socket);
            }
        });
        // A socket that is gone is refused.
        answered.ok().and(found)
    }

    /// The subflows of a connection. The kernel looks at every TCP socket of the network namespace.
    pub(super) fn subflows(&mut self, token: u32) -> io::Result<Vec<TcpSocket>> {
        let mut found = Vec::new();
        for family in FAMILIES {
            let request = Request::all(family, IPPROTO_TCP, [0; 2]);
            self.0.dump(request, |answer| {
                if let Some(socket) = Socket::parse(answer)
                    && socket.token() == Some(token)
                    && found.len() < MAX_SUBFLOWS
                {
                    found.push(socket.subflow());
                }
            })?;
        }
        Ok(found)
    }
}

/// A request for sockets.
struct Request {
    family: u8,
    protocol: u32,
    /// 0: any.
    ports: [u16; 2],
    /// Of IPv4 or IPv6, each in its 16 bytes.
    addresses: [[u8; 16]; 2],
    interface: u32,
    cookie: u64,
}

impl Request {
    /// All sockets with these ports.
    fn all(family: u8, protocol: u32, ports: [u16; 2]) -> Self {
        Self {
            family,
            protocol,
            ports,
            addresses: Default::default(),
            interface: 0,
            cookie: 0,
        }
    }

    /// The socket of this subflow.
    fn subflow(socket: &TcpSocket) -> Self {
        let [local, peer] = [socket.local, socket.peer];
        Self {
            addresses: [local, peer].map(|end| octets(end.ip())),
            interface: socket.interface,
            cookie: NO_COOKIE,
            ..Self::all(
                FAMILIES[usize::from(local.is_ipv6())],
                IPPROTO_TCP,
                [local.port(), peer.port()],
            )
        }
    }

    /// The connection with this token, of which this is the first subflow.
    fn connection(token: u32, first: &TcpSocket) -> Self {
        Self {
            protocol: IPPROTO_MPTCP,
            // In place of a cookie.
            cookie: token.into(),
            ..Self::subflow(first)
        }
    }

    /// A protocol beyond 255 has no place in the fixed part.
    fn protocol(&self) -> DefaultNla {
        DefaultNla::new(REQUEST_PROTOCOL, self.protocol.to_ne_bytes().to_vec())
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        REQUEST + self.protocol().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (fixed, attributes) = buffer.split_at_mut(REQUEST);
        fixed[0] = self.family;
        fixed[1] = IPPROTO_TCP as u8;
        fixed[2] = 1 << (INFO - 1);
        fixed[4..8].copy_from_slice(&CONNECTED.to_ne_bytes());
        fixed[8..10].copy_from_slice(&self.ports[0].to_be_bytes());
        fixed[10..12].copy_from_slice(&self.ports[1].to_be_bytes());
        fixed[12..28].copy_from_slice(&self.addresses[0]);
        fixed[28..44].copy_from_slice(&self.addresses[1]);
        fixed[44..48].copy_from_slice(&self.interface.to_ne_bytes());
        // Two numbers of 32 bits, of which the first one is a token.
        fixed[48..52].copy_from_slice(&(self.cookie as u32).to_ne_bytes());
        fixed[52..56].copy_from_slice(&((self.cookie >> 32) as u32).to_ne_bytes());
        self.protocol().emit(attributes);
    }
}

/// A socket in an answer.
struct Socket<'a> {
    local: SocketAddr,
    peer: SocketAddr,
    interface: u32,
    attributes: &'a [u8],
}

impl<'a> Socket<'a> {
    fn parse(answer: &'a [u8]) -> Option<Self> {
        let (fixed, attributes) = answer.split_at_checked(ANSWER)?;
        let address = |port: usize, ip: usize| {
            let port = u16::from_be_bytes(*fixed[port..].first_chunk()?);
            let ip = match fixed[0] {
                2 => IpAddr::from(Ipv4Addr::from(*fixed[ip..].first_chunk::<4>()?)),
                _ => IpAddr::from(Ipv6Addr::from(*fixed[ip..].first_chunk::<16>()?)),
            };
            Some(canonical(SocketAddr::new(ip, port)))
        };
        Some(Self {
            local: address(4, 8)?,
            peer: address(6, 24)?,
            interface: u32::from_ne_bytes(*fixed[40..].first_chunk()?),
            attributes,
        })
    }

    /// Of `struct mptcp_info`.
    fn connection(&self) -> Option<Connection> {
        let info = attribute(self.attributes, INFO)?;
        let flags = u32::from_ne_bytes(*info.get(8..)?.first_chunk()?);
        let token = u32::from_ne_bytes(*info.get(12..)?.first_chunk()?);
        let counter = |at| counter(info, at);
        Some(Connection {
            token,
            fallback: flags & FALLBACK != 0,
            local: self.local,
            peer: self.peer,
            // `write_seq` and `snd_una`.
            all_acknowledged: counter(16).is_some() && counter(16) == counter(24),
            reinjected: counter(48).is_some_and(|bytes| bytes > 0),
            received: counter(64).unwrap_or_default(),
            subflows: info.get(80).map(|number| usize::from(*number)),
        })
    }

    /// The token of the connection of which it is a subflow.
    fn token(&self) -> Option<u32> {
        self.mptcp_number(TOKEN_LOCAL)
    }

    /// A number about the subflow.
    fn mptcp_number(&self, kind: u16) -> Option<u32> {
        let protocol = attribute(self.attributes, ULP_INFO)?;
        let mptcp = attribute(protocol, ULP_MPTCP)?;
        let number = attribute(mptcp, kind)?;
        Some(u32::from_ne_bytes(*number.first_chunk()?))
    }

    /// With counters of `struct tcp_info`.
    fn subflow(&self) -> TcpSocket {
        let info = attribute(self.attributes, INFO).unwrap_or_default();
        let counter = |at| counter(info, at).unwrap_or_default();
        let flags = self.mptcp_number(SUBFLOW_FLAGS).unwrap_or_default();
        TcpSocket {
            local: self.local,
            peer: self.peer,
            interface: self.interface,
            bytes_received: counter(128),
            bytes_sent: counter(200).saturating_sub(counter(208)),
            is_backup_for_peer: flags & BACKUP_REMOTE != 0,
            is_established: flags & FULLY_ESTABLISHED != 0,
        }
    }
}

/// A number of 64 bits in a structure; `None` where the kernel's is older and shorter.
fn counter(info: &[u8], at: usize) -> Option<u64> {
    let bytes = info.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

/// The value of the first attribute of a kind.
pub(super) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut valid = NlasIterator::new(attributes).filter_map(Result::ok);
    let found = valid.find(|one| one.kind() == kind)?;
    let len = usize::from(found.length());
    found.into_inner().get(NLA_HEADER_SIZE..len)
}

/// An IPv4 connection on an IPv6 socket has IPv4 addresses; zones are not in the answers.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
