//! The race of QUIC against TCP.

use std::pin::pin;
use std::time::Duration;

use mtls_core::Error;
use mtls_core::path::Endpoint;
use mtls_core::quic::QuicConnector;
use tokio::time::{Instant, timeout, timeout_at};

use super::attempt::Attempt;
use super::client::{Client, SideEndpoint};
use super::http3::AnyConnection;
use crate::failure::Failure;

/// The time that QUIC has before TCP is tried too, as in curl.
const HEAD_START: Duration = Duration::from_millis(200);
/// The time for the last packets of connections.
const LAST_PACKETS: Duration = Duration::from_millis(20);
impl Client<'_> {
    /// Connects by the transports that the options allow, and verifies, at most until `until`.
    pub(crate) async fn connect_any(
        &self,
        to: &Endpoint,
        side_endpoint: SideEndpoint,
        until: Option<Instant>,
    ) -> (Attempt, Option<AnyConnection>) {
        let Some(quic) = self
            .http3()
            .connector(side_endpoint == SideEndpoint::Configured)
        else {
            let (attempt, stream) = self.connect(to, side_endpoint, until).await;
            return (
                attempt,
                stream.map(|stream| AnyConnection::Tcp(Box::new(stream))),
            );
        };
        let connecting = self.race(quic, to, side_endpoint);
        let result = match until {
            Some(until) => timeout_at(until, connecting).await,
            None => Ok(connecting.await),
        };
        let paths = &self.settings.paths;
        let (mut attempt, connection) = match result {
            Ok(Ok(connection)) => (connection.attempt(to), Some(connection)),
            Ok(Err(error)) => (Attempt::failed(to, error, paths), None),
            Err(_) => {
                let activity = format!("connecting to {to} and verifying the connection");
                let failure = Failure::max_time(&activity);
                (Attempt::without_verdict(to, failure), None)
            }
        };
        attempt.notices = self.settings.known_hosts.notices();
        (attempt, connection)
    }

    /// QUIC first, and TCP when QUIC takes long or is not established. A connection that the policy
    /// refuses ends the race: it was established.
    async fn race(
        &self,
        quic: &QuicConnector,
        to: &Endpoint,
        side_endpoint: SideEndpoint,
    ) -> Result<AnyConnection, Error> {
        let port = self.http3().port(to);
        let mut over_quic = pin!(async {
            let connection = quic.connect_to_port(to, port).await?;
            Ok::<_, Error>(AnyConnection::Quic(connection))
        });
        if self.http3().is_only() {
            return over_quic.await;
        }
        let over_tcp = async {
            let stream = self.connector(side_endpoint).connect(to).await?;
            Ok(AnyConnection::Tcp(Box::new(stream)))
        };
        match timeout(HEAD_START, over_quic.as_mut()).await {
            Ok(Err(error)) if is_not_established(&error) => {
                tracing::debug!(%error, "no QUIC connection");
                return over_tcp.await;
            }
            Ok(ended) => return ended,
            Err(_) => {}
        }
        let mut over_tcp = pin!(over_tcp);
        let first = tokio::select! {
            ended = over_quic.as_mut() => (ended, true),
            ended = over_tcp.as_mut() => (ended, false),
        };
        match first {
            (Err(error), true) if is_not_established(&error) => over_tcp.await,
            (Err(error), false) if is_not_established(&error) => over_quic.await,
            (ended, _) => ended,
        }
    }

    /// Lets the last packets leave before the program ends.
    pub(crate) async fn finish(&self) {
        // The tasks of connections that were just dropped close them.
        let _ = timeout(LAST_PACKETS, self.http3().wait_idle()).await;
    }
}

/// Whether there was no connection to refuse.
fn is_not_established(error: &Error) -> bool {
    matches!(
        error,
        Error::Quic(_) | Error::Dial(_) | Error::TimedOut(_) | Error::Tls(_) | Error::Io(_)
    )
}
