//! HTTP/3: connectors for it, and one request over a connection.

use hyper::body::Buf;
use hyper::{Request, Response};
use mtls_core::http_io::CheckFrames;
use mtls_core::quic::QuicConnector;
use mtls_core::{Error, MultipathConnector};
use quinn::Connection;

use crate::quic::plain_client_of;
use crate::{HOST, Result, Victim};

/// The application protocol.
const ALPN: &[u8] = b"h3";
/// The longest head of a response, and the longest body.
const MAX_LENGTH: u64 = 64 * 1024;

/// A connector with the settings and the side connections of one for TCP.
///
/// # Errors
/// Those of the builder.
pub fn connector(tcp: &MultipathConnector) -> Result<QuicConnector, Error> {
    QuicConnector::builder(tcp).alpn(&[ALPN]).build()
}

/// Connects as plain quinn does.
///
/// # Errors
/// Errors of the configuration, of the system or of QUIC.
pub async fn connect_plain(victim: &Victim) -> Result<Connection> {
    let endpoint = plain_client_of(ALPN, (*victim.config).clone())?;
    Ok(endpoint.connect(victim.address(), HOST)?.await?)
}

/// Sends a request without a body, and returns the response. Closes the connection.
///
/// # Errors
/// Errors of HTTP/3, and a body that is too long.
pub async fn fetch(connection: Connection, request: Request<()>) -> Result<Response<Vec<u8>>> {
    let quic = CheckFrames::new(connection, MAX_LENGTH);
    let (mut driver, mut requests) = h3::client::new(quic).await?;
    let exchange = async {
        let mut stream = requests.send_request(request).await?;
        stream.finish().await?;
        let response = stream.recv_response().await?;
        let mut body = Vec::new();
        while let Some(mut data) = stream.recv_data().await? {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            if body.len() as u64 > MAX_LENGTH {
                return Err("the body is too long".into());
            }
        }
        Ok(response.map(|()| body))
    };
    tokio::select! {
        response = exchange => response,
        ended = driver.wait_idle() => Err(ended.into()),
    }
}
