//! Certificates and private keys from PEM files (RFC 7468).
//!
//! [`certificates`] and [`private_key`] read files as they occur in practice:
//!
//! - with a byte order mark, or in UTF-16 with one;
//! - with any line ends, also the two characters `\n`, as in environment variables and JSON;
//! - with text before, between and after the sections, and with indented sections;
//! - with several sections on one line;
//! - with OpenSSL's labels `X509 CERTIFICATE` and `TRUSTED CERTIFICATE`, whose trust settings are
//!   ignored.
//!
//! No error contains any part of a file, in any encoding: a damaged key file still holds a key, and
//! parsers quote what they cannot parse. [`certified_key`] joins a chain with its key, and names
//! the problem of a pair that cannot be used.

mod certificate;
mod error;
mod key;
mod redact;
mod section;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

pub use certificate::{CertificateUse, CertificateWarning, EXPIRY_WARNING};
pub use error::{PemError, PemProblem, Wanted};
pub use key::KeyProblem;
pub use redact::redact;

use section::{Label, Section, Sections};

/// The longest file that is read, in bytes: 16 MiB.
pub const MAX_FILE_LENGTH: u64 = 16 << 20;

/// Reads all certificates of a file, in their order.
///
/// # Errors
/// [`PemError`], also for a file without a certificate, and for one with a damaged section of any
/// kind.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let parse = |text: &[u8]| {
        let sections = sections(text, Wanted::Certificate)?;
        let found: Vec<_> = sections.iter().filter_map(Section::certificate).collect();
        match found.is_empty() {
            true => Err(missing(Wanted::Certificate, &sections)),
            false => found.into_iter().collect(),
        }
    };
    read(file)
        .and_then(|text| parse(&text))
        .map_err(|problem| PemError::new(file, problem))
}

/// Reads the first private key of a file: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted.
///
/// # Errors
/// [`PemError`], as for [`certificates`].
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let parse = |text: &[u8]| {
        let sections = sections(text, Wanted::PrivateKey)?;
        let mut keys = sections.iter().filter_map(Section::private_key);
        keys.next()
            .unwrap_or_else(|| Err(missing(Wanted::PrivateKey, &sections)))
    };
    read(file)
        .and_then(|text| parse(&text))
        .map_err(|problem| PemError::new(file, problem))
}

/// Joins a chain, the leaf first, with the leaf's private key.
///
/// # Errors
/// [`KeyPairError`] names the problem.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, KeyPairError> {
    let signing_key = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| KeyPairError::Key(KeyProblem::of(&key)))?;
    let certified = CertifiedKey::new(chain, signing_key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(mismatch(&certified)),
        Err(_) => Err(match certificate::is_old_version(&certified.cert) {
            true => KeyPairError::OldCertificate,
            false => KeyPairError::DamagedCertificate,
        }),
    }
}

/// The reason why a certificate chain and a private key cannot be used together.
///
/// ```
/// use mtls_certs::Pki;
/// use mtls_core::pem::{KeyPairError, certified_key};
///
/// # fn main() -> Result<(), mtls_certs::Error> {
/// let pki = Pki::new(&["localhost"])?;
/// let provider = rustls::crypto::aws_lc_rs::default_provider();
/// let error = certified_key(pki.server.chain_der(), pki.rogue.key_der(), &provider);
/// assert_eq!(error.unwrap_err(), KeyPairError::Mismatch);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPairError {
    /// The key cannot be used, whatever the certificate.
    Key(KeyProblem),
    /// The key belongs to another certificate.
    Mismatch,
    /// The key belongs to a certificate of the chain that is not the first one.
    WrongOrder,
    /// The first certificate is of X.509 version 1 or 2.
    OldCertificate,
    /// The first certificate is not valid DER.
    DamagedCertificate,
}

fn mismatch(certified: &CertifiedKey) -> KeyPairError {
    let matches = |certificate: &CertificateDer<'static>| {
        let alone = CertifiedKey::new(vec![certificate.clone()], certified.key.clone());
        alone.keys_match().is_ok()
    };
    match certified.cert.iter().skip(1).any(matches) {
        true => KeyPairError::WrongOrder,
        false => KeyPairError::Mismatch,
    }
}

/// Reads the text of a file as UTF-8, overwritten on drop.
fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, PemProblem> {
    if redact::is_pem_text(file) {
        return Err(PemProblem::NotAFileName);
    }
    let mut text = Zeroizing::new(Vec::new());
    let opened = File::open(file).map_err(|error| match redact::may_be_key(file) {
        true => PemProblem::NotAFileName,
        false => PemProblem::Read(error),
    })?;
    opened
        .take(MAX_FILE_LENGTH + 1)
        .read_to_end(&mut text)
        .map_err(PemProblem::Read)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE_LENGTH) {
        return Err(PemProblem::TooLong);
    }
    match text.as_slice() {
        [] => Err(PemProblem::Empty),
        [0xFF, 0xFE, rest @ ..] => from_utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => from_utf16(rest, u16::from_be_bytes),
        _ => Ok(text),
    }
}

fn from_utf16(
    bytes: &[u8],
    unit: impl Fn([u8; 2]) -> u16,
) -> Result<Zeroizing<Vec<u8>>, PemProblem> {
    let units = bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok().map(&unit));
    // An invalid character cannot be part of a section: the search for one fails.
    let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    Ok(Zeroizing::new(text.collect::<String>().into_bytes()))
}

/// The sections of a text, at least one.
fn sections(text: &[u8], wanted: Wanted) -> Result<Vec<Section<'_>>, PemProblem> {
    let sections = Sections::new(text).collect::<Result<Vec<_>, _>>()?;
    match (sections.is_empty(), text) {
        (false, _) => Ok(sections),
        // PKCS #12 begins with a sequence whose first element is the integer 3, the others with
        // another sequence or with the integer 0 or 1 (RFC 7292, RFC 5958, RFC 5280).
        (true, [0x30, 0x82, _, _, 2, 1, 3, ..] | [0x30, 0x81, _, 2, 1, 3, ..]) => {
            Err(PemProblem::Pkcs12)
        }
        (true, [0x30, 0x20..=0x84, ..]) => Err(PemProblem::Der(wanted)),
        (true, _) => Err(missing(wanted, &sections)),
    }
}

fn missing(wanted: Wanted, sections: &[Section<'_>]) -> PemProblem {
    let found = sections.first().map(|section| section.label);
    PemProblem::Missing {
        wanted,
        found: found.map(Label::as_str),
    }
}
