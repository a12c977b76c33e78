//! The certificate chain of a server and its key.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use mtls_core::pem::{self, CertificateUse, CertificateWarning};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::certificates;
use crate::error::Error;

/// A certificate chain with its key; that they belong together has been checked.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    not_after: Option<i64>,
}

impl Identity {
    /// Takes a chain, the server's own certificate first, and the key of that certificate.
    ///
    /// # Errors
    /// [`Error::KeyPair`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let certified = pem::certified_key(chain, key, &super::provider()).map_err(|source| {
            Error::KeyPair {
                files: None,
                source,
            }
        })?;
        Ok(Self {
            not_after: certified.cert.first().and_then(|leaf| not_after(leaf)),
            certified: Arc::new(certified),
        })
    }

    /// Reads both from PEM files. Logs a warning for a key that other users can read, and for a
    /// certificate that has expired, soon expires, or is not for a server.
    ///
    /// # Errors
    /// [`Error::Pem`] for one file, [`Error::KeyPair`] for both together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let chain = certificates("certificate", certificate)?;
        let key_der = pem::private_key(key).map_err(|source| Error::Pem {
            what: "key",
            source,
        })?;
        let identity = Self::new(chain, key_der).map_err(|error| match error {
            Error::KeyPair { source, .. } => Error::KeyPair {
                files: Some((certificate.to_owned(), key.to_owned())),
                source,
            },
            other => other,
        })?;
        warn_if_others_can_read(key);
        for warning in identity.warnings(SystemTime::now()) {
            tracing::warn!(certificate = %certificate.display(), "{warning}");
        }
        Ok(identity)
    }

    /// The warnings of the server's own certificate at this time.
    pub(super) fn warnings(&self, now: SystemTime) -> Vec<CertificateWarning> {
        let leaf = self.certified.cert.first();
        leaf.map_or_else(Vec::new, |leaf| {
            CertificateWarning::all(leaf, CertificateUse::Server, now)
        })
    }

    /// The end of the server's own certificate, in seconds since 1970-01-01 UTC.
    pub fn not_after(&self) -> Option<i64> {
        self.not_after
    }

    /// The same in words.
    pub(crate) fn ends(&self) -> String {
        let time = self
            .not_after
            .and_then(|time| ASN1Time::from_timestamp(time).ok());
        time.map_or_else(
            || "at an unknown time".to_owned(),
            |time| format!("on {time}"),
        )
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&self.certified)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.certified.cert.len())
            .finish_non_exhaustive()
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn warn_if_others_can_read(key: &Path) {
    let who = match fs::metadata(key) {
        Ok(file) if file.permissions().mode() & 0o004 != 0 => "all users",
        Ok(file) if file.permissions().mode() & 0o040 != 0 => "its group",
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(key = %key.display(), %error, "cannot check who may read the key");
            return;
        }
    };
    tracing::warn!(
        key = %key.display(),
        "the key can be read by {who}: `chmod 600` it, unless that is meant"
    );
}
