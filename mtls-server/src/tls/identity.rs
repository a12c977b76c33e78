//! The certificate chain of a server and its key.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, ServerConfig};

use crate::error::Error;

/// The application protocols that are offered (ALPN), the preferred one first.
const ALPN: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
/// The ALPN name of HTTP/2 (RFC 9113, section 3.1).
pub(crate) const HTTP_2: &[u8] = b"h2";

/// A certificate chain with the key that belongs to it: that has been checked.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// Takes a chain, the server's own certificate first, and the key of that certificate.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`], or [`Error::Identity`] for what rustls does not take.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let provider = Arc::new(default_provider());
        let certified =
            CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    Error::KeyMismatch
                }
                other => Error::Identity(other),
            })?;
        Ok(Self {
            certified: Arc::new(certified),
            provider,
        })
    }

    /// Reads both from PEM files. A key that others can read is warned of in the log.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Pem`] for the files; otherwise as [`Identity::new`].
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let pem_text = read("certificate", certificate)?;
        let mut chain = Vec::new();
        for found in CertificateDer::pem_slice_iter(&pem_text) {
            chain.push(found.map_err(pem_error("certificate", certificate))?);
        }
        if chain.is_empty() {
            return Err(pem_error("certificate", certificate)(
                pem::Error::NoItemsFound,
            ));
        }
        let key_der =
            PrivateKeyDer::from_pem_slice(&read("key", key)?).map_err(pem_error("key", key))?;
        warn_if_others_can_read(key);
        Self::new(chain, key_der)
    }

    /// TLS 1.2 and 1.3 with this identity, for HTTP/2 and HTTP/1.1.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, Error> {
        let resolver: Arc<dyn ResolvesServerCert> =
            Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&self.certified)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(Error::Identity)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.certified.cert.len())
            .finish_non_exhaustive()
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read {
        what,
        path: path.to_owned(),
        source,
    })
}

fn pem_error(what: &'static str, path: &Path) -> impl FnOnce(pem::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Pem { what, path, source }
}

fn warn_if_others_can_read(key: &Path) {
    match others_can_read(key) {
        Ok(true) => tracing::warn!(
            key = %key.display(),
            "the key can be read by others: `chmod 600` it, and think of it as known to them"
        ),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(key = %key.display(), %error, "cannot tell who may read the key")
        }
    }
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    // A group may be meant to read it: `ssl-cert` of Debian, say.
    Ok(fs::metadata(path)?.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> io::Result<bool> {
    Ok(false)
}
