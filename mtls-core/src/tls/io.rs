//! Moves bytes into and out of a rustls connection without a socket, and takes random bytes of its
//! provider: what both ends need of rustls beside their handshakes.

use rustls::ConnectionCommon;
use rustls::crypto::SecureRandom;

use crate::error::Error;
use crate::proto::binding::Nonce;

/// Everything that the connection has to send.
pub(crate) fn take_output<D>(connection: &mut ConnectionCommon<D>) -> Result<Vec<u8>, Error> {
    let mut output = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut output)?;
    }
    Ok(output)
}

/// Hands the connection what was received, and has it processed.
pub(crate) fn feed<D>(
    connection: &mut ConnectionCommon<D>,
    mut received: &[u8],
) -> Result<(), Error> {
    while !received.is_empty() {
        connection.read_tls(&mut received)?;
        connection.process_new_packets()?;
    }
    Ok(())
}

/// Fresh random bytes.
pub(crate) fn nonce(random: &dyn SecureRandom) -> Result<Nonce, Error> {
    let mut nonce = [0; 32];
    random
        .fill(&mut nonce)
        .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    Ok(nonce)
}
