//! Saved cases: a JSON file, with PEM files beside it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mtls_core::{CertificateEvidence, EvidenceBundle};

use crate::connect::provider::provider;
use crate::exit::Exit;
use crate::failure::Failure;

/// The largest file, in bytes.
const MAX_LENGTH: u64 = 64 << 20;

/// A case that was checked.
pub(super) struct SavedCase {
    pub(super) bytes: Vec<u8>,
    pub(super) bundle: EvidenceBundle,
}

/// Reads a case, and checks its digest, certificates and signatures, and the PEM files beside it.
///
/// # Errors
/// If a file cannot be read; else the first part that is wrong.
pub(super) fn read(path: &Path) -> Result<SavedCase, Failure> {
    let bytes = read_file(path).map_err(|error| not_read(path, &error))?;
    let bundle = EvidenceBundle::parse(&bytes).map_err(|error| invalid(path, error))?;
    let verified = bundle.verify(&provider());
    verified.map_err(|error| invalid(path, error))?;
    let look = bundle.second_look.as_ref();
    let chain = look.map_or(&bundle.chain, |look| &look.chain);
    for (extension, chain) in [("pem", chain), ("side.pem", &bundle.side_chain)] {
        is_beside(&path.with_extension(extension), chain)?;
    }
    Ok(SavedCase { bytes, bundle })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_LENGTH + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A PEM file may be missing: the JSON has the same certificates.
fn is_beside(path: &Path, chain: &[CertificateEvidence]) -> Result<(), Failure> {
    match read_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(not_read(path, &error)),
        Ok(bytes) if bytes == pem(chain).as_bytes() => Ok(()),
        Ok(_) => Err(invalid(
            path,
            "the certificates are not those of the JSON file beside it; obtain the original",
        )),
    }
}

/// The certificates as one PEM file.
pub(super) fn pem(chain: &[CertificateEvidence]) -> String {
    chain.iter().map(|one| one.pem.as_str()).collect()
}

/// The files of cases in a directory.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn in_dir(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = std::fs::read_dir(dir).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<_>>>()
    });
    let mut paths = listed.map_err(|error| not_read(dir, &error))?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    paths.sort();
    Ok(paths)
}

fn not_read(path: &Path, error: &io::Error) -> Failure {
    let message = format!("could not read {}: {error}", path.display());
    Failure::new(Exit::Read, "read-error", message)
}

fn invalid(path: &Path, reason: impl fmt::Display) -> Failure {
    let message = format!("{} is not valid evidence: {reason}", path.display());
    Failure::new(Exit::Evidence, "invalid-evidence", message)
}
