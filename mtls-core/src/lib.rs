//! Multipath TLS.

#[cfg(feature = "tokio")]
pub mod acceptor;
#[cfg(feature = "tokio")]
pub mod connector;
#[cfg(feature = "tokio")]
mod error;
#[cfg(feature = "tokio")]
mod evidence;
#[cfg(feature = "tokio")]
mod first_hello;
#[cfg(feature = "tokio")]
pub mod path;
#[cfg(feature = "tokio")]
mod places;
#[cfg(feature = "tokio")]
mod policy;
pub mod proto;
#[cfg(feature = "tokio")]
pub mod registry;
#[cfg(feature = "tokio")]
pub mod relay;
#[cfg(feature = "tokio")]
mod rustls_io;
#[cfg(feature = "tokio")]
mod stream;
#[cfg(feature = "tokio")]
mod verdict;

#[cfg(feature = "tokio")]
pub use acceptor::{
    Accepted, AcceptorBuilder, Incoming, ListenerLimits, MultipathAcceptor, MultipathListener,
    SideConnection,
};
#[cfg(feature = "tokio")]
pub use connector::{ConnectorBuilder, MultipathConnector};
#[cfg(feature = "tokio")]
pub use error::{ApiMisuse, Error, InvalidMessage, TimedOut, Unverified};
#[cfg(feature = "tokio")]
pub use evidence::{CertificateEvidence, Evidence};
#[cfg(feature = "tokio")]
pub use policy::{Policy, UnknownPolicy};
#[cfg(feature = "tokio")]
pub use stream::{ClientStream, MultipathStream, ServerStream, VerdictHandle};
#[cfg(feature = "tokio")]
pub use verdict::{
    Outcome, PathReport, PathRole, Reason, Times, TlsReport, Verdict, Verified, interception_token,
};
