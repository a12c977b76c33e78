//! The certificate chain of a server and its key.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::pem;
use crate::error::Error;

/// A certificate chain with the key that belongs to it: that has been checked.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    not_after: Option<i64>,
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
        let certified = CertifiedKey::from_der(chain, key, &super::provider()).map_err(
            |error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    Error::KeyMismatch
                }
                other => Error::Identity(other),
            },
        )?;
        Ok(Self {
            not_after: certified.cert.first().and_then(|leaf| not_after(leaf)),
            certified: Arc::new(certified),
        })
    }

    /// Reads both from PEM files. A key that others can read is warned of in the log.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Pem`] for the files; otherwise as [`Identity::new`].
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let chain = pem::certificates("certificate", certificate)?;
        let key_der = PrivateKeyDer::from_pem_slice(&pem::read("key", key)?)
            .map_err(pem::damaged("key", key))?;
        warn_if_others_can_read(key);
        Self::new(chain, key_der)
    }

    /// When the server's own certificate ends, in seconds since 1970-01-01 UTC.
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
        Ok(file) if file.permissions().mode() & 0o004 != 0 => "everybody",
        Ok(file) if file.permissions().mode() & 0o040 != 0 => "its group",
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(key = %key.display(), %error, "cannot tell who may read the key");
            return;
        }
    };
    tracing::warn!(
        key = %key.display(),
        "the key can be read by {who}: `chmod 600` it, unless that is meant"
    );
}
