//! Connections with a side exchange inside them (`docs/protocol.md`, section 15).

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::time::timeout_at;

use super::{Complete, FirstMessage, MultipathAcceptor};
use crate::carrier::Carrier;
use crate::carrier::server::ServerExchange;
use crate::error::{Error, TimedOut};
use crate::observer::Event;
use crate::path::mptcp::Watch;
use crate::proto::carrier::MAX_SIDE_BYTES;
use crate::proto::frame::FrameReader;
use crate::stream::ServerStream;
use crate::tls::first_hello::{FirstHello, read_some};
use crate::tls::server::ReadHello;

/// Reads the greeting and the ClientHello.
pub(super) async fn open<IO>(io: IO, received: Vec<u8>) -> Result<FirstMessage<IO>, Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut io = Carrier::new(io, received);
    let received = read_some(&mut io).await?;
    let hello = FirstHello::read(&mut io, received).await?;
    Ok(FirstMessage::Inside(Box::new(ReadHello {
        io,
        hello,
        // They could leave after the client has directed this end's bytes to the second subflow.
        sends_tickets: false,
    })))
}

impl MultipathAcceptor {
    #[tracing::instrument(name = "multipath_accept", level = "debug", skip_all, fields(%peer))]
    pub(super) async fn handshake_inside<IO>(
        &self,
        hello: ReadHello<Carrier<IO>>,
        peer: SocketAddr,
    ) -> Result<ServerStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.try_handshake_inside(hello, peer)
            .await
            .inspect_err(|error| self.notify(&Event::Failed(error)))
    }

    async fn try_handshake_inside<IO>(
        &self,
        hello: ReadHello<Carrier<IO>>,
        peer: SocketAddr,
    ) -> Result<ServerStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut complete = self.complete(hello).await?;
        self.exchange(&mut complete, peer).await?;
        let settings = &complete.settings;
        let tls = settings.moved(complete.tls, Carrier::into_parts).await?;
        let complete = Complete {
            tls,
            association: complete.association,
            registration: complete.registration,
            resumes: complete.resumes,
            fresh: complete.fresh,
            started: complete.started,
            time: complete.time,
            settings: complete.settings,
        };
        self.conclude(complete, peer).await
    }

    /// Answers the side exchange, until both ends have switched.
    async fn exchange<IO>(
        &self,
        complete: &mut Complete<Carrier<IO>>,
        peer: SocketAddr,
    ) -> Result<(), Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (near, far) = duplex(MAX_SIDE_BYTES);
        let side = self.side(far, peer, Vec::new());
        let exchange = ServerExchange {
            watch: Watch::new(None, peer),
            side: near,
            reader: FrameReader::new(),
        };
        let (carrier, _) = complete.tls.get_mut();
        let running = exchange.run(carrier, side.run());
        let limit = self.inner.sides.settings.handshake_timeout;
        let ended = timeout_at(complete.started + limit, Box::pin(running)).await;
        ended.map_err(|_| Error::TimedOut(TimedOut::Handshake))??;
        Ok(())
    }
}
