//! Tells connections for the target from side connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::first::FirstBytes;
use super::server::ServerRelay;
use super::server_tunnel::ServerTunnel;
use crate::error::{Error, TimedOut};
use crate::observer::Event;
use crate::path::Dial;
use crate::proto::frame::GREETING;
use crate::side::server::connection::SideConnection;
use crate::tls::first_hello::read_some;

/// An accepted connection.
#[derive(Debug)]
pub enum RelayAccepted<D: Dial, IO> {
    /// A connection for the target: [`ServerTunnel::run`] it in a task.
    Tunnel(Box<ServerTunnel<D, IO>>),
    /// A side connection: [`SideConnection::run`] it in a task.
    Side(SideConnection<IO>),
}

/// The first bytes of either kind.
enum FirstMessage {
    Side(Vec<u8>),
    Tunnel(FirstBytes),
}

impl<D: Dial> ServerRelay<D> {
    /// Takes a connection from `peer`: one for the target, or a side connection, by its first
    /// byte. A connection for the target is returned when its ClientHello is complete.
    ///
    /// Never await this in line in an accept loop: a silent client would block all others.
    /// Use [`RelayListener`](super::RelayListener), or a bounded number of tasks.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::InvalidMessage`] and [`Error::Io`] for a client that sends
    /// nothing to go by.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time driver.
    pub async fn accept<IO>(
        &self,
        mut io: IO,
        peer: SocketAddr,
    ) -> Result<RelayAccepted<D, IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let opened = timeout(self.inner.sides.settings.handshake_timeout, open(&mut io));
        let opened = opened
            .await
            .unwrap_or(Err(Error::TimedOut(TimedOut::ClientHello)))
            .inspect_err(|error| self.inner.sides.notify(&Event::Failed(error)))?;
        Ok(match opened {
            FirstMessage::Side(received) => {
                let sides = Arc::clone(&self.inner.sides);
                RelayAccepted::Side(SideConnection::new(sides, io, peer, received))
            }
            FirstMessage::Tunnel(first) => {
                RelayAccepted::Tunnel(Box::new(ServerTunnel::new(self.clone(), io, peer, first)))
            }
        })
    }
}

async fn open<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<FirstMessage, Error> {
    let received = read_some(io).await?;
    Ok(match received.first() == Some(&GREETING[0]) {
        true => FirstMessage::Side(received),
        false => FirstMessage::Tunnel(FirstBytes::read(io, received).await?),
    })
}
