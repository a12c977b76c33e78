//! A client that sends another client's random.

use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};

use crate::world::provider;

/// A provider whose clients say `random` in their ClientHello, so that their handshakes have the
/// same name on side connections as their victim's. Key shares are as fresh as ever.
///
/// rustls wants its randomness for ever: each call leaks 32 bytes.
pub fn with_client_random(random: [u8; 32]) -> CryptoProvider {
    CryptoProvider {
        secure_random: Box::leak(Box::new(Copied(random))),
        ..provider()
    }
}

struct Copied([u8; 32]);

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Copied(..)")
    }
}

impl SecureRandom for Copied {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        let copied = self.0.iter().cycle();
        buffer
            .iter_mut()
            .zip(copied)
            .for_each(|(to, from)| *to = *from);
        Ok(())
    }
}
