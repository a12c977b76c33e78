//! Multipath TLS: detects a man in the middle by verification over a second network path.
//!
//! A client makes an ordinary TLS 1.3 connection with rustls over its *primary path*. Over one or
//! more *side paths* it verifies that the server took part in the same handshake. A man in the middle
//! on the primary path has two handshakes, one with each end, so the values differ, even if the
//! attacker's certificate comes from an authority that the client trusts. With equal round-trip times
//! the verification adds no delay.
//!
//! "MTLS" is *multipath* TLS here, and never mutual TLS.
//!
//! # Tutorial: both ends in one program
//!
//! ```
//! use std::sync::Arc;
//!
//! use mtls_certs::Pki;
//! use mtls_core::path::{Endpoint, Path};
//! use mtls_core::proto::binding::Binding;
//! use mtls_core::{
//!     ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
//!     Policy,
//! };
//! use rustls::{ClientConfig, RootCertStore, ServerConfig};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpListener;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Certificates for a test, and two rustls configurations as any program has them.
//! let pki = Pki::new(&["127.0.0.1"])?;
//! let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
//! let server_config = ServerConfig::builder_with_provider(Arc::clone(&provider))
//!     .with_safe_default_protocol_versions()?
//!     .with_no_client_auth()
//!     .with_single_cert(pki.server.chain_der(), pki.server.key_der())?;
//! let mut roots = RootCertStore::empty();
//! roots.add(pki.ca.cert_der())?;
//! let client_config = ClientConfig::builder_with_provider(provider)
//!     .with_safe_default_protocol_versions()?
//!     .with_root_certificates(roots)
//!     .with_no_client_auth();
//!
//! // A server: TLS and side connections on one port. It sends its channel binding, so that this
//! // example can compare; a program would mix it into its login instead.
//! let tcp = TcpListener::bind("127.0.0.1:0").await?;
//! let address = tcp.local_addr()?;
//! let acceptor = MultipathAcceptor::builder(Arc::new(server_config), Policy::Require).build()?;
//! let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
//! let server = tokio::spawn(async move {
//!     let (mut stream, _peer) = listener.accept().await;
//!     let binding = stream.channel_bindings().expect("TLS 1.3 is complete")[0];
//!     stream.write_all(&binding).await?;
//!     stream.shutdown().await
//! });
//!
//! // A client with two paths: as the system routes, and from another address of this host.
//! let settings = ClientSettings::new(Policy::Require)
//!     .primary(Path::system())
//!     .side(Path::source("127.0.0.2".parse()?)?);
//! let connector = MultipathConnector::builder(Arc::new(client_config), settings).build()?;
//! let mut stream = connector.connect(&Endpoint::from(address)).await?;
//!
//! let verdict = stream.verdict();
//! println!("{}: {}", verdict.outcome.as_str(), verdict.independence());
//! assert_eq!(verdict.binding(), Some(Binding::Exporter));
//!
//! let mut servers = Vec::new();
//! stream.read_to_end(&mut servers).await?;
//! assert_eq!(servers, stream.channel_bindings()?[0]);
//! # server.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # How-to
//!
//! - Replace `TlsConnector` and `TlsAcceptor` of tokio-rustls: [`MultipathConnector`],
//!   [`MultipathAcceptor`].
//! - Choose the policy and the side paths: [`ClientSettings`], [`Policy`], [`path::Path`].
//! - Accept many connections at a time: [`MultipathListener`].
//! - Run several machines behind one address: [`SideServiceSettings::registry`], [`registry`].
//! - Verify for clients and servers that do not support the side protocol: module `relay`.
//! - Verify TLS 1.3 servers that do not support it, by a weaker method: [`ConnectorBuilder::method`],
//!   [`Method`], and as early as plain TLS with tickets in advance:
//!   [`MultipathConnector::prefetch`].
//! - Serve or request HTTP: modules `axum`, `tower` and `hyper_client`; [`http_io`] protects other
//!   HTTP libraries from losing data.
//! - Remember servers, so that they cannot be downgraded: [`known_hosts`].
//! - Do without a certificate authority: [`smkex`].
//! - Verify QUIC connections: module `quic`.
//! - Read certificates and keys from files: module `pem`.
//! - Report an interception: [`Error::Interception`] carries [`Evidence`].
//! - Count events: [`observer::Observer`].
//!
//! # Reference
//!
//! - [`MultipathStream`] is the connection, with its [`Verdict`];
//!   [`into_inner`](MultipathStream::into_inner) returns the `TlsStream` unchanged.
//! - [`ClientSettings`], [`SideServiceSettings`] and [`ListenerLimits`] are the common settings;
//!   [`ConnectorBuilder`] has those of one connector. Nothing but the policy and the side paths lacks
//!   a default.
//! - [`Error`], [`ApiMisuse`] and [`Reason`] state the cause of a refusal.
//! - [`proto`] contains the side protocol as state machines without I/O, for other drivers. Without
//!   the default feature `tokio` the crate consists of it alone.
//! - The [features](#features) of the crate.
//!
//! # Explanation
//!
//! In the repository: `docs/protocol.md` is the specification, whose sections this documentation
//! cites; `docs/threat-model.md` states the attackers that are detected, and those that are not;
//! `docs/design.md` gives the reasons of the design; `docs/guide.md` describes the programs and the
//! use of the library.
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `tokio` | yes | connector, acceptor, streams, paths and SMKEX; without it only [`proto`] is left |
//! | `aws-lc-rs` | yes | the aws-lc-rs provider of rustls, with hybrid post-quantum key exchange |
//! | `ring` | | the *ring* provider of rustls |
//! | `fips` | | the FIPS 140 module of aws-lc-rs; building it needs Go and CMake |
//! | `dns` | | name resolution over a bound path ([`path::Path::interface`], [`path::Path::source`]) |
//! | `encrypted-dns` | | nameservers by TLS and by HTTPS ([`path::Path::nameserver_tls`]); enables `aws-lc-rs` |
//! | `idn` | | international names, and IPv4 addresses in old notations, in a [`path::Host`] |
//! | `route` | | the interface of an unbound path, by which its independence is known; [`path::survey`] |
//! | `mptcp` | | Multipath TCP ([`path::Path::mptcp`]), its subflows in the [`Verdict`], and the side exchange inside it ([`path::Path::subflow`]); enables `route` |
//! | `pem` | | [`pem`]: certificates and keys from files, without a key in any error |
//! | `x509` | | subject, issuer and public key of each certificate in [`Evidence`] |
//! | `evidence` | | `EvidenceBundle`: reads and checks saved evidence; enables `x509` |
//! | `quic` | | [`quic`]: QUIC connections with quinn; enables `aws-lc-rs` |
//! | `http3` | | [`http_io::CheckFrames`]: HTTP/3 with the crate `h3`, whose frames are checked; enables `quic` |
//! | `fleet` | | [`registry::fleet`]: one registry for the machines behind one address |
//! | `redis` | | [`registry::redis`]: Redis or Valkey as an engine of a fleet |
//! | `registry-test` | | [`registry::contract`] and an engine in memory, for tests of registries |
//! | `known-hosts` | | the response field `Multipath-TLS`, by which servers request to be remembered ([`known_hosts`]) |
//! | `relay` | | [`relay`]s for clients and servers that do not know the side protocol |
//! | `hyper-client` | | [`hyper_client`]: a connector for hyper-util's client |
//! | `axum` | | [`axum`]: a listener for `axum::serve`, and the verdict page as a router |
//! | `tower` | | [`tower`]: layers that require verified connections, and add the verdict to responses |
//! | `page` | | [`page`]: the verdict page as a tower service |
//!
//! Without `dns`, a bound path reaches addresses only, and a name is an error. Without `idn`, a host
//! that is not ASCII, or ends in a number and is no IPv4 address, is an error. Without `route`, the
//! independence of two unbound paths is *unknown*, which is never independent.
//!
//! The library names no cryptographic provider: it takes the one in the caller's configuration. A
//! program with another provider than aws-lc-rs turns the default features off, since rustls's
//! `ClientConfig::builder()` panics where two are linked:
//!
//! ```toml
//! mtls-core = { version = "0.1", default-features = false, features = ["tokio", "ring"] }
//! ```
//!
//! The library needs Linux, except for [`proto`].

