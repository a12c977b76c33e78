//! Key files as they occur in practice, damaged ones, and a search for a key in output. The tests
//! of the programs use it too.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fmt::Write;

/// A name for messages, and the content of a file.
pub(crate) type File = (&'static str, Vec<u8>);

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Files from which `key`, in PEM form, can be read.
pub(crate) fn unusual(key: &str, certificate: &str) -> Vec<File> {
    let bytes = |text: String| text.into_bytes();
    vec![
        ("as it is", bytes(key.to_owned())),
        ("byte order mark", bytes(format!("\u{feff}{key}"))),
        (
            "byte order mark in the middle",
            bytes(format!("{certificate}\u{feff}{key}")),
        ),
        ("UTF-16, little endian", utf16(key, u16::to_le_bytes)),
        ("UTF-16, big endian", utf16(key, u16::to_be_bytes)),
        ("CRLF", bytes(key.replace('\n', "\r\n"))),
        ("CR", bytes(key.replace('\n', "\r"))),
        ("literal \\n", bytes(key.replace('\n', "\\n"))),
        ("literal \\r\\n", bytes(key.replace('\n', "\\r\\n"))),
        ("escaped twice", bytes(key.replace('\n', "\\\\n"))),
        ("no line ends", bytes(key.replace('\n', ""))),
        ("spaces for line ends", bytes(key.replace('\n', " "))),
        ("blanks after the lines", bytes(key.replace('\n', " \t\n"))),
        ("indented", bytes(key.replace('\n', "\n    "))),
        (
            "JSON",
            bytes(format!("{{\"key\": \"{}\"}}\n", key.replace('\n', "\\n"))),
        ),
        ("no line end at the end", bytes(key.trim_end().to_owned())),
        (
            "leading text",
            [
                &b"Bag Attributes\n    friendlyName: \xE9t\xE9\nKey Attributes: <>\n"[..],
                key.as_bytes(),
            ]
            .concat(),
        ),
        ("text after it", bytes(format!("{key}# the key\n"))),
        ("after a certificate", bytes(format!("{certificate}{key}"))),
        ("before a certificate", bytes(format!("{key}{certificate}"))),
        (
            "after a comment with a certificate",
            bytes(format!(
                "# {}\n{key}",
                certificate.trim_end().replace('\n', "\n# ")
            )),
        ),
        (
            "after a comment, literal \\n",
            bytes(format!("# -----BEGIN -----\n{key}").replace('\n', "\\n")),
        ),
        (
            "glued to a certificate",
            bytes(format!("{}{key}", certificate.trim_end())),
        ),
        ("twice", bytes(format!("{key}{key}"))),
        (
            "after parameters",
            bytes(format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}"
            )),
        ),
    ]
}

/// Files that hold `key`, or a part of it, and from which no key can be read.
pub(crate) fn damaged(key: &str, der: &[u8]) -> Vec<File> {
    let mut files = with_damaged_markers(key);
    files.extend(with_other_labels(key));
    files.extend(with_damaged_body(key, der));
    files.extend(in_other_formats(key, der));
    files
}

fn section(begin: &str, body: &str, end: &str) -> Vec<u8> {
    format!("{begin}\n{body}\n{end}\n").into_bytes()
}

fn with_damaged_markers(key: &str) -> Vec<File> {
    let body = body_of(key);
    let escaped = key.replace('\n', "\\n");
    let half = key.len() / 2;
    let four_dashes = |marker: &str| marker[..marker.len() - 1].to_owned();
    let unended = "-----BEGIN PRIVATE KEY";
    vec![
        ("cut off", key[..half].into()),
        ("literal \\n, cut off", escaped[..half].into()),
        ("no END", key.replace(END, "").into()),
        ("literal \\n, no END", escaped.replace(END, "").into()),
        (
            "END of four dashes",
            section(BEGIN, &body, &four_dashes(END)),
        ),
        (
            "BEGIN of four dashes",
            section(&four_dashes(BEGIN), &body, END),
        ),
        ("BEGIN not ended", section(unended, &body, END)),
        (
            "literal \\n, BEGIN not ended",
            escaped.replace(BEGIN, unended).into(),
        ),
        (
            "BEGIN without a label",
            section("-----BEGIN ", &body, "-----END "),
        ),
        (
            "BEGIN twice",
            section(BEGIN, &format!("{BEGIN}\n{body}"), END),
        ),
        (
            "markers in lower case",
            key.replace("BEGIN", "begin").into(),
        ),
    ]
}

