//! A client of QUIC that fetches the page, with and without a verification.

use mtls_core::proto::binding::Binding;
use mtls_core::quic::QuicConnector;
use mtls_core::{Error, Policy};
use quinn::{Connection, ConnectionError, TransportErrorCode};

use super::outcome::FetchOutcome;
use crate::quic::{ALPN, QuicStream};
use crate::{Result, Victim, fetch};

/// The codes of TLS alerts (RFC 9001, section 4.8).
const CRYPTO_ERROR: std::ops::Range<u64> = 0x100..0x200;

/// As plain quinn.
pub(super) async fn fetch_plain(victim: &Victim) -> Result<FetchOutcome> {
    Ok(match victim.connect_plain_quic().await? {
        Ok(connection) => fetch_over(connection).await,
        Err(error) => from_quic(&error),
    })
}

/// Verified by the exporter binding.
pub(super) async fn fetch_verified(victim: &Victim) -> Result<FetchOutcome> {
    let settings = victim.settings(Policy::Require).bindings(Binding::Exporter);
    let tcp = victim.connector_with(settings)?.build()?;
    let connector = QuicConnector::builder(&tcp).alpn(&[ALPN]).build()?;
    Ok(match connector.connect(&victim.target()).await {
        Ok(connection) => fetch_over(connection.into_inner()).await,
        Err(Error::Quic(error)) => from_quic(&error),
        // quinn reports why rustls refused a certificate as a text.
        Err(Error::Tls(rustls::Error::General(why))) => not_trusted(&why),
        Err(error) => FetchOutcome::from_error(&error),
    })
}

async fn fetch_over(connection: Connection) -> FetchOutcome {
    match QuicStream::open(connection).await {
        Ok(stream) => FetchOutcome::of(fetch(stream).await),
        Err(error) => FetchOutcome::Failed(error.to_string()),
    }
}

/// A connection that was not established.
fn from_quic(error: &ConnectionError) -> FetchOutcome {
    match error {
        ConnectionError::TransportError(failed)
            if CRYPTO_ERROR.contains(&u64::from(failed.code)) =>
        {
            not_trusted(&failed.reason)
        }
        // A Retry that the server has not sent.
        ConnectionError::TransportError(failed)
            if failed.code == TransportErrorCode::TRANSPORT_PARAMETER_ERROR =>
        {
            FetchOutcome::Refused(format!("no connection: {failed}"))
        }
        ConnectionError::VersionMismatch => {
            FetchOutcome::Refused(format!("no connection: {error}"))
        }
        other => FetchOutcome::Failed(other.to_string()),
    }
}

fn not_trusted(why: &str) -> FetchOutcome {
    FetchOutcome::Refused(format!("certificate not trusted: {why}"))
}
