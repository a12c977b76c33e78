//! The server's TLS handshake: rustls does all of it; its hellos are tapped, and the side
//! secret is derived from its exporter secret, while it processes the ClientHello.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, SecureRandom};
use rustls::server::ResolvesServerCertUsingSni;
use rustls::{KeyLog, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::first_hello::{FirstHello, read_some};
use super::io::{feed, take_output};
use super::mark::Mark;
use crate::error::Error;
use crate::proto::binding::{Association, SideSecret, SideSecrets};
use crate::proto::error::HelloError;
use crate::proto::server::HandshakeKeys;
use crate::sync::lock;

/// The time in which a refused client may close, and the most bytes of it that are read meanwhile.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_UNREAD: u64 = 64 * 1024;

/// The label of RFC 8446's exporter secret in a key log.
const EXPORTER_SECRET: &str = "EXPORTER_SECRET";

/// A caller's configuration, made fit: no early data, no half-RTT data.
pub(crate) struct TlsSettings {
    pub(super) config: ServerConfig,
    stub: TlsAcceptor,
}

/// A connection whose ClientHello has been read, and not processed yet. Other bytes are left to
/// rustls, which sends the right alert.
pub(crate) struct ReadHello<IO> {
    pub(crate) io: IO,
    pub(crate) hello: FirstHello,
    /// Session tickets follow the handshake, as many as the configuration says.
    pub(crate) sends_tickets: bool,
}

/// A connection whose first flight is ready to leave.
pub(crate) struct FirstFlight<IO> {
    io: IO,
    connection: ServerConnection,
    output: Vec<u8>,
    stub: TlsAcceptor,
    /// The handshake's name; `None` where the ClientHello could not be read.
    pub(crate) association: Option<Association>,
    /// The secrets to register under it; `None` if there is nothing to compare.
    pub(crate) registers: Option<HandshakeKeys>,
    /// The mark of the session that the connection resumes.
    pub(crate) resumes: Option<Mark>,
}

impl TlsSettings {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let mut config = config.clone();
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        Self {
            stub: stub_acceptor(&config),
            config,
        }
    }

    /// The random generator of the configuration's provider.
    pub(crate) fn random(&self) -> &'static dyn SecureRandom {
        self.config.crypto_provider().secure_random
    }

    /// Moves a complete handshake to the stream that `take` makes of its own, with bytes that have
    /// arrived already.
    #[cfg(feature = "mptcp")]
    pub(crate) async fn moved<A, B>(
        &self,
        tls: TlsStream<A>,
        take: impl FnOnce(A) -> (B, Vec<u8>),
    ) -> Result<TlsStream<B>, Error>
    where
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let (io, mut connection) = tls.into_inner();
        let (io, received) = take(io);
        feed(&mut connection, &received)?;
        let accept = self.stub.accept_with(io, |place| *place = connection);
        Ok(accept.await?)
    }

    /// Processes the hellos of a connection up to the server's first flight. With a `mark` its
    /// tickets carry that after a full handshake, and after a resumption the mark of its session.
    pub(crate) async fn first_flight<IO>(
        &self,
        hello: ReadHello<IO>,
        mark: Option<Mark>,
    ) -> Result<FirstFlight<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let capture = Arc::new(CaptureExporter::new(Arc::clone(&self.config.key_log)));
        let mut config = self.config.clone();
        config.key_log = Arc::clone(&capture) as Arc<dyn KeyLog>;
        if !hello.sends_tickets {
            config.send_tls13_tickets = 0;
        }
        let mut connection = ServerConnection::new(Arc::new(config))?;
        if let Some(mark) = mark {
            connection.set_resumption_data(&mark.to_resumption_data());
        }
        let ReadHello { mut io, hello, .. } = hello;
        let FirstHello {
            mut received,
            mut tap,
            ..
        } = hello;
        loop {
            let fed = feed(&mut connection, &received);
            let output = take_output(&mut connection)?;
            if let Err(error) = fed {
                // The alert says why; the error is what counts, whether it arrives or not.
                let _ = io.write_all(&output).await;
                return Err(error);
            }
            let resumes = mark.and_then(|_| keep_mark(&mut connection));
            let tapped = tap.server_bytes(&output);
            let registers = match (tapped, capture.take()) {
                (_, Some(exporter)) => Some(HandshakeKeys::Tls13(SideSecrets {
                    exporter: Some(exporter),
                    hello: tap.hello().map(|hello| hello.side_secret()),
                })),
                (Err(HelloError::NotTls13 { .. }), None) => Some(HandshakeKeys::Older),
                (_, None) => None,
            };
            if registers.is_some() || tapped.is_err() || !connection.is_handshaking() {
                return Ok(FirstFlight {
                    io,
                    connection,
                    output,
                    stub: self.stub.clone(),
                    association: tap.association(),
                    registers,
                    resumes,
                });
            }
            io.write_all(&output).await?;
            io.flush().await?;
            received = read_some(&mut io).await?;
            // rustls evaluates bytes that the tap refuses: then there is no hello binding.
            let _ = tap.client_bytes(&received);
        }
    }
}

