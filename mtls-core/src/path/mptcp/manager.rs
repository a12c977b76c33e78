//! The path manager of Multipath TCP (generic netlink family `mptcp_pm`): adds subflows, and sets
//! which ones the kernel prefers.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::fs::read_to_string;
use std::io;

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlMessage};
use socket2::{Domain, Protocol, Socket, Type};

use super::diagnostics::attribute;
use crate::path::kernel::{NetlinkSocket, Subsystem};

const FAMILY: &str = "mptcp_pm";

/// Commands (`linux/mptcp_pm.h`).
const SET_FLAGS: u8 = 7;
const SUBFLOW_CREATE: u8 = 10;
const SUBFLOW_DESTROY: u8 = 11;

/// Attributes of a command, and of an address.
const ADDR: u16 = 1;
const TOKEN: u16 = 4;
const ADDR_REMOTE: u16 = 6;
const ADDR_FAMILY: u16 = 1;
const ADDR_ID: u16 = 2;
const ADDR_4: u16 = 3;
const ADDR_6: u16 = 4;
const ADDR_PORT: u16 = 5;
const ADDR_FLAGS: u16 = 6;
const ADDR_INTERFACE: u16 = 7;

/// `MPTCP_PM_ADDR_FLAG_SUBFLOW` and `MPTCP_PM_ADDR_FLAG_BACKUP`.
const FLAG_SUBFLOW: u32 = 2;
const FLAG_BACKUP: u32 = 4;

/// `AF_INET` and `AF_INET6`.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The length of a generic header.
const GENERIC_HEADER: usize = 4;

/// The kernel answers at once: this is for a broken one.
const TIMEOUT: Duration = Duration::from_secs(1);
const MAX_ANSWER: usize = 8 * 1024;

/// A socket to the path manager.
pub(crate) struct PathManager {
    socket: NetlinkSocket,
    family: u16,
}

/// One subflow, as commands name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubflowName {
    /// Of its connection.
    pub(crate) token: u32,
    /// The identifier of the local address; that of the first subflow is 0.
    pub(crate) id: u8,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// The obstacle to adding subflows on this machine.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// The process lacks `CAP_NET_ADMIN`.
    NotPermitted,
    /// The kernel's own path manager is in charge.
    KernelManages,
    Other(io::Error),
}

impl PathManager {
    /// Opens a socket, if this process may add subflows and the kernel leaves that to processes.
    pub(crate) fn open() -> Result<Self, Obstacle> {
        // First: without Multipath TCP the other settings are of no use.
        Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).map_err(Obstacle::Other)?;
        if !leaves_subflows_to_processes() {
            return Err(Obstacle::KernelManages);
        }
        let mut manager = Self::connect().map_err(Obstacle::Other)?;
        match manager.probe() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Obstacle::NotPermitted)
            }
            // Any other answer is about the command, which names no connection.
            _ => Ok(manager),
        }
    }

    fn connect() -> io::Result<Self> {
        let mut socket = NetlinkSocket::open(Subsystem::Generic, MAX_ANSWER, TIMEOUT)?;
        let request = GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())],
        };
        socket.request(GenlMessage::from_payload(request), 0)?;
        let mut family = None;
        socket.read_part(|answer| {
            let attributes = answer.get(GENERIC_HEADER..).unwrap_or_default();
            let id = attribute(attributes, FAMILY_ID).and_then(<[u8]>::first_chunk);
            family = id.map(|id| u16::from_ne_bytes(*id));
        })?;
        let unknown = || io::Error::other("the kernel has no `mptcp_pm`");
        Ok(Self {
            socket,
            family: family.ok_or_else(unknown)?,
        })
    }

    /// A command that the kernel refuses, for another reason than a missing permission if that is
    /// there.
    fn probe(&mut self) -> io::Result<()> {
        self.send(SUBFLOW_DESTROY, Vec::new())
    }

    /// Adds a subflow from `local` (port 0: any) out of the interface with this index (0: as routed),
    /// as a backup: no data uses it yet.
    pub(crate) fn create(&mut self, subflow: SubflowName, interface: u32) -> io::Result<()> {
        let local = Address {
            id: Some(subflow.id),
            flags: FLAG_SUBFLOW | FLAG_BACKUP,
            interface,
            ..Address::of(subflow.local)
        };
        let attributes = vec![
            token(subflow.token),
            local.nested(ADDR),
            Address::of(subflow.peer).nested(ADDR_REMOTE),
        ];
        self.send(SUBFLOW_CREATE, attributes)
    }

    /// Ends a subflow.
    pub(crate) fn destroy(&mut self, subflow: SubflowName) -> io::Result<()> {
        let attributes = vec![
            token(subflow.token),
            Address::of(subflow.local).nested(ADDR),
            Address::of(subflow.peer).nested(ADDR_REMOTE),
        ];
        self.send(SUBFLOW_DESTROY, attributes)
    }

    /// Tells the kernels of both ends (MP_PRIO) whether to send data over a subflow only if there is
    /// no other.
    pub(crate) fn set_backup(&mut self, subflow: SubflowName, backup: bool) -> io::Result<()> {
        let local = Address {
            id: Some(subflow.id),
            flags: if backup { FLAG_BACKUP } else { 0 },
            ..Address::of(subflow.local)
        };
        let attributes = vec![
            token(subflow.token),
            local.nested(ADDR),
            Address::of(subflow.peer).nested(ADDR_REMOTE),
        ];
        self.send(SET_FLAGS, attributes)
    }

    fn send(&mut self, command: u8, attributes: Vec<DefaultNla>) -> io::Result<()> {
        let payload = Command {
            command,
            attributes,
        };
        let mut message = GenlMessage::from_payload(payload);
        message.set_resolved_family_id(self.family);
        self.socket.request(message, NLM_F_ACK)?;
        self.socket.read_part(|_| ()).map(drop)
    }
}

