//! The moves of a side exchange inside a connection.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

use super::stream::Carrier;
use crate::tls::io::read_some;

/// A move of the exchange, as either end sees it.
pub(super) enum Step {
    FromSide(Vec<u8>),
    FromPeer(Vec<u8>),
    PeerSwitched,
}

impl Step {
    /// The next move: bytes of the side connection, unless this end `sends` no more, or of the peer.
    /// Safe to drop.
    pub(super) async fn next<IO>(
        carrier: &mut Carrier<IO>,
        side: &mut DuplexStream,
        sends: bool,
    ) -> io::Result<Self>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        tokio::select! {
            biased;
            read = read_some(side), if sends => {
                let read = read?;
                match read.is_empty() {
                    // The verification has given its side connection up.
                    true => carrier.read_side().await?,
                    false => return Ok(Self::FromSide(read)),
                }
            }
            read = carrier.read_side() => read?,
        }
        let received = carrier.take_side();
        Ok(match received.is_empty() {
            true => Self::PeerSwitched,
            false => Self::FromPeer(received),
        })
    }
}