impl<IO> FirstFlight<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Sends the flight, calls `flushed`, and completes the handshake.
    pub(crate) async fn complete(mut self, flushed: impl FnOnce()) -> Result<TlsStream<IO>, Error> {
        self.io.write_all(&self.output).await?;
        self.io.flush().await?;
        drop(std::mem::take(&mut self.output));
        flushed();
        let connection = self.connection;
        let accept = self.stub.accept_with(self.io, |place| *place = connection);
        match accept.into_fallible().await {
            Ok(tls) => Ok(tls),
            Err((error, io)) => {
                let _ = timeout(CLOSE_TIMEOUT, close_after_alert(io)).await;
                Err(error.into())
            }
        }
    }
}

/// Gives the tickets of a resumed session its own mark, so that the age counts from the full handshake
/// however often the session is renewed.
fn keep_mark(connection: &mut ServerConnection) -> Option<Mark> {
    let data = connection.received_resumption_data()?.to_vec();
    connection.set_resumption_data(&data);
    Mark::from_resumption_data(&data)
}

/// Ends a connection so that the alert arrives. A client of TLS 1.3 may have sent its request
/// already, and a socket that is closed with bytes unread takes back what it has sent.
async fn close_after_alert<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) -> std::io::Result<()> {
    io.shutdown().await?;
    let mut rest = (&mut io).take(MAX_UNREAD);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

/// A key log that exports the side secret from the exporter secret, and passes everything that the
/// caller's own key log wants to that. The exporter secret itself, from which every exported value
/// can be computed, is not kept.
pub(super) struct CaptureExporter {
    callers: Arc<dyn KeyLog>,
    secret: Mutex<Option<SideSecret>>,
}

impl CaptureExporter {
    pub(super) fn new(callers: Arc<dyn KeyLog>) -> Self {
        Self {
            callers,
            secret: Mutex::new(None),
        }
    }

    pub(super) fn take(&self) -> Option<SideSecret> {
        lock(&self.secret).take()
    }
}

impl fmt::Debug for CaptureExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CaptureExporter(..)")
    }
}

impl KeyLog for CaptureExporter {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if label == EXPORTER_SECRET {
            *lock(&self.secret) = SideSecret::from_exporter_secret(secret);
        }
        if self.callers.will_log(label) {
            self.callers.log(label, client_random, secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == EXPORTER_SECRET || self.callers.will_log(label)
    }
}

/// tokio-rustls makes a connection of its own before it takes ours; it is dropped unused.
fn stub_acceptor(config: &ServerConfig) -> TlsAcceptor {
    let provider: Arc<CryptoProvider> = Arc::clone(config.crypto_provider());
    let cheap = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| {
            builder
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()))
        });
    TlsAcceptor::from(Arc::new(cheap.unwrap_or_else(|_| config.clone())))
}
