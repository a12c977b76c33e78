//! Client certificates: mutual TLS inside multipath TLS.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mtls_core::tls_error_message;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::certificates;
use crate::error::Error;

/// The CAs of client certificates. Without such a certificate the handshake fails.
#[derive(Clone)]
pub struct ClientCa {
    authorities: usize,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCa {
    /// Reads the authorities from a PEM file.
    ///
    /// # Errors
    /// [`Error::Pem`] for the file, [`Error::ClientCa`] for certificates that rustls does not
    /// accept.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let unusable = |reason: String| Error::ClientCa {
            path: path.to_owned(),
            reason,
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client CA", path)? {
            roots
                .add(certificate)
                .map_err(|error| unusable(tls_error_message(&error)))?;
        }
        let authorities = roots.len();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
                .build()
                .map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            authorities,
            verifier,
        })
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCa")
            .field("authorities", &self.authorities)
            .finish_non_exhaustive()
    }
}
