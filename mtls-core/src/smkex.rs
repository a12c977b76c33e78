//! SMKEX: the key exchange without any certificate authority, which the side protocol alone
//! authenticates (`docs/protocol.md`, section 8.4).
//!
//! The server has no certificate but a raw public key (RFC 7250) that was made when its
//! configuration was, and that nobody vouches for. The client takes *any* key whose holder signs
//! the handshake. TLS is otherwise what it always is: TLS 1.3, the same key exchange and ciphers.
//! Then both ends compare their handshakes over the side paths, as ever, and **neither end goes on
//! without**: the policy is [`Require`](crate::Policy::Require), and there is no way to say
//! another one.
//!
//! The name is that of the research: Costea, Choudary, Gucea, Tackmann and Raiciu, "Secure
//! Opportunistic Multipath Key Exchange" (ACM CCS 2018).
//!
//! # What it gives
//!
//! - Attackers who only read learn nothing, on however many paths.
//! - A man in the middle on one path is noticed: on the primary path, since his handshakes do not
//!   fit; on a side path, since he knows no handshake.
//! - So are men in the middle on all paths who do not talk to one another within the deadline.
//! - No authority has to be trusted, and none has to be paid, asked or renewed.
//!
//! # What it does not give
//!
//! - **Nothing against active attackers on all paths who talk to one another.** There is no
//!   certificate that could stop them: what multipath TLS still has with honest authorities is
//!   gone. Who stands next to the server stands on all paths.
//! - **No identity.** A verified connection ends at whoever answers at that address on all paths,
//!   and no name is checked. Choose addresses that you did not learn over one path only.
//! - No memory: a key is not recognised at the next connection (trust on first use), and a new one
//!   is made at each start of the server.
//! - To the server no more than multipath TLS gives it: somebody did the side exchange. A man in
//!   the middle can be that somebody.
//!
//! # The whole use
//!
//! ```
//! use std::sync::Arc;
//!
//! use mtls_core::path::{Endpoint, Path};
//! use mtls_core::smkex::{SmkexClient, SmkexServer};
//! use mtls_core::{ListenerLimits, MultipathListener};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpListener;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tcp = TcpListener::bind("127.0.0.1:0").await?;
//! let address = tcp.local_addr()?;
//! let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
//! let acceptor = SmkexServer::new(Arc::clone(&provider)).acceptor()?.build()?;
//! let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
//! let server = tokio::spawn(async move {
//!     let (mut stream, _peer) = listener.accept().await;
//!     stream.write_all(b"hello").await?;
//!     stream.shutdown().await
//! });
//!
//! let connector = SmkexClient::new(provider)
//!     .connector()?
//!     .side(Path::source("127.0.0.2".parse()?)?)
//!     .build()?;
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
//! The builders are those of multipath TLS, and take their other settings: paths, side endpoints,
//! deadlines, bounds. None of them takes a policy:
//!
//! ```compile_fail,E0599
//! # use mtls_core::Policy;
//! # use mtls_core::smkex::SmkexClient;
//! # fn wrap(provider: std::sync::Arc<rustls::crypto::CryptoProvider>) -> Result<(), mtls_core::Error> {
//! SmkexClient::new(provider).connector()?.policy(Policy::Observe);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use zeroize::Zeroizing;

use crate::acceptor::{AcceptorBuilder, MultipathAcceptor};
use crate::connector::{ConnectorBuilder, MultipathConnector};
use crate::error::Error;
use crate::path::Path;
use crate::verdict::policy::Policy;

static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A private key of Ed25519 in PKCS #8 (RFC 8410, section 7) is this and 32 random bytes.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const ED25519_SEED: usize = 32;

/// The TLS configuration of a SMKEX client: TLS 1.3 alone, any raw public key, no resumption.
///
/// The configuration itself is not given out: with another policy it would be TLS that anybody can
/// intercept.
#[derive(Clone)]
#[must_use]
pub struct SmkexClient {
    provider: Arc<CryptoProvider>,
    protocols: Vec<Vec<u8>>,
}

