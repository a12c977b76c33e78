//! Reads a client's first bytes: what both acceptors and relays do before anything else.

use tokio::io::AsyncRead;

use super::io;
use crate::error::{Error, InvalidMessage};
use crate::proto::error::HelloError;
use crate::proto::hello::HelloTap;

/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
pub(crate) const TLS_HANDSHAKE: u8 = 22;

/// The first bytes of a client, up to its first ClientHello.
pub(crate) struct FirstHello {
    /// The bytes.
    pub(crate) received: Vec<u8>,
    /// The tap that has read it.
    pub(crate) tap: HelloTap,
    /// The tap's result; after an error there is no complete ClientHello.
    #[cfg_attr(not(feature = "relay"), expect(dead_code))]
    pub(crate) tapped: Result<(), HelloError>,
}

/// Reads once.
pub(crate) async fn read_some<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Vec<u8>, Error> {
    let received = io::read_some(io).await?;
    match received.is_empty() {
        true => Err(InvalidMessage::EndedEarly.into()),
        false => Ok(received),
    }
}

impl FirstHello {
    /// Reads on from `received` until the first ClientHello is complete, or cannot be one.
    pub(crate) async fn read<IO: AsyncRead + Unpin>(
        io: &mut IO,
        mut received: Vec<u8>,
    ) -> Result<Self, Error> {
        let mut tap = HelloTap::new();
        let mut tapped = tap.client_bytes(&received);
        while tapped.is_ok() && tap.association().is_none() {
            let more = read_some(io).await?;
            tapped = tap.client_bytes(&more);
            received.extend(more);
        }
        Ok(Self {
            received,
            tap,
            tapped,
        })
    }
}
