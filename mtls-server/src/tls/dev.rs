//! Certificates for development, created when the server starts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mtls_certs::Pki;
use tempfile::TempDir;

use super::Identity;
use crate::error::Error;

/// An identity from an authority of this run. The authority's certificate is in a file, its key and the
/// server's in memory only.
#[derive(Debug)]
pub struct DevIdentity {
    identity: Identity,
    ca_file: PathBuf,
    /// Removed on drop, with the CA in it.
    _dir: Option<TempDir>,
}

impl DevIdentity {
    /// Creates certificates for `localhost`, the loopback addresses and the addresses of `listen`.
    /// The CA's certificate is written to `ca_file`, which must not exist yet; without one, to a
    /// temporary directory that is removed on drop.
    ///
    /// # Errors
    /// [`Error::Certificates`] and [`Error::WriteCa`].
    pub fn mint(listen: &[SocketAddr], ca_file: Option<&Path>) -> Result<Self, Error> {
        let pki = Pki::new(&hosts(listen)).map_err(Error::Certificates)?;
        let identity = Identity::new(pki.server.chain_der(), pki.server.key_der())?;
        let (ca_file, dir) = match ca_file {
            Some(path) => (path.to_owned(), None),
            None => {
                let dir = temporary_dir()?;
                (dir.path().join("ca.pem"), Some(dir))
            }
        };
        write_new(&ca_file, &pki.ca.cert_pem()).map_err(|source| Error::WriteCa {
            path: ca_file.clone(),
            source,
        })?;
        Ok(Self {
            identity,
            ca_file,
            _dir: dir,
        })
    }

    /// The identity of the server.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The path of the CA's certificate in PEM form.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }
}

fn hosts(listen: &[SocketAddr]) -> Vec<String> {
    let mut hosts = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    for address in listen {
        let host = address.ip().to_string();
        if !address.ip().is_unspecified() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn temporary_dir() -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("mtls-server-")
        .tempdir()
        .map_err(|source| Error::WriteCa {
            path: std::env::temp_dir(),
            source,
        })
}

/// Writes a new file: an existing one is neither written to nor trusted.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| {
        // An incomplete certificate is useless, and the first error is the one to report.
        let _ = fs::remove_file(path);
    })
}
