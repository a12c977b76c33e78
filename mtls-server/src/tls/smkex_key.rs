//! The key of a SMKEX server that keeps it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use mtls_certs::{Authority, KeyAlgorithm};
use mtls_core::pem;
use rustls::pki_types::PrivateKeyDer;

use crate::error::Error;

/// Reads the key in a file, which is created if it does not exist.
///
/// # Errors
/// [`Error::Pem`] for a file that has no usable key, [`Error::Write`] for one that cannot be
/// created.
pub(crate) fn open(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let created = create(file).map_err(|source| Error::Write {
        path: file.to_owned(),
        source,
    });
    if created? {
        tracing::info!(file = %file.display(), "new SMKEX key");
    }
    pem::private_key(file).map_err(|source| Error::Pem {
        what: "SMKEX key",
        source,
    })
}

/// Whether the file was created. An existing one is never changed.
fn create(file: &Path) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        opened => opened?,
    };
    let key = Authority::with_algorithm("SMKEX", KeyAlgorithm::Ed25519);
    let key = key.map_err(io::Error::other)?.key_pem();
    let written = opened.write_all(key.as_bytes());
    if let Err(error) = written.and_then(|()| opened.sync_all()) {
        // Half a key would be an error at every start.
        let _ = std::fs::remove_file(file);
        return Err(error);
    }
    Ok(true)
}
