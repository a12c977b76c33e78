//! A socket to the kernel's routing tables (rtnetlink(7)).

use core::time::Duration;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK` and `NETLINK_ROUTE` (`linux/netlink.h`).
const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;

/// A netlink socket, for one request at a time.
pub(super) struct NetlinkSocket {
    socket: Socket,
    sequence: u32,
    answer: Box<[u8]>,
}

impl NetlinkSocket {
    /// Opens a socket for answers of at most `max_answer` bytes. A kernel that does not answer is
    /// waited for until `timeout`.
    pub(super) fn open(max_answer: usize, timeout: Duration) -> io::Result<Self> {
        let protocol = Some(Protocol::from(NETLINK_ROUTE));
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, protocol)?;
        socket.set_read_timeout(Some(timeout))?;
        Ok(Self {
            socket,
            sequence: 0,
            answer: vec![0; max_answer].into(),
        })
    }

    /// Sends a request; `flags` besides `NLM_F_REQUEST`.
    pub(super) fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes).map(drop)
    }

    /// The next part of the answer, and the sequence number of the request.
    pub(super) fn receive(&mut self) -> io::Result<(&[u8], u32)> {
        let len = self.socket.read(&mut self.answer)?;
        Ok((&self.answer[..len], self.sequence))
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
