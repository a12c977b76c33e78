//! What a TLS server is known by: its certificates and keys, and those it asks of clients.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

mod client_ca;
mod dev;
mod identity;
mod pem;
mod reload;
mod roots;
mod server_tls;

pub use client_ca::ClientCa;
pub use dev::DevIdentity;
pub use identity::Identity;
pub use roots::{roots_from_file, system_roots};
pub use server_tls::ServerTls;

pub(crate) use reload::{Cause, Reloaded, Reloader};
pub(crate) use server_tls::{ALPN, HTTP_2, TlsFiles};

/// The cryptography of all connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
