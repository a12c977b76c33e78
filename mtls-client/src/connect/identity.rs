//! The client certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use mtls_core::pem::{self, CertificateUse, CertificateWarning, KeyPairError};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::provider::provider;
use crate::args::TlsArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// A client certificate with its key, and warnings about their files.
pub(crate) struct Identity {
    pub(crate) key: Arc<SingleCertAndKey>,
    pub(crate) warnings: Vec<String>,
}

/// The files of `--cert` and `--key`, which may be the same.
struct Files<'a> {
    chain: &'a Path,
    key: &'a Path,
}

impl Identity {
    /// Reads the certificate chain and the key, and checks that they belong together. `None`
    /// without `--cert`.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub(crate) fn load(tls: &TlsArgs) -> Result<Option<Self>, Failure> {
        let Some(chain) = &tls.cert else {
            return Ok(None);
        };
        let key = tls.key.as_ref().unwrap_or(chain);
        Files { chain, key }.load().map(Some)
    }
}

impl Files<'_> {
    fn load(&self) -> Result<Identity, Failure> {
        let chain = pem::certificates(self.chain).map_err(|error| failure("--cert", error))?;
        let key = pem::private_key(self.key).map_err(|error| match error.problem() {
            pem::PemProblem::Missing { .. } => failure(
                self.key_option(),
                format_args!("{error}; name the key's file with --key FILE"),
            ),
            _ => failure(self.key_option(), error),
        })?;
        let certified =
            pem::certified_key(chain, key, &provider()).map_err(|error| self.unusable(&error))?;
        Ok(Identity {
            warnings: self.warnings(&certified),
            key: Arc::new(SingleCertAndKey::from(certified)),
        })
    }

    fn key_option(&self) -> &'static str {
        match self.key == self.chain {
            true => "--cert",
            false => "--key",
        }
    }

    fn unusable(&self, error: &KeyPairError) -> Failure {
        let (chain, key) = (self.chain.display(), self.key.display());
        match error {
            KeyPairError::Key(problem) => {
                failure(self.key_option(), format_args!("{key}: {problem}"))
            }
            KeyPairError::Mismatch => failure("--cert", format_args!("{chain}: {error} ({key})")),
            error => failure("--cert", format_args!("{chain}: {error}")),
        }
    }

    /// Warns about a key that other users can read, and about a certificate that servers may
    /// refuse.
    fn warnings(&self, certified: &CertifiedKey) -> Vec<String> {
        let leaf = certified.cert.first();
        let about_leaf = leaf.map(|certificate| {
            CertificateWarning::all(certificate, CertificateUse::Client, SystemTime::now())
        });
        let about_leaf = about_leaf.into_iter().flatten();
        let about_leaf = about_leaf.map(|warning| format!("{}: {warning}", self.chain.display()));
        readable_by_others(self.key)
            .into_iter()
            .chain(about_leaf)
            .collect()
    }
}

fn readable_by_others(key: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::metadata(key).ok()?.permissions().mode();
    let path = key.display();
    (mode & 0o077 != 0).then(|| {
        format!(
            "other users can read the key in `{path}` (mode {:o}); restrict it: chmod 600 {path}",
            mode & 0o777
        )
    })
}

fn failure(option: &str, reason: impl fmt::Display) -> Failure {
    Failure::usage(option, reason).with_exit(Exit::ClientCertificate)
}
