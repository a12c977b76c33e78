//! The hellos of a tunnel on their way through a client's relay.

use std::io;
use std::sync::atomic::Ordering;

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::pump::Counters;
use crate::error::{Error, InvalidMessage};
use crate::first_hello::READ_BUFFER;
use crate::proto::binding::{HelloHash, Role};
use crate::proto::error::HelloError;
use crate::proto::hello::HelloTap;

/// Passes the hellos, and holds everything from the ServerHello on.
///
/// A HelloRetryRequest passes before anything is verified: it carries no key share, and without
/// it there is no ServerHello to verify. All that a man in the middle gains by one is a second
/// ClientHello.
pub(super) struct HelloExchange<'a, C, S> {
    pub(super) client: &'a mut C,
    pub(super) server: &'a mut S,
    pub(super) tap: HelloTap,
    pub(super) counters: &'a Counters,
    /// What the server sent and the client has not got.
    pub(super) held: Vec<u8>,
    /// What the client sent and the server has not got: bytes that the tap refuses.
    pub(super) refused: Vec<u8>,
    /// How many of the server's bytes the client has got.
    pub(super) passed: usize,
}

/// What the hellos came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hellos {
    /// TLS 1.3: the ServerHello is here, and held.
    Tls13(HelloHash),
    /// The server chose an older version.
    Older,
    /// They cannot be bound.
    Unusable(HelloError),
}

impl<C, S> HelloExchange<'_, C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Sends the first ClientHello, with whatever followed it.
    pub(super) async fn send_first(&mut self, received: &[u8]) -> Result<(), Error> {
        send(self.server, received).await?;
        let sent = received.len() as u64;
        self.counters.to_server.fetch_add(sent, Ordering::Relaxed);
        Ok(())
    }

    /// Passes hellos until the ServerHello, or until the tap gives up. The tap reads at most 64 KiB
    /// of each direction.
    pub(super) async fn run(&mut self) -> Result<Hellos, Error> {
        let mut from_client = vec![0; READ_BUFFER];
        let mut from_server = vec![0; READ_BUFFER];
        loop {
            let step = tokio::select! {
                read = self.server.read(&mut from_server) => {
                    self.server_sent(&from_server[..read?]).await?
                }
                read = self.client.read(&mut from_client) => {
                    self.client_sent(&from_client[..read?]).await?
                }
            };
            if let Some(hellos) = step {
                return Ok(hellos);
            }
        }
    }

    async fn server_sent(&mut self, bytes: &[u8]) -> Result<Option<Hellos>, Error> {
        if bytes.is_empty() {
            let message = "the server closed before its hello was complete";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message).into());
        }
        self.held.extend_from_slice(bytes);
        match self.tap.server_bytes(bytes) {
            Err(HelloError::NotTls13 { .. }) => return Ok(Some(Hellos::Older)),
            Err(HelloError::Alert { description, .. }) => {
                // An alert carries no keys, and says to the client what went wrong.
                self.pass_to(self.tap.bytes_read(Role::Server)).await?;
                let alert = AlertDescription::from(description);
                return Err(rustls::Error::AlertReceived(alert).into());
            }
            Err(error) => return Ok(Some(Hellos::Unusable(error))),
            Ok(()) => {}
        }
        if let Some(hello) = self.tap.hello() {
            return Ok(Some(Hellos::Tls13(hello.hello_hash)));
        }
        self.pass_to(self.tap.hello_end(Role::Server)).await?;
        Ok(None)
    }

    /// Hands the client the server's bytes up to this one.
    async fn pass_to(&mut self, end: usize) -> Result<(), Error> {
        if end <= self.passed {
            return Ok(());
        }
        let count = end - self.passed;
        send(self.client, &self.held[..count]).await?;
        self.held.drain(..count);
        self.passed = end;
        self.counters
            .to_client
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn client_sent(&mut self, bytes: &[u8]) -> Result<Option<Hellos>, Error> {
        if bytes.is_empty() {
            return Err(InvalidMessage::EndedEarly.into());
        }
        if let Err(error) = self.tap.client_bytes(bytes) {
            self.refused = bytes.to_vec();
            return Ok(Some(Hellos::Unusable(error)));
        }
        self.send_first(bytes).await?;
        Ok(None)
    }
}

pub(super) async fn send<IO: AsyncWrite + Unpin>(io: &mut IO, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}
