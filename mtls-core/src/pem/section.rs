//! The sections of a PEM text (RFC 7468, section 2), wherever they stand in it.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::asn1_rs::{Any, FromDer};
use zeroize::Zeroizing;

use super::error::{CERTIFICATE, PRIVATE_KEY, PemProblem};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The longest label that is taken for one.
const MAX_LABEL: usize = 40;

/// One section, its body not decoded.
pub(super) struct Section<'a> {
    pub(super) label: Label,
    body: &'a [u8],
}

/// The kind of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Certificate,
    /// OpenSSL's, with trust settings after the certificate.
    TrustedCertificate,
    /// With its label, one of those that `rustls-pki-types` knows.
    PrivateKey(&'static str),
    EncryptedKey,
    /// Any other, in words.
    Other(&'static str),
}

impl Label {
    fn parse(label: &[u8]) -> Self {
        match label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => Self::Certificate,
            b"TRUSTED CERTIFICATE" => Self::TrustedCertificate,
            b"PRIVATE KEY" => Self::PrivateKey("PRIVATE KEY"),
            b"RSA PRIVATE KEY" => Self::PrivateKey("RSA PRIVATE KEY"),
            b"EC PRIVATE KEY" => Self::PrivateKey("EC PRIVATE KEY"),
            b"ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            b"PUBLIC KEY" | b"RSA PUBLIC KEY" => Self::Other("a public key"),
            b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => {
                Self::Other("a certificate request")
            }
            b"PKCS7" | b"CMS" => Self::Other("a PKCS #7 bundle"),
            b"OPENSSH PRIVATE KEY" => Self::Other("a key for OpenSSH"),
            b"DSA PRIVATE KEY" => Self::Other("a DSA key"),
            b"X509 CRL" => Self::Other("a revocation list"),
            _ => Self::Other("a section of another kind"),
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Certificate | Self::TrustedCertificate => CERTIFICATE,
            Self::PrivateKey(_) | Self::EncryptedKey => PRIVATE_KEY,
            Self::Other(words) => words,
        }
    }
}

impl Section<'_> {
    /// `None` for a section of another kind.
    pub(super) fn certificate(&self) -> Option<Result<CertificateDer<'static>, PemProblem>> {
        let decoded = || {
            CertificateDer::from_pem_slice(&self.canonical("CERTIFICATE"))
                .map_err(|_| PemProblem::NotBase64)
        };
        match self.label {
            Label::Certificate => Some(decoded()),
            Label::TrustedCertificate => Some(decoded().and_then(without_trust_settings)),
            _ => None,
        }
    }

    /// `None` for a section of another kind.
    pub(super) fn private_key(&self) -> Option<Result<PrivateKeyDer<'static>, PemProblem>> {
        match self.label {
            Label::EncryptedKey => Some(Err(PemProblem::Encrypted)),
            // The encryption of RFC 1421, which OpenSSL calls traditional.
            Label::PrivateKey(_) if find(self.body, b"Proc-Type:").is_some() => {
                Some(Err(PemProblem::Encrypted))
            }
            Label::PrivateKey(label) => Some(
                PrivateKeyDer::from_pem_slice(&self.canonical(label))
                    .map_err(|_| PemProblem::NotBase64),
            ),
            _ => None,
        }
    }

    /// The section as `rustls-pki-types` parses it, which decodes keys in constant time.
    fn canonical(&self, label: &str) -> Zeroizing<Vec<u8>> {
        // Without reallocation, which would leave a copy of a key in memory.
        let mut text = Vec::with_capacity(self.body.len() + 2 * (MAX_LABEL + BEGIN.len() + 6));
        text.extend(format!("-----BEGIN {label}-----\n").as_bytes());
        let mut rest = self.body;
        while let [first, after @ ..] = rest {
            rest = match (first, after) {
                // The two characters `\n` or `\r`, or the first backslash of `\\n`.
                (b'\\', [b'n' | b'r', after @ ..]) => after,
                (b'\\', after) => after,
                (_, after) => {
                    text.push(*first);
                    after
                }
            };
        }
        text.extend(format!("\n-----END {label}-----\n").as_bytes());
        Zeroizing::new(text)
    }
}

/// Cuts off what OpenSSL writes after the certificate (`X509_CERT_AUX`).
fn without_trust_settings(
    der: CertificateDer<'static>,
) -> Result<CertificateDer<'static>, PemProblem> {
    let (after, _) = Any::from_der(&der).map_err(|_| PemProblem::NotDer)?;
    let length = der.len() - after.len();
    Ok(CertificateDer::from(der[..length].to_vec()))
}

/// Iterates over the sections of a text. Ends after the first error.
pub(super) struct Sections<'a> {
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Reads what follows a `BEGIN`: the section, and the text after it.
    fn section(text: &'a [u8]) -> Result<(Section<'a>, &'a [u8]), PemProblem> {
        let head = &text[..text.len().min(MAX_LABEL + DASHES.len())];
        let length = find(head, DASHES).ok_or(PemProblem::IllegalBegin)?;
        let (label, body) = (&text[..length], &text[length + DASHES.len()..]);
        if !label
            .iter()
            .all(|byte| b" #+-.".contains(byte) || byte.is_ascii_alphanumeric())
        {
            return Err(PemProblem::IllegalBegin);
        }
        let end = find(body, DASHES).ok_or(PemProblem::MissingEnd)?;
        let (body, tail) = body.split_at(end);
        let rest = tail
            .strip_prefix(END)
            .and_then(|tail| tail.strip_prefix(label))
            .and_then(|tail| tail.strip_prefix(DASHES))
            .ok_or(PemProblem::MissingEnd)?;
        let label = Label::parse(label);
        Ok((Section { label, body }, rest))
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, PemProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = find(self.rest, BEGIN)?;
            let (before, after) = (&self.rest[..start], &self.rest[start + BEGIN.len()..]);
            if is_comment(before) {
                self.rest = after;
                continue;
            }
            self.rest = &[];
            return Some(Self::section(after).map(|(section, rest)| {
                self.rest = rest;
                section
            }));
        }
    }
}

/// Does the last line of a text begin as a comment of a shell or of an INI file does?
fn is_comment(text: &[u8]) -> bool {
    let line = text.rsplit(|byte| b"\r\n".contains(byte)).next();
    let line = line.unwrap_or(text);
    // Or what is a line where line ends are the two characters `\n`.
    let escaped = line.windows(2).rposition(|two| two == b"\\n");
    let line = escaped.map_or(line, |end| &line[end + 2..]);
    matches!(line.trim_ascii_start(), [b'#' | b';', ..])
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}