fn with_other_labels(key: &str) -> Vec<File> {
    let labelled = |label: &str| key.replace("PRIVATE KEY", label).into_bytes();
    let end = "-----END RSA PRIVATE KEY-----";
    vec![
        ("label of an RSA key", labelled("RSA PRIVATE KEY")),
        ("label of a public key", labelled("PUBLIC KEY")),
        (
            "label of an encrypted key",
            labelled("ENCRYPTED PRIVATE KEY"),
        ),
        ("label of an OpenSSH key", labelled("OPENSSH PRIVATE KEY")),
        ("label of a certificate", labelled("CERTIFICATE")),
        ("label in lower case", labelled("private key")),
        ("END of another label", section(BEGIN, &body_of(key), end)),
    ]
}

fn with_damaged_body(key: &str, der: &[u8]) -> Vec<File> {
    let body = body_of(key);
    let half = key.len() / 2;
    let insert = |what: &str| format!("{}{what}{}", &key[..half], &key[half..]).into_bytes();
    let of = |body: &str| section(BEGIN, body, END);
    let header = "Proc-Type: 4,ENCRYPTED\nDEK-Info: x\n\n";
    vec![
        ("header of an encrypted key", of(&format!("{header}{body}"))),
        ("a character that is not base64", insert("&")),
        ("a zero byte", insert("\0")),
        ("a letter that is not ASCII", insert("\u{e9}")),
        ("a header", insert("\nname: value\n")),
        ("base64 cut off", of(&body[..body.len() - 8])),
        ("base64 cut off within four", of(&body[..body.len() - 3])),
        ("base64 without its beginning", of(&body[4..])),
        ("the PEM file as base64", of(&base64_of(key.as_bytes()))),
        ("a byte changed", of(&base64_of(&changed(der)))),
    ]
}

fn in_other_formats(key: &str, der: &[u8]) -> Vec<File> {
    let utf16 = |bytes| utf16(key, bytes);
    let half = key.len() / 2;
    vec![
        ("DER", der.to_vec()),
        ("DER, a byte changed", changed(der)),
        ("DER, cut off", der[..der.len() / 2].to_vec()),
        ("DER after a line end", [b"\n", der].concat()),
        ("base64 without labels", body_of(key).into_bytes()),
        ("hexadecimal", hex_of(der).into_bytes()),
        (
            "UTF-16 without a byte order mark",
            utf16(u16::to_le_bytes)[2..].to_vec(),
        ),
        ("UTF-16 cut off", utf16(u16::to_be_bytes)[..half].to_vec()),
        (
            "longer than the limit",
            [key.as_bytes(), &vec![b'\n'; 16 << 20]].concat(),
        ),
    ]
}

fn changed(der: &[u8]) -> Vec<u8> {
    let mut changed = der.to_vec();
    changed[3] ^= 0xFF;
    changed
}

/// The first piece of a key, given as PEM and as DER, that stands in some output: as it is, in
/// base64, in hexadecimal, or as decimal numbers.
pub(crate) fn find_key(output: &[u8], key: &str, der: &[u8]) -> Option<String> {
    const PIECE: usize = 8;
    let output = String::from_utf8_lossy(output);
    let body = body_of(key);
    let pieces = body.as_bytes().windows(PIECE).chain(der.windows(PIECE));
    let mut encoded = pieces.flat_map(|piece| {
        let decimal = piece.iter().map(u8::to_string).collect::<Vec<_>>();
        let hex = hex_of(piece);
        [
            String::from_utf8_lossy(piece).into_owned(),
            hex.to_uppercase(),
            hex,
            decimal.join(", "),
            decimal.join(","),
            decimal.join(" "),
        ]
    });
    encoded.find(|text| output.contains(text))
}

fn body_of(key: &str) -> String {
    key.lines().filter(|line| !line.starts_with('-')).collect()
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let marked = format!("\u{feff}{text}");
    marked.encode_utf16().flat_map(bytes).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn base64_of(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three
            .iter()
            .fold(0, |group, byte| group << 8 | usize::from(*byte));
        let group = group << (8 * (3 - three.len()));
        for index in 0..4 {
            let digit = ALPHABET[group >> (18 - 6 * index) & 63];
            text.push(if index <= three.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}
