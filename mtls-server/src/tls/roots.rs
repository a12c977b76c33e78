//! The CAs for a target.

use std::path::Path;

use mtls_core::tls_error_message;
use rustls::RootCertStore;

use super::certificates;
use crate::error::Error;

/// Reads the CAs of a PEM file.
///
/// # Errors
/// [`Error::Pem`] for the file, [`Error::TargetCa`] for certificates that rustls does not accept.
pub fn roots_from_file(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("target CA", path)? {
        roots.add(certificate).map_err(|error| Error::TargetCa {
            path: path.to_owned(),
            reason: tls_error_message(&error),
        })?;
    }
    Ok(roots)
}

/// Reads the system's CAs.
///
/// # Errors
/// [`Error::NoSystemRoots`].
pub fn system_roots() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(loaded.certs);
    match roots.is_empty() {
        true => Err(Error::NoSystemRoots),
        false => Ok(roots),
    }
}
