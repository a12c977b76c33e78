//! The client certificate.

use std::fmt;
use std::path::Path;

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::exit::Exit;
use crate::messages;
use crate::options::{Identity, UsageError};

/// Reads the chain and the key; warns of a key that others can read.
pub(crate) fn load(
    identity: &Identity,
    silent: bool,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), UsageError> {
    let chain = chain(&identity.chain)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| {
        let (path, option) = match identity.key == identity.chain {
            true => (&identity.chain, "--cert"),
            false => (&identity.key, "--key"),
        };
        match error {
            Error::NoItemsFound => wrong(
                option,
                path,
                &"there is no private key in it; a PEM file that is not encrypted is expected, \
                  which --key FILE names",
            ),
            error => wrong(option, path, &Unreadable(error)),
        }
    })?;
    if !silent {
        warn_of_readers(&identity.key);
    }
    Ok((chain, key))
}

/// The two do not fit, or not this program.
pub(crate) fn unusable(identity: &Identity, error: &rustls::Error) -> UsageError {
    let reason = match error {
        rustls::Error::InconsistentKeys(_) => format!(
            "the key in `{}` is not that of this certificate",
            identity.key.display()
        ),
        error => format!("it cannot be used: {error}"),
    };
    wrong("--cert", &identity.chain, &reason)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, UsageError> {
    let unreadable = |error| wrong("--cert", path, &Unreadable(error));
    let pem = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let chain: Vec<_> = pem.collect::<Result<_, _>>().map_err(unreadable)?;
    match chain.is_empty() {
        true => Err(wrong(
            "--cert",
            path,
            &"there is no certificate in it; a PEM file is expected",
        )),
        false => Ok(chain),
    }
}

fn wrong(option: &'static str, path: &Path, reason: &dyn fmt::Display) -> UsageError {
    let reason = format_args!("`{}`: {reason}", path.display());
    UsageError::new(option, reason).exits_with(Exit::ClientCertificate)
}

/// The library's own words for an error of the system are for programmers.
struct Unreadable(Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Error::Io(error) => error.fmt(f),
            error => error.fmt(f),
        }
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
