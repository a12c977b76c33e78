//! The first bytes of a connection through a relay.

use tokio::io::AsyncRead;

use crate::error::Error;
use crate::tls::first_hello::{FirstHello, TLS_HANDSHAKE, read_some};
use crate::verdict::Reason;

/// The first bytes of a client.
pub(super) enum FirstBytes {
    Hello(Box<FirstHello>),
    /// Bytes that cannot be verified, and why.
    Unverifiable(Vec<u8>, Reason),
}

impl FirstBytes {
    /// Reads on from `received` until the ClientHello is complete, or cannot be one.
    pub(super) async fn read<C: AsyncRead + Unpin>(
        client: &mut C,
        mut received: Vec<u8>,
    ) -> Result<Self, Error> {
        if received.is_empty() {
            received = read_some(client).await?;
        }
        if received.first() != Some(&TLS_HANDSHAKE) {
            return Ok(Self::Unverifiable(received, Reason::NotTls));
        }
        let hello = FirstHello::read(client, received).await?;
        Ok(match hello.tapped {
            _ if hello.tap.offers_early_data() => {
                Self::Unverifiable(hello.received, Reason::EarlyData)
            }
            Err(error) => Self::Unverifiable(hello.received, Reason::Hello(error)),
            Ok(()) => Self::Hello(Box::new(hello)),
        })
    }
}
