//! Secrets, and a search for their parts in every form in which a program may print bytes.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, fs, io};

use mtls_core::proto::binding::SideSecret;
use rustls::KeyLog;

/// So many bytes in a row of a secret are a leak: a number that no output has by chance.
const PART: usize = 8;
/// Base64 of 9 bytes, which has a part at either of two places.
const QUADS: usize = 12;

type Part = [u8; PART];

/// Secrets with their names. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<Mutex<HashMap<Part, String>>>);

impl Secrets {
    pub(super) fn add(&self, name: &str, secret: &[u8]) {
        assert!(
            secret.len() >= 2 * PART,
            "{name} is too short to search for"
        );
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts_of(secret) {
            parts.insert(part, name.to_owned());
        }
    }

    pub(super) fn len(&self) -> usize {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.len()
    }

    /// Writes the parts to a file, for another process to search for.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fs::write(file, parts.keys().flatten().copied().collect::<Vec<u8>>())
    }

    /// Adds the parts in a file.
    pub(super) fn read(&self, file: &Path) -> io::Result<()> {
        let bytes = fs::read(file)?;
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = bytes.as_chunks::<PART>().0.iter();
        parts.extend(read.map(|part| (*part, "a secret".to_owned())));
        Ok(())
    }

    /// The names of the secrets of which a part is in `output`.
    pub(super) fn found_in(&self, output: &[u8]) -> BTreeSet<String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |bytes: &[u8]| {
            let found = parts_of(bytes).filter_map(|part| parts.get(&part));
            found.cloned().collect::<Vec<_>>()
        };
        let mut found: BTreeSet<String> = named(output).into_iter().collect();
        for bytes in decoded(output) {
            found.extend(named(&bytes));
        }
        found
    }
}

/// The keys of TLS connections, and what is derived from them.
impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.add(label, secret);
        if label == "EXPORTER_SECRET" {
            let side = SideSecret::from_exporter_secret(secret).expect("a length of TLS 1.3");
            self.add("side secret", side.as_bytes());
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

fn parts_of(bytes: &[u8]) -> impl Iterator<Item = Part> {
    bytes
        .windows(PART)
        .map(|part| part.try_into().expect("the length of a part"))
}

/// Bytes that `output` spells in hexadecimal, in decimal or in base64.
fn decoded(output: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let hexadecimal = runs(output, u8::is_ascii_hexdigit, 2 * PART).flat_map(|run| {
        [0, 1].map(|start| {
            let pairs = run[start..].chunks_exact(2);
            pairs
                .map(|pair| digit(pair[0]) * 16 + digit(pair[1]))
                .collect()
        })
    });
    let base64 = runs(output, is_base64, QUADS).flat_map(|run| {
        (0..4).map(|start| {
            let quads = run[start..].chunks_exact(4);
            quads.flat_map(of_base64).collect::<Vec<u8>>()
        })
    });
    hexadecimal.chain(base64).chain(lists(output))
}

/// The runs of at least so many bytes of a kind.
fn runs(
    output: &[u8],
    is_of: impl Fn(&u8) -> bool + Copy + 'static,
    least: usize,
) -> impl Iterator<Item = &[u8]> {
    let parts = output.split(move |byte| !is_of(byte));
    parts.filter(move |run| run.len() >= least)
}

fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte.wrapping_sub(b'A').wrapping_add(10) & 15,
    }
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)
}

fn of_base64(quad: &[u8]) -> [u8; 3] {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        _ => 63,
    };
    let bits = quad
        .iter()
        .fold(0, |bits, &byte| bits << 6 | u32::from(value(byte)));
    let [_, bytes @ ..] = bits.to_be_bytes();
    bytes
}

/// Lists of numbers, decimal or hexadecimal: `[1, 255, 0x1f]`, `01:ff:1f` and `01 ff 1f`.
fn lists(output: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let text: String = output.iter().map(|&byte| char::from(byte)).collect();
    let words: Vec<&str> = text
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let decimal = sequences(&words, |word| word.parse().ok());
    let hexadecimal = sequences(&words, |word| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let is_byte = (1..=2).contains(&digits.len());
        is_byte
            .then(|| u8::from_str_radix(digits, 16).ok())
            .flatten()
    });
    decimal.into_iter().chain(hexadecimal)
}

/// The runs of words that are bytes.
fn sequences(words: &[&str], byte: impl Fn(&str) -> Option<u8>) -> Vec<Vec<u8>> {
    let bytes: Vec<Option<u8>> = words.iter().map(|word| byte(word)).collect();
    let runs = bytes.split(Option::is_none);
    let runs = runs.map(|run| run.iter().copied().flatten().collect::<Vec<u8>>());
    runs.filter(|run| run.len() >= PART).collect()
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secret: Vec<u8> = (0..32)
        .map(|byte: u8| byte.wrapping_mul(37) ^ 0xa5)
        .collect();
    let secrets = Secrets::default();
    secrets.add("it", &secret);
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let colons: Vec<String> = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let raw = [b"before".as_slice(), &secret[11..20], b"after"].concat();
    let mut forms = vec![
        raw,
        hexadecimal.clone().into_bytes(),
        format!("x{}", hexadecimal.to_uppercase()).into_bytes(),
        format!("key=a{hexadecimal}").into_bytes(),
        format!("Key({secret:?})").into_bytes(),
        format!("{secret:#?}").into_bytes(),
        format!("{secret:#04x?}").into_bytes(),
        colons.join(":").into_bytes(),
        colons.join(" ").into_bytes(),
    ];
    for offset in 0..3 {
        let bytes = [&[7; 3][..offset], &secret].concat();
        forms.push(base64(&bytes));
    }
    for form in forms {
        let found = secrets.found_in(&form);
        assert_eq!(found.len(), 1, "{}", String::from_utf8_lossy(&form));
    }
    assert_eq!(secrets.found_in(&secret[..7]).len(), 0);
    assert_eq!(secrets.found_in(&[0; 1000]).len(), 0);
}

/// Without padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let triples = bytes.chunks_exact(3).map(|three| {
        let bits = three
            .iter()
            .fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte));
        [18, 12, 6, 0].map(|shift| DIGITS[bits >> shift & 63])
    });
    triples.flatten().collect()
}
