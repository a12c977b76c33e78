//! Sockets to the kernel's network configuration (netlink(7)).

use core::time::Duration;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK` (`linux/netlink.h`).
const AF_NETLINK: i32 = 16;

/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The length of a message's header.
const HEADER: usize = 16;

/// A part of the kernel that answers (`linux/netlink.h`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Subsystem {
    /// `NETLINK_ROUTE`: interfaces, addresses and routes.
    Route = 0,
    /// `NETLINK_SOCK_DIAG`: the state of sockets.
    #[cfg(feature = "mptcp")]
    SocketDiagnostics = 4,
    /// `NETLINK_GENERIC`: families with names.
    #[cfg(feature = "mptcp")]
    Generic = 16,
}

/// A netlink socket, for one request at a time.
pub(super) struct NetlinkSocket {
    socket: Socket,
    sequence: u32,
    answer: Box<[u8]>,
}

impl NetlinkSocket {
    /// Opens a socket for answers of at most `max_answer` bytes. A kernel that does not answer is
    /// waited for until `timeout`.
    pub(super) fn open(
        subsystem: Subsystem,
        max_answer: usize,
        timeout: Duration,
    ) -> io::Result<Self> {
        let protocol = Some(Protocol::from(subsystem as i32));
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, protocol)?;
        socket.set_read_timeout(Some(timeout))?;
        Ok(Self {
            socket,
            sequence: 0,
            answer: vec![0; max_answer].into(),
        })
    }

    /// Sends a request; `flags` besides `NLM_F_REQUEST`.
    pub(super) fn request(
        &mut self,
        message: impl NetlinkSerializable,
        flags: u16,
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
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

    /// Requests all entries of a kind, and hands each answer on.
    pub(super) fn dump(
        &mut self,
        message: impl NetlinkSerializable,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.request(message, NLM_F_DUMP)?;
        while !self.read_part(&mut each)? {}
        Ok(())
    }

    /// Returns whether it was the last part.
    pub(super) fn read_part(&mut self, each: impl FnMut(&[u8])) -> io::Result<bool> {
        let (part, sequence) = self.receive()?;
        messages(part, sequence, each)
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Hands on what each message carries that answers this request; whether the last one is here.
pub(super) fn messages(
    mut part: &[u8],
    sequence: u32,
    mut each: impl FnMut(&[u8]),
) -> io::Result<bool> {
    while !part.is_empty() {
        let message = NetlinkBuffer::new_checked(part).map_err(io::Error::other)?;
        let (kind, payload) = (message.message_type(), message.payload());
        if message.sequence_number() == sequence {
            match kind {
                DONE => return Ok(true),
                ERROR => refused(payload)?,
                _ => each(payload),
            }
        }
        let len = (message.length() as usize).next_multiple_of(4).max(HEADER);
        part = part.get(len..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct nlmsgerr`: a negative error number, or 0.
fn refused(payload: &[u8]) -> io::Result<()> {
    match payload
        .first_chunk()
        .map(|bytes| i32::from_ne_bytes(*bytes))
    {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::other("an answer that is cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::messages;

    #[test]
    fn a_refusal_is_an_error_with_the_kernels_number() {
        let refusal = |code: i32| {
            let mut message = vec![20, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
            message.extend(code.to_ne_bytes());
            messages(&message, 7, |_| ()).map_err(|error| error.raw_os_error())
        };
        assert_eq!(refusal(-101), Err(Some(101)));
        assert_eq!(refusal(0), Ok(false));
        assert_eq!(refusal(i32::MIN).map(|_| ()), Err(Some(i32::MAX)));
    }
}
