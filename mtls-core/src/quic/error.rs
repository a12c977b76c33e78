//! Errors of QUIC as those of the library.

use quinn::{ConnectError, ConnectionError, TransportErrorCode};
use rustls::AlertDescription;

use crate::error::{ApiMisuse, Error, TimedOut};

/// `CRYPTO_ERROR` and the alert (RFC 9001, section 4.8).
const CRYPTO_ERROR: std::ops::Range<u64> = 0x100..0x200;

/// The error of a connection that was not established. `certificate` is the verifier's own reason.
pub(super) fn not_established(error: ConnectionError, certificate: Option<rustls::Error>) -> Error {
    match (&error, certificate) {
        (ConnectionError::TransportError(_), Some(certificate)) => certificate.into(),
        (ConnectionError::TransportError(failed), None) if alert(failed.code).is_some() => {
            rustls::Error::General(failed.reason.clone()).into()
        }
        (ConnectionError::TimedOut, _) => Error::TimedOut(TimedOut::Handshake),
        (ConnectionError::ConnectionClosed(close), _) => match alert(close.error_code) {
            Some(alert) => rustls::Error::AlertReceived(alert).into(),
            None => Error::Quic(error),
        },
        _ => Error::Quic(error),
    }
}

fn alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let code = u64::from(code);
    let alert = CRYPTO_ERROR.contains(&code).then_some(code & 0xff)?;
    u8::try_from(alert).ok().map(AlertDescription::from)
}

/// The error of a connection that could not be begun.
pub(super) fn not_begun(error: ConnectError) -> Error {
    match error {
        ConnectError::InvalidServerName(name) => ApiMisuse::InvalidServerName(name).into(),
        other => Error::Io(std::io::Error::other(other)),
    }
}
