//! SMKEX: the key exchange without any certificate authority, which the side protocol alone
//! authenticates (`docs/protocol.md`, section 8.4).
//!
//! The server has no certificate but a raw public key (RFC 7250) that was made when its
//! configuration was, and that no authority certifies. The client accepts *any* key whose holder signs
//! the handshake. TLS is otherwise what it always is: TLS 1.3, the same key exchange and ciphers.
//! Then both ends compare their handshakes over the side paths, and **neither end goes on
//! without**: the policy is [`Require`](crate::Policy::Require), and any other is an error.
//!
//! The name is that of the research: Costea, Choudary, Gucea, Tackmann and Raiciu, "Secure
//! Opportunistic Multipath Key Exchange" (ACM CCS 2018).
//!
//! # What it gives
//!
//! - Attackers who only read learn nothing, on however many paths.
//! - A man in the middle on one path is detected: on the primary path because their handshakes differ,
//!   on a side path because they know no handshake.
//! - So are attackers on all paths who do not communicate within the deadline.
//! - No authority has to be trusted, and none has to be paid or contacted.
//!
//! # What it does not give
//!
//! - **Nothing against active attackers on all paths who talk to one another.** There is no
//!   certificate that could stop them: what multipath TLS still has with honest authorities is
//!   gone. An attacker next to the server is on all paths.
//! - **No identity.** A verified connection ends at the host that answers at that address on all paths,
//!   and no name is checked. Choose addresses that you did not learn over one path only.
//! - No memory by itself: a new key is made at each start of the server. A client with
//!   [known hosts](crate::known_hosts) recognizes a key (trust on first use).
//! - To the server no more than multipath TLS gives: a peer did the side exchange, which can be a man
//!   in the middle.
//!
//! # The whole use
//!
//! ```
//! use std::sync::Arc;
//!
//! use mtls_core::path::{Endpoint, Path};
//! use mtls_core::smkex::{SmkexClient, SmkexServer};
//! use mtls_core::{ClientSettings, ListenerLimits, MultipathListener, Policy};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpListener;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tcp = TcpListener::bind("127.0.0.1:0").await?;
//! let address = tcp.local_addr()?;
//! let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
//! let acceptor = SmkexServer::new(Arc::clone(&provider)).acceptor(Policy::Require)?.build()?;
//! let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
//! let server = tokio::spawn(async move {
//!     let (mut stream, _peer) = listener.accept().await;
//!     stream.write_all(b"hello").await?;
//!     stream.shutdown().await
//! });
//!
//! let settings = ClientSettings::new(Policy::Require).side(Path::source("127.0.0.2".parse()?)?);
//! let connector = SmkexClient::new(provider).connector(settings)?.build()?;
//! let mut stream = connector.connect(&Endpoint::from(address)).await?;
//! assert_eq!(stream.verdict().outcome.as_str(), "verified");
//! let mut greeting = String::new();
//! stream.read_to_string(&mut greeting).await?;
//! assert_eq!(greeting, "hello");
//! # server.await??;
//! # Ok(())
//! # }
//! ```
//!
//! The settings and builders are those of multipath TLS. A policy other than
//! [`Require`](crate::Policy::Require) is an error:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mtls_core::smkex::SmkexServer;
//! use mtls_core::{ApiMisuse, Error, Policy};
//!
//! let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
//! let refused = SmkexServer::new(provider).acceptor(Policy::Observe);
//! assert!(matches!(refused, Err(Error::ApiMisuse(ApiMisuse::SmkexPolicy(_)))));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use crate::acceptor::{AcceptorBuilder, MultipathAcceptor};
use crate::connector::{ConnectorBuilder, MultipathConnector};
use crate::error::{ApiMisuse, Error};
use crate::path::Dial;
use crate::side::client::settings::ClientSettings;
use crate::side::server::settings::SideServiceSettings;
use crate::tls::raw_key::{AnyRawKey, ephemeral_key, raw_key};
use crate::tls::server_signature::RecordingVerifier;
use crate::verdict::policy::Policy;