/// `CTRL_ATTR_FAMILY_ID`.
const FAMILY_ID: u16 = 1;

/// `net.mptcp.path_manager`, or its predecessor `net.mptcp.pm_type`.
fn leaves_subflows_to_processes() -> bool {
    let setting = |name: &str| read_to_string(format!("/proc/sys/net/mptcp/{name}"));
    match setting("path_manager") {
        Ok(manager) => manager.trim() == "userspace",
        Err(_) => setting("pm_type").is_ok_and(|kind| kind.trim() == "1"),
    }
}

#[derive(Debug)]
struct Command {
    command: u8,
    attributes: Vec<DefaultNla>,
}

impl GenlFamily for Command {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Command {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

fn token(token: u32) -> DefaultNla {
    DefaultNla::new(TOKEN, token.to_ne_bytes().to_vec())
}

/// An address of a command.
struct Address {
    address: SocketAddr,
    id: Option<u8>,
    flags: u32,
    interface: u32,
}

impl Address {
    fn of(address: SocketAddr) -> Self {
        Self {
            address,
            id: None,
            flags: 0,
            interface: 0,
        }
    }

    fn nested(&self, kind: u16) -> DefaultNla {
        let number = |kind, value: &[u8]| DefaultNla::new(kind, value.to_vec());
        let (family, ip) = match self.address.ip() {
            IpAddr::V4(ip) => (AF_INET, number(ADDR_4, &ip.octets())),
            IpAddr::V6(ip) => (AF_INET6, number(ADDR_6, &ip.octets())),
        };
        let mut attributes = vec![number(ADDR_FAMILY, &family.to_ne_bytes()), ip];
        attributes.extend(self.id.map(|id| number(ADDR_ID, &[id])));
        if self.address.port() != 0 {
            // In the byte order of the host.
            let port = self.address.port();
            attributes.push(number(ADDR_PORT, &port.to_ne_bytes()));
        }
        if self.flags != 0 {
            attributes.push(number(ADDR_FLAGS, &self.flags.to_ne_bytes()));
        }
        if self.interface != 0 {
            attributes.push(number(ADDR_INTERFACE, &self.interface.to_ne_bytes()));
        }
        let attributes = attributes.as_slice();
        let mut value = vec![0; attributes.buffer_len()];
        attributes.emit(&mut value);
        DefaultNla::new(kind | NLA_F_NESTED, value)
    }
}
