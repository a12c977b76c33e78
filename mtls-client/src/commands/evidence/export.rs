//! `evidence export`: a case for a reader without this program.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use mtls_core::SavedHandshake;
use rustls::SignatureScheme;

use super::file::{self, SavedCase};
use super::show;
use crate::exit::Exit;
use crate::failure::Failure;

/// Writes the case, its certificates, its signatures and a text into a new directory.
///
/// # Errors
/// If the directory exists, or a file cannot be written.
pub(super) fn run(case: &SavedCase, dir: &Path) -> Result<(), Failure> {
    write_all(case, dir).map_err(|error| {
        let message = format!(
            "could not export to {}: {error}; name a directory that does not exist",
            dir.display()
        );
        Failure::new(Exit::Write, "write-error", message)
    })
}

fn write_all(case: &SavedCase, dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)?;
    let mut readme = show::text(&case.bundle);
    readme += "\nTo check the signatures with OpenSSL, in this directory:\n\n";
    write_new(dir, "evidence.json", &case.bytes)?;
    for handshake in case.bundle.handshakes() {
        let path = handshake.path;
        let chain = file::pem(handshake.chain);
        write_new(dir, &format!("{path}.pem"), chain.as_bytes())?;
        let Some(signature) = handshake.signature else {
            readme += &format!("  # {path}: no signature was kept\n");
            continue;
        };
        write_new(dir, &format!("{path}.input"), &signature.input)?;
        write_new(dir, &format!("{path}.signature"), &signature.signature)?;
        readme += &commands(&handshake, signature.scheme);
    }
    write_new(dir, "README.txt", readme.as_bytes())
}

/// The commands that check a signature.
fn commands(handshake: &SavedHandshake<'_>, scheme: u16) -> String {
    let path = handshake.path;
    let leaf = handshake.chain.first();
    let is_raw = leaf.is_some_and(|leaf| leaf.spki_sha256.as_ref() == Some(&leaf.sha256));
    let key = match is_raw {
        true => format!("cp {path}.pem {path}.key"),
        false => format!("openssl x509 -in {path}.pem -noout -pubkey > {path}.key"),
    };
    let files = format!("-sigfile {path}.signature -in {path}.input");
    let options = options(SignatureScheme::from(scheme));
    format!("  {key}\n  openssl pkeyutl -verify -pubin -inkey {path}.key -rawin {options}{files}\n")
}

/// Padding and hash of the schemes of TLS 1.3 (RFC 8446, section 4.2.3).
fn options(scheme: SignatureScheme) -> &'static str {
    match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => "-digest sha256 ",
        SignatureScheme::ECDSA_NISTP384_SHA384 => "-digest sha384 ",
        SignatureScheme::ECDSA_NISTP521_SHA512 => "-digest sha512 ",
        SignatureScheme::RSA_PSS_SHA256 => {
            "-digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:digest "
        }
        SignatureScheme::RSA_PSS_SHA384 => {
            "-digest sha384 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:digest "
        }
        SignatureScheme::RSA_PSS_SHA512 => {
            "-digest sha512 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:digest "
        }
        // Ed25519 and ML-DSA hash by themselves.
        _ => "",
    }
}

fn write_new(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(dir.join(name))?.write_all(bytes)
}