/// The TLS configuration of a SMKEX server: TLS 1.3 alone, a raw public key that is made here and
/// never leaves the process, no resumption.
#[derive(Clone)]
#[must_use]
pub struct SmkexServer {
    provider: Arc<CryptoProvider>,
    protocols: Vec<Vec<u8>>,
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

    /// A connector's builder: add side paths, and build. Its policy is
    /// [`Require`](crate::Policy::Require), and it refuses to resume sessions.
    ///
    /// # Errors
    /// [`Error::Tls`] for a provider without TLS 1.3.
    pub fn connector(self) -> Result<ConnectorBuilder<Path>, Error> {
        let verifier = AnyRawKey(self.provider.signature_verification_algorithms);
        let mut config = ClientConfig::builder_with_provider(self.provider)
            .with_protocol_versions(TLS13_ONLY)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = self.protocols;
        config.resumption = Resumption::disabled();
        Ok(MultipathConnector::builder(Arc::new(config), Policy::Require).smkex())
    }
}

impl SmkexServer {
    /// A configuration without application protocols. The provider must be able to sign with
    /// Ed25519.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            protocols: Vec::new(),
        }
    }

    /// The application protocols that are spoken (ALPN), in the order of preference.
    pub fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.protocols = owned(protocols);
        self
    }

    /// An acceptor's builder, with a key that was made just now. Its policy is
    /// [`Require`](crate::Policy::Require): the application sees no connection that is not
    /// confirmed.
    ///
    /// # Errors
    /// [`Error::Tls`] for a provider without TLS 1.3, without Ed25519 or without randomness.
    pub fn acceptor(self) -> Result<AcceptorBuilder, Error> {
        let key = Arc::new(ephemeral_key(&self.provider)?);
        let mut config = ServerConfig::builder_with_provider(self.provider)
            .with_protocol_versions(TLS13_ONLY)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
        config.alpn_protocols = self.protocols;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(MultipathAcceptor::builder(Arc::new(config), Policy::Require).smkex())
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

fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.to_vec()).collect()
}

/// A key pair of Ed25519 from the provider's random bytes; the public key stands where otherwise
/// the certificate does (RFC 7250, section 3).
fn ephemeral_key(provider: &CryptoProvider) -> Result<CertifiedKey, rustls::Error> {
    let mut pkcs8 = Zeroizing::new([0; ED25519_PKCS8.len() + ED25519_SEED]);
    let (head, seed) = pkcs8.split_at_mut(ED25519_PKCS8.len());
    head.copy_from_slice(&ED25519_PKCS8);
    provider
        .secure_random
        .fill(seed)
        .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    let borrowed = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&pkcs8[..]));
    let key = provider
        .key_provider
        .load_private_key(borrowed.clone_key())?;
    let public = key.public_key().ok_or_else(|| {
        rustls::Error::General("the provider does not tell the public key of a key pair".into())
    })?;
    let public = CertificateDer::from(public.to_vec());
    Ok(CertifiedKey::new(vec![public], key))
}

/// Takes any key of a server that can sign with it: the side protocol says whose it is.
#[derive(Debug)]
struct AnyRawKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyRawKey {
    /// RFC 7250, section 3: the "certificate" is one SubjectPublicKeyInfo. Whether it is one shows
    /// when the signature is verified.
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match others {
            [] => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    /// RFC 8446, section 4.4.3: the peer holds the key that it shows, and signs this transcript.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    #[test]
    fn every_configuration_has_a_key_of_its_own() {
        let provider = aws_lc_rs::default_provider();
        let key = || ephemeral_key(&provider).expect("a key").cert;
        let (one, other) = (key(), key());
        assert_eq!(one.len(), 1);
        assert_ne!(one, other);
    }

    #[test]
    fn a_chain_is_no_raw_key() {
        let verifier = AnyRawKey(aws_lc_rs::default_provider().signature_verification_algorithms);
        let key = CertificateDer::from(vec![0x30, 0]);
        let name = ServerName::try_from("server.test").expect("a name");
        let verified = |others: &[CertificateDer<'_>]| {
            let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
            verifier.verify_server_cert(&key, others, &name, &[], now)
        };
        assert!(verified(&[]).is_ok());
        assert!(verified(std::slice::from_ref(&key)).is_err());
    }
}
