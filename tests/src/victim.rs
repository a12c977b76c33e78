//! A client with a secret, which may be attacked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::{Dial as _, Endpoint, Host, HostName, Path};
use mtls_core::relay::ClientRelay;
use mtls_core::smkex::SmkexClient;
use mtls_core::{
    ClientSettings, ClientStream, ConnectorBuilder, Error, MultipathConnector, Policy,
};
use quinn::{Connection, ConnectionError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::quic::plain_client;
use crate::secrets::{HOST, REQUEST_SECRET};
use crate::{Result, tls};

/// How long a test waits for what it expects to come: long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client, and the addresses that its paths lead to.
///
/// All paths name the same host and port; an attacker on one of them answers at
/// another address, as a redirected packet would have it.
#[derive(Clone, Debug)]
pub struct Victim {
    /// The TLS configuration. Plain connections of one victim share its ticket store.
    pub config: Arc<ClientConfig>,
    server: SocketAddr,
    primary: SocketAddr,
    primary_path: Path,
    sides: Vec<Side>,
    smkex: bool,
}

#[derive(Clone, Debug)]
struct Side {
    path: Path,
    to: SocketAddr,
}

impl Victim {
    pub(crate) fn new(config: ClientConfig, server: SocketAddr) -> Self {
        Self {
            config: Arc::new(config),
            server,
            primary: server,
            primary_path: Path::system(),
            sides: Vec::new(),
            smkex: false,
        }
    }

    /// Changes the address that its primary path leads to.
    #[must_use]
    pub fn primary_to(mut self, address: SocketAddr) -> Self {
        self.primary = address;
        self
    }

    /// Changes its primary path.
    #[must_use]
    pub fn primary_by(mut self, path: Path) -> Self {
        self.primary_path = path;
        self
    }

    /// Adds a side path to this address. Without any there is one, directly to the server.
    #[must_use]
    pub fn side_to(self, address: SocketAddr) -> Self {
        self.side_by(Path::system(), address)
    }

    /// Adds a side path from a source address of the client.
    ///
    /// # Panics
    /// When the address cannot be a client's.
    #[must_use]
    pub fn side_from(self, source: IpAddr, to: SocketAddr) -> Self {
        let path = Path::source(source.into()).expect("an address of a client's own");
        self.side_by(path, to)
    }

    /// Adds a side path of any kind.
    #[must_use]
    pub fn side_by(mut self, path: Path, to: SocketAddr) -> Self {
        self.sides.push(Side { path, to });
        self
    }

    /// Accepts any raw public key, and authenticates it by the side paths alone. The policy of
    /// its connectors is then `Require`.
    #[must_use]
    pub fn smkex(mut self) -> Self {
        self.smkex = true;
        self
    }

    /// Replaces the TLS configuration.
    #[must_use]
    pub fn with_config(mut self, config: ClientConfig) -> Self {
        self.config = Arc::new(config);
        self
    }

    /// The server's name and port.
    pub fn target(&self) -> Endpoint {
        let host = HostName::new(HOST).expect("the lab's host is a name");
        Endpoint::new(Host::Name(host), self.primary.port())
    }

    /// The address that its primary path leads to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.primary
    }

    /// A relay over this client's paths, for a client that knows only TLS.
    ///
    /// # Errors
    /// When the settings are invalid.
    pub fn relay(&self, policy: Policy) -> Result<ClientRelay> {
        Ok(ClientRelay::builder(&tls::provider(), self.settings(policy)).build()?)
    }

    /// The side paths, and their endpoint.
    fn sides(&self) -> (Vec<Path>, Endpoint) {
        let direct = [Side {
            path: Path::system(),
            to: self.server,
        }];
        let sides = match self.sides.is_empty() {
            true => &direct[..],
            false => &self.sides,
        };
        let port = sides.first().map_or(0, |side| side.to.port());
        let led = sides.iter().map(|side| lead(side.path.clone(), side.to));
        (led.collect(), Endpoint::new(self.target().host, port))
    }

    /// Settings with this client's paths, and time limits for a machine under load.
    pub fn settings(&self, policy: Policy) -> ClientSettings {
        let (sides, endpoint) = self.sides();
        let settings = ClientSettings::new(policy)
            .primary(lead(self.primary_path.clone(), self.primary))
            .side_endpoint(endpoint)
            .deadline(PATIENCE);
        sides.into_iter().fold(settings, ClientSettings::side)
    }

    /// A connector with these settings.
    ///
    /// # Errors
    /// When a client of SMKEX gets another policy than `Require`.
    pub fn connector_with(&self, settings: ClientSettings) -> Result<ConnectorBuilder> {
        Ok(match self.smkex {
            true => SmkexClient::new(tls::provider()).connector(settings)?,
            false => MultipathConnector::builder(Arc::clone(&self.config), settings),
        })
    }

    /// A connector over this client's paths.
    ///
    /// # Errors
    /// As [`connector_with`](Self::connector_with).
    pub fn connector(&self, policy: Policy) -> Result<ConnectorBuilder> {
        self.connector_with(self.settings(policy))
    }

    /// Connects over all paths, with a connector of its own.
    ///
    /// # Errors
    /// Errors of the connector.
    pub async fn connect(&self, policy: Policy) -> Result<ClientStream<TcpStream>, Error> {
        let builder = self
            .connector(policy)
            .expect("a loopback address is a source");
        builder.build()?.connect(&self.target()).await
    }

    /// Connects with other settings of the connector, and [`describe`]s the result.
    ///
    /// # Errors
    /// When the settings are invalid.
    pub async fn outcome_with(
        &self,
        policy: Policy,
        tune: impl FnOnce(ClientSettings) -> ClientSettings,
    ) -> Result<String> {
        let settings = tune(self.settings(policy));
        let connector = self.connector_with(settings)?.build()?;
        Ok(describe(&connector.connect(&self.target()).await))
    }

    /// Connects, and [`describe`]s the result.
    ///
    /// # Errors
    /// As [`connector`](Self::connector).
    pub async fn outcome(&self, policy: Policy) -> Result<String> {
        self.outcome_with(policy, |settings| settings).await
    }

    /// Connects as plain tokio-rustls does.
    ///
    /// # Errors
    /// Errors of TLS.
    pub async fn connect_plain(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.primary).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, tcp)
            .await
    }

    /// Connects over QUIC as plain quinn does.
    ///
    /// # Errors
    /// Errors of the configuration or of the system; the inner error is that of QUIC.
    pub async fn connect_plain_quic(&self) -> Result<Result<Connection, ConnectionError>> {
        let client = plain_client((*self.config).clone())?;
        Ok(client.connect(self.primary, HOST)?.await)
    }

    /// Fetches the page by plain TLS over the primary path, which may be Multipath TCP.
    ///
    /// # Errors
    /// Errors of the path and of TLS, or no response.
    pub async fn fetch_plain_by_path(&self) -> Result<String> {
        fetch(self.connect_plain_by_path().await?).await
    }

    /// Connects by plain TLS over the primary path, which may be Multipath TCP.
    ///
    /// # Errors
    /// Errors of the path and of TLS.
    pub async fn connect_plain_by_path(&self) -> Result<TlsStream<TcpStream>> {
        let path = lead(self.primary_path.clone(), self.primary);
        let tcp = path.dial(&self.target()).await?.stream;
        let name = ServerName::try_from(HOST)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        Ok(connector.connect(name, tcp).await?)
    }

    /// Fetches the page by plain TLS.
    ///
    /// # Errors
    /// Errors of TLS, or no response.
    pub async fn fetch_plain(&self) -> Result<String> {
        fetch(self.connect_plain().await?).await
    }
}