#[cfg(all(feature = "tokio", not(target_os = "linux")))]
compile_error!("mtls-core needs Linux; elsewhere build it with `default-features = false`");

#[cfg(feature = "tokio")]
mod accept;
#[cfg(feature = "tokio")]
mod acceptor;
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "mptcp")]
mod carrier;
#[cfg(feature = "tokio")]
mod connector;
#[cfg(feature = "tokio")]
mod error;
#[cfg(feature = "tokio")]
mod evaluate;
#[cfg(any(feature = "hyper-client", feature = "tower"))]
mod extensions;
#[cfg(any(all(test, feature = "tokio"), feature = "__fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "tokio")]
pub mod http_io;
#[cfg(feature = "hyper-client")]
pub mod hyper_client;
#[cfg(feature = "tokio")]
pub mod known_hosts;
#[cfg(feature = "tokio")]
pub mod observer;
#[cfg(feature = "page")]
pub mod page;
#[cfg(feature = "tokio")]
pub mod path;
#[cfg(feature = "pem")]
pub mod pem;
pub mod proto;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(feature = "tokio")]
pub mod registry;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "tokio")]
mod resumption;
#[cfg(feature = "tokio")]
mod side;
#[cfg(feature = "tokio")]
mod slots;
#[cfg(feature = "tokio")]
pub mod smkex;
#[cfg(feature = "tokio")]
mod stream;
#[cfg(feature = "tokio")]
mod sync;
#[cfg(feature = "tokio")]
mod tls;
#[cfg(feature = "tokio")]
mod tls_message;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tokio")]
mod verdict;

