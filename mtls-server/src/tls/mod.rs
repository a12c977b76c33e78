//! The certificates and keys of a TLS server, and the CAs of its clients.

mod client_ca;
mod dev;
mod expiry;
mod identity;
mod reload;
mod roots;
mod server_tls;
pub(crate) mod smkex_key;

use std::path::Path;
use std::sync::Arc;

use mtls_core::pem;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

pub use client_ca::ClientCa;
pub use dev::DevIdentity;
pub use identity::Identity;
pub use roots::{roots_from_file, system_roots};
pub use server_tls::ServerTls;

pub(crate) use reload::{Cause, Reloaded, Reloader};
pub(crate) use server_tls::{ALPN, HTTP_2, TlsFiles};

/// Reads the certificates of a file: at least one.
fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    pem::certificates(file).map_err(|source| Error::Pem { what, source })
}

/// The certificate chain and the key that this program shows as a client.
pub(crate) fn client_identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = certificates("client certificate", certificate)?;
    let key = pem::private_key(key).map_err(|source| Error::Pem {
        what: "client key",
        source,
    })?;
    Ok((chain, key))
}

/// The cryptography of all connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
