//! The hellos of a tunnel on their way through a relay.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::pump::Counters;
use crate::error::{Error, InvalidMessage};
use crate::proto::binding::{HelloHash, Role};
use crate::proto::error::HelloError;
use crate::proto::hello::HelloTap;
use crate::tls::first_hello::FirstHello;
use crate::tls::io::read_some;

/// Passes each end's hellos, and nothing that follows its last one. The ServerHello itself does
/// not pass: what is to be done before it leaves differs from relay to relay.
///
/// A HelloRetryRequest passes before anything is verified: it carries no key share, and without
/// it there is no ServerHello to verify. All that a man in the middle gains by one is a second
/// ClientHello.
pub(super) struct HelloExchange<'a, C, S> {
    client: &'a mut C,
    server: &'a mut S,
    tap: HelloTap,
    to_server: Direction<'a>,
    to_client: Direction<'a>,
}

/// The bytes that one end sent, and the number of those that the other end received.
struct Direction<'a> {
    from: Role,
    bytes: Vec<u8>,
    passed: usize,
    counter: &'a AtomicU64,
}

/// The outcome of the hellos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HelloOutcome {
    /// TLS 1.3: the ServerHello is here, and held.
    Tls13(HelloHash),
    /// The server chose an older version.
    Older,
    /// They cannot be bound.
    Unusable(HelloError),
}

/// The bytes that each end sent and the other has not received.
pub(super) struct Unsent {
    pub(super) to_server: Vec<u8>,
    pub(super) to_client: Vec<u8>,
}

impl<'a, C, S> HelloExchange<'a, C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        client: &'a mut C,
        server: &'a mut S,
        first: FirstHello,
        counters: &'a Counters,
    ) -> Self {
        Self {
            client,
            server,
            tap: first.tap,
            to_server: Direction::new(Role::Client, first.received, &counters.to_server),
            to_client: Direction::new(Role::Server, Vec::new(), &counters.to_client),
        }
    }

    /// Passes hellos until the ServerHello, or until the tap gives up. The tap reads, and so this
    /// stores, at most 64 KiB of each direction.
    pub(super) async fn run(&mut self) -> Result<HelloOutcome, Error> {
        self.to_server.pass_hello(&self.tap, self.server).await?;
        loop {
            let step = tokio::select! {
                received = read_some(self.server) => self.server_sent(&received?).await?,
                received = read_some(self.client) => self.client_sent(&received?).await?,
            };
            if let Some(hellos) = step {
                return Ok(hellos);
            }
        }
    }

    pub(super) fn into_unsent(self) -> Unsent {
        Unsent {
            to_server: self.to_server.bytes,
            to_client: self.to_client.bytes,
        }
    }

    async fn server_sent(&mut self, bytes: &[u8]) -> Result<Option<HelloOutcome>, Error> {
        if bytes.is_empty() {
            return Err(self.server_closed().await?);
        }
        self.to_client.bytes.extend_from_slice(bytes);
        match self.tap.server_bytes(bytes) {
            Err(HelloError::NotTls13 { .. }) => return Ok(Some(HelloOutcome::Older)),
            Err(HelloError::Alert { description, .. }) => {
                return Err(self.server_alert(description).await?);
            }
            Err(error) => return Ok(Some(HelloOutcome::Unusable(error))),
            Ok(()) => {}
        }
        if let Some(hello) = self.tap.hello() {
            return Ok(Some(HelloOutcome::Tls13(hello.hello_hash)));
        }
        self.to_client.pass_hello(&self.tap, self.client).await?;
        Ok(None)
    }

    /// The error for a server that closed; a warning alert may state the reason.
    async fn server_closed(&mut self) -> io::Result<Error> {
        match self.tap.warning() {
            Some(description) => self.server_alert(description).await,
            None => {
                let message = "the server closed before its hello was complete";
                Ok(io::Error::new(io::ErrorKind::UnexpectedEof, message).into())
            }
        }
    }

    /// Passes the alert, which carries no keys and gives the client the reason.
    async fn server_alert(&mut self, description: u8) -> io::Result<Error> {
        let end = self.tap.bytes_read(Role::Server);
        self.to_client.pass(end, self.client).await?;
        let alert = AlertDescription::from(description);
        Ok(rustls::Error::AlertReceived(alert).into())
    }

    async fn client_sent(&mut self, bytes: &[u8]) -> Result<Option<HelloOutcome>, Error> {
        if bytes.is_empty() {
            return Err(InvalidMessage::EndedEarly.into());
        }
        self.to_server.bytes.extend_from_slice(bytes);
        if let Err(error) = self.tap.client_bytes(bytes) {
            return Ok(Some(HelloOutcome::Unusable(error)));
        }
        self.to_server.pass_hello(&self.tap, self.server).await?;
        Ok(None)
    }
}

impl<'a> Direction<'a> {
    fn new(from: Role, bytes: Vec<u8>, counter: &'a AtomicU64) -> Self {
        Self {
            from,
            bytes,
            passed: 0,
            counter,
        }
    }

    /// Passes up to the end of the last complete hello.
    async fn pass_hello<IO>(&mut self, tap: &HelloTap, to: &mut IO) -> io::Result<()>
    where
        IO: AsyncWrite + Unpin,
    {
        self.pass(tap.hello_end(self.from), to).await
    }

    /// Passes up to this byte of the direction.
    async fn pass<IO: AsyncWrite + Unpin>(&mut self, end: usize, to: &mut IO) -> io::Result<()> {
        let count = end.saturating_sub(self.passed);
        if count > 0 {
            send(to, &self.bytes[..count], self.counter).await?;
            self.bytes.drain(..count);
            self.passed = end;
        }
        Ok(())
    }
}

/// Writes, flushes and counts.
pub(super) async fn send<IO: AsyncWrite + Unpin>(
    to: &mut IO,
    bytes: &[u8],
    counter: &AtomicU64,
) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await?;
    counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(())
}