#[cfg(feature = "tokio")]
pub use accept::{Incoming, ListenerLimits};
#[cfg(feature = "tokio")]
pub use acceptor::{Accepted, AcceptorBuilder, MultipathAcceptor, MultipathListener};
#[cfg(feature = "tokio")]
pub use connector::{ConnectorBuilder, MultipathConnector, PrefetchError};
#[cfg(feature = "tokio")]
pub use error::{
    ApiMisuse, Error, InvalidMessage, KnownHostViolation, NotSmkex, TimedOut, Unverified, Violation,
};
#[cfg(feature = "tokio")]
pub use side::client::settings::ClientSettings;
#[cfg(feature = "mptcp")]
pub use side::client::settings::SubflowUse;
#[cfg(feature = "tokio")]
pub use side::server::connection::SideConnection;
#[cfg(feature = "tokio")]
pub use side::server::settings::SideServiceSettings;
#[cfg(feature = "tokio")]
pub use stream::{ClientStream, MultipathStream, ServerStream, VerdictHandle};
#[cfg(feature = "tokio")]
pub use tls::server_signature::RecordingVerifier;
#[cfg(feature = "tokio")]
pub use tls_message::{certificate_error_message, tls_error_message};
#[cfg(feature = "evidence")]
pub use verdict::evidence::bundle::{
    EvidenceBundle, EvidenceError, SavedHandshake, SavedSecondLook,
};
#[cfg(feature = "tokio")]
pub use verdict::evidence::{
    CertificateEvidence, Evidence, EvidenceReason, SecondLook, ServerSignature,
};
#[cfg(feature = "tokio")]
pub use verdict::inheritance::{Inheritance, Origin};
#[cfg(feature = "tokio")]
pub use verdict::method::{Method, UnknownMethod};
#[cfg(feature = "tokio")]
pub use verdict::mptcp::MptcpFailure;
#[cfg(feature = "tokio")]
pub use verdict::policy::{Policy, UnknownPolicy};
#[cfg(feature = "tokio")]
pub use verdict::resumption::{ResumptionDirection, ResumptionFailure, ResumptionProof};
#[cfg(feature = "tokio")]
pub use verdict::{
    Inside, Outcome, PathReport, PathRole, Reason, Times, TlsReport, Verdict, Verified,
};