static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The TLS configuration of a SMKEX client: TLS 1.3 alone, any raw public key, no resumption.
///
/// The configuration itself is not given out: with another policy it would be TLS that any
/// attacker on the path can intercept.
#[derive(Clone)]
#[must_use]
pub struct SmkexClient {
    provider: Arc<CryptoProvider>,
    protocols: Vec<Vec<u8>>,
}

/// The TLS configuration of a SMKEX server: TLS 1.3 alone, a raw public key, no resumption. Without
/// [`key`](Self::key), the key pair is made here and never leaves the process.
#[derive(Clone)]
#[must_use]
pub struct SmkexServer {
    provider: Arc<CryptoProvider>,
    protocols: Vec<Vec<u8>>,
    key: Option<Arc<CertifiedKey>>,
}

impl SmkexClient {
    /// A configuration without application protocols. The provider must be able to verify Ed25519,
    /// which the servers of this module sign with.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            protocols: Vec::new(),
        }
    }

    /// The application protocols on offer (ALPN), in the order of preference.
    pub fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.protocols = owned(protocols);
        self
    }

    /// Starts the builder of a connector that resumes no sessions.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for a policy other than [`Policy::Require`], [`Error::Tls`] for a provider
    /// without TLS 1.3.
    pub fn connector<D: Dial>(
        self,
        settings: ClientSettings<D>,
    ) -> Result<ConnectorBuilder<D>, Error> {
        check_policy(settings.policy)?;
        let verifier = AnyRawKey(self.provider.signature_verification_algorithms);
        let verifier = RecordingVerifier::new(Arc::new(verifier));
        let mut config = ClientConfig::builder_with_provider(self.provider)
            .with_protocol_versions(TLS13_ONLY)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = self.protocols;
        config.resumption = Resumption::disabled();
        Ok(MultipathConnector::builder(Arc::new(config), settings).smkex())
    }
}

impl SmkexServer {
    /// A configuration without application protocols. The provider must be able to sign with
    /// Ed25519.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            protocols: Vec::new(),
            key: None,
        }
    }

    /// Uses this key pair, of Ed25519 or another algorithm that clients can verify. A server that
    /// keeps its key is recognised by clients that [remember](crate::known_hosts) it. Default: a
    /// fresh key for each acceptor.
    ///
    /// # Errors
    /// [`Error::Tls`] for a key that the provider cannot use.
    pub fn key(mut self, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        self.key = Some(Arc::new(raw_key(&self.provider, key)?));
        Ok(self)
    }

    /// The application protocols that are spoken (ALPN), in the order of preference.
    pub fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.protocols = owned(protocols);
        self
    }

    /// Starts the builder of an acceptor. The application sees confirmed connections
    /// only.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for a policy other than [`Policy::Require`], [`Error::Tls`] for a provider
    /// without TLS 1.3, without Ed25519 or without randomness.
    pub fn acceptor(
        self,
        settings: impl Into<SideServiceSettings>,
    ) -> Result<AcceptorBuilder, Error> {
        let settings = settings.into();
        check_policy(settings.policy)?;
        let key = match self.key {
            Some(key) => key,
            None => Arc::new(ephemeral_key(&self.provider)?),
        };
        let mut config = ServerConfig::builder_with_provider(self.provider)
            .with_protocol_versions(TLS13_ONLY)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
        config.alpn_protocols = self.protocols;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(MultipathAcceptor::builder(Arc::new(config), settings).smkex())
    }
}

impl fmt::Debug for SmkexClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmkexClient").finish_non_exhaustive()
    }
}

impl fmt::Debug for SmkexServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmkexServer").finish_non_exhaustive()
    }
}

/// Without certificates, nothing but the verification authenticates the server.
fn check_policy(policy: Policy) -> Result<(), ApiMisuse> {
    match policy {
        Policy::Require => Ok(()),
        Policy::Prefer | Policy::Observe => Err(ApiMisuse::SmkexPolicy(policy)),
    }
}

fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.to_vec()).collect()
}
