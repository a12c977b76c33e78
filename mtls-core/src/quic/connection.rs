//! A QUIC connection with its verdict.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use quinn::{Connection, VarInt};

use super::REFUSED;
use super::first_data::{FirstData, check_open};
use crate::error::Error;
use crate::stream::{MultipathStream, VerdictHandle};
use crate::verdict::Verdict;
use crate::verdict::evidence::Evidence;

/// A connection of quinn's and what is known of its verification.
///
/// [`into_inner`](Self::into_inner) gives the connection up unchanged: a verified connection costs
/// nothing for each byte.
///
/// # At a server
/// Under [`Policy::Prefer`](crate::Policy::Prefer) the verdict is decided when the client's first
/// application data arrive (`docs/protocol.md`, section 6.2). Until then the verdict's reason is
/// [`Reason::Undecided`](crate::Reason::Undecided).
///
/// - [`wait_for_verdict`](Self::wait_for_verdict) decides before
///   [`into_inner`](Self::into_inner). [`QuicListener`](super::QuicListener) does not wait.
/// - [`wait_for_confirm`](Self::wait_for_confirm) decides before the server's first data, where the server
///   speaks first.
/// - [`into_inner`](Self::into_inner) without either of them opts out: the policy refuses nothing on that
///   connection any more.
pub struct QuicConnection(MultipathStream<Watched>);

/// A connection, and at a server the moment of the client's first data.
pub(super) struct Watched {
    pub(super) connection: Connection,
    pub(super) first: Option<FirstData>,
    /// The receive window from the verdict on, where it is smaller before.
    pub(super) window: Option<VarInt>,
}

/// Closes a connection that the policy refuses.
pub(super) fn refuse(connection: &Connection) {
    connection.close(VarInt::from_u32(REFUSED), b"not verified");
}

impl From<Connection> for Watched {
    /// A client's connection.
    fn from(connection: Connection) -> Self {
        Self {
            connection,
            first: None,
            window: None,
        }
    }
}

impl Watched {
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(first) = &mut self.first {
            std::task::ready!(first.poll(cx));
            // It is asked again while the Confirm is awaited.
            self.first = None;
        }
        Poll::Ready(check_open(&self.connection).map_err(io::Error::from))
    }

    fn open_window(&mut self) {
        if let Some(window) = self.window.take() {
            self.connection.set_receive_window(window);
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl fmt::Debug for QuicConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicConnection")
            .field("connection", self.get_ref())
            .field("verdict", &self.verdict())
            .finish_non_exhaustive()
    }
}

impl From<MultipathStream<Watched>> for QuicConnection {
    fn from(mut stream: MultipathStream<Watched>) -> Self {
        if stream.is_decided() {
            stream.get_mut().open_window();
        }
        Self(stream)
    }
}

impl QuicConnection {
    /// The verdict as of now.
    pub fn verdict(&self) -> Verdict {
        self.0.verdict()
    }

    /// A handle to the verdict, which may outlive the connection.
    pub fn verdict_handle(&self) -> VerdictHandle {
        self.0.verdict_handle()
    }

    /// The evidence of an interception that [`Policy::Observe`](crate::Policy::Observe) accepted, at a
    /// client.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.0.evidence()
    }

    /// quinn's connection. Do not send on it before the verdict is decided.
    pub fn get_ref(&self) -> &Connection {
        &self.0.get_ref().connection
    }

    /// The peer's address of now: QUIC can move a connection to another path.
    pub fn remote_address(&self) -> SocketAddr {
        self.get_ref().remote_address()
    }

    /// Gives quinn's connection up.
    pub fn into_inner(self) -> Connection {
        self.into_parts().0
    }

    /// Gives both up.
    pub fn into_parts(self) -> (Connection, VerdictHandle) {
        let (mut watched, verdict) = self.0.into_parts();
        watched.open_window();
        (watched.connection, verdict)
    }

    /// The channel binding of each verified side path (`docs/protocol.md`, section 4.4): both ends have
    /// the same, and no third party has it. Empty when the connection is not verified.
    ///
    /// # Errors
    /// The error of the TLS exporter.
    pub fn channel_bindings(&self) -> Result<Vec<[u8; 32]>, rustls::Error> {
        let connection = self.get_ref();
        self.0.export_bindings(|mut out, label, context| {
            match connection.export_keying_material(&mut out, label, context) {
                Ok(()) => Ok(out),
                Err(_) => Err(rustls::Error::General("the TLS exporter failed".into())),
            }
        })
    }

    /// Waits until the verdict is decided, for protocols in which the client speaks first, such as HTTP/3:
    /// until a side connection has confirmed, or the client has opened a stream, sent a datagram, or
    /// closed. Where a side connection has sent an Open by then, the Confirm is awaited until the deadline.
    /// Takes nothing from the connection. Returns at once where the verdict is decided.
    ///
    /// A client that sends nothing is awaited until the idle timeout of the connection. Dropping the future
    /// gives the connection up.
    ///
    /// # Errors
    /// [`Error::Disputed`] when the policy refuses the connection; [`Error::Io`] when it broke before the
    /// first data.
    pub async fn wait_for_verdict(mut self) -> Result<Self, Error> {
        let decided = poll_fn(|cx| self.0.poll_decision(cx, Watched::poll_first)).await;
        self.decided(decided)
    }

    /// Waits until a side connection has confirmed the handshake, for protocols in which the server
    /// speaks first: at most until the deadline, which counts from the ClientHello. Returns at once where
    /// the verdict is decided. See [`ServerStream::wait_for_confirm`](crate::ServerStream::wait_for_confirm).
    ///
    /// # Errors
    /// [`Error::Disputed`] when the policy refuses the connection.
    pub async fn wait_for_confirm(mut self) -> Result<Self, Error> {
        let decided = poll_fn(|cx| self.0.poll_confirm(cx)).await;
        self.decided(decided)
    }

    fn decided(mut self, decided: Result<(), Error>) -> Result<Self, Error> {
        decided.inspect_err(|_| refuse(self.get_ref()))?;
        self.0.get_mut().open_window();
        Ok(self)
    }
}