/// Describes the result of a connection: `verified`, `intercepted: REASON` or
/// `unverified: REASON` where the application got its stream, `refused: REASON` or what else went
/// wrong where it did not. Reasons are those of `mtls_core`.
pub fn describe<IO>(result: &Result<ClientStream<IO>, Error>) -> String {
    match result {
        Ok(stream) => {
            let outcome = stream.verdict().outcome;
            match outcome.reason() {
                Some(reason) => format!("{}: {reason}", outcome.as_str()),
                None => outcome.as_str().to_owned(),
            }
        }
        Err(Error::Interception(evidence)) => {
            format!("refused: {}", evidence.reason.as_str())
        }
        Err(Error::Unverified(unverified)) => format!("refused: {}", unverified.reason.as_str()),
        Err(other) => other.to_string(),
    }
}

/// A path on which the lab's host has this address.
fn lead(path: Path, address: SocketAddr) -> Path {
    let host = HostName::new(HOST).expect("the lab's host is a name");
    path.resolve(host, address.port(), address.ip())
}

/// Asks for a page without secrets; the whole response.
pub(crate) async fn get_page(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await?;
    Ok(String::from_utf8(response)?)
}

/// The secret request.
pub fn request() -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: {REQUEST_SECRET}\r\nConnection: close\r\n\r\n"
    )
}

/// Sends the secret request, and reads the page.
///
/// # Errors
/// When the connection breaks, or nothing came.
pub async fn fetch(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String> {
    let request = request();
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        // An attacker need not close as TLS wants it.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
        _ if answer.is_empty() => return Err("the server closed without an answer".into()),
        _ => {}
    }
    let answer = String::from_utf8(answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((_, body)) => Ok(body.to_owned()),
        None => Err("the answer is no HTTP response".into()),
    }
}
