//! The client certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use mtls_core::pem::{self, CertificateUse, CertificateWarning, KeyPairError};
use rustls::crypto::aws_lc_rs;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;

use crate::connect::settings::Identity;
use crate::exit::Exit;
use crate::output::messages;
use crate::usage::UsageError;

/// Reads the chain and the key, and checks that they can be used together. Warns of a key that
/// others can read, and of a certificate that servers may refuse.
pub(crate) fn load(identity: &Identity, silent: bool) -> Result<Arc<SingleCertAndKey>, UsageError> {
    let chain = pem::certificates(&identity.chain).map_err(|error| wrong("--cert", error))?;
    let key_option = match identity.key == identity.chain {
        true => "--cert",
        false => "--key",
    };
    let key = pem::private_key(&identity.key).map_err(|error| match error.problem() {
        pem::PemProblem::Missing { .. } => wrong(
            key_option,
            format_args!("{error}; --key FILE names the key"),
        ),
        _ => wrong(key_option, error),
    })?;
    let certified = pem::certified_key(chain, key, &aws_lc_rs::default_provider())
        .map_err(|error| unusable(identity, key_option, &error))?;
    if !silent {
        warn_of_readers(&identity.key);
        warn_of_certificate(&identity.chain, certified.cert.first());
    }
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn unusable(identity: &Identity, key_option: &'static str, error: &KeyPairError) -> UsageError {
    let (chain, key) = (identity.chain.display(), identity.key.display());
    match error {
        KeyPairError::Key(problem) => wrong(key_option, format_args!("{key}: {problem}")),
        KeyPairError::Mismatch => wrong("--cert", format_args!("{chain}: {error} ({key})")),
        error => wrong("--cert", format_args!("{chain}: {error}")),
    }
}

fn wrong(option: &'static str, reason: impl fmt::Display) -> UsageError {
    UsageError::new(option, reason).exits_with(Exit::ClientCertificate)
}

fn warn_of_certificate(path: &Path, certificate: Option<&CertificateDer<'_>>) {
    let now = SystemTime::now();
    let warnings = certificate
        .map(|certificate| CertificateWarning::all(certificate, CertificateUse::Client, now));
    for warning in warnings.into_iter().flatten() {
        messages::warn(&format!("{}: {warning}", path.display()));
    }
}

fn warn_of_readers(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if let Ok(mode) = mode
        && mode & 0o077 != 0
    {
        let path = path.display();
        messages::warn(&format!(
            "the key in `{path}` is open to others (mode {:o}); close it: chmod 600 {path}",
            mode & 0o777
        ));
    }
}
