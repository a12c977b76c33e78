//! Certificates and keys from PEM files.

mod damage;
mod messages;
mod openssl;
mod warnings;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mtls_certs::{Leaf, Pki};
use mtls_core::pem::{self, KeyPairError, KeyProblem, PemProblem};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::damage::{damaged, find_key, unusual};

fn pki() -> Pki {
    Pki::new(&["localhost"]).expect("a pki")
}

/// A new directory.
fn scratch() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "pem-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).expect("a directory");
    dir
}

fn write(content: impl AsRef<[u8]>) -> PathBuf {
    let file = scratch().join("file.pem");
    fs::write(&file, content).expect("to write");
    file
}

/// Every text that an application could print of a result.
fn shown<T>(result: &Result<T, pem::PemError>) -> String {
    match result {
        Ok(_) => String::new(),
        Err(error) => format!("{error}\n{error:?}\n{:?}", std::error::Error::source(error)),
    }
}

fn server_pem(pki: &Pki) -> String {
    pki.server.chain_pem().to_owned()
}

fn key_der(leaf: &Leaf) -> Vec<u8> {
    leaf.key_der().secret_der().to_vec()
}

#[test]
fn a_key_is_read_from_every_unusual_form() {
    let pki = pki();
    let expected = key_der(&pki.server);
    for (name, content) in unusual(pki.server.key_pem(), &server_pem(&pki)) {
        let file = write(content);
        let key = pem::private_key(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(key.secret_der(), expected, "{name}");
    }
}

#[test]
fn certificates_are_read_from_every_unusual_form_in_their_order() {
    let pki = pki();
    let chain = server_pem(&pki);
    let expected = pki.server.chain_der();
    let relabelled = |label: &str| chain.replace(" CERTIFICATE", &format!(" {label}"));
    let utf16 = |bytes: fn(u16) -> [u8; 2]| {
        let text = format!("\u{feff}{chain}");
        text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
    };
    for (name, content) in [
        ("byte order mark", format!("\u{feff}{chain}").into_bytes()),
        ("UTF-16, little endian", utf16(u16::to_le_bytes)),
        ("UTF-16, big endian", utf16(u16::to_be_bytes)),
        (
            "label of old OpenSSL",
            relabelled("X509 CERTIFICATE").into(),
        ),
        ("literal \\n", chain.replace('\n', "\\n").into()),
        ("CRLF", chain.replace('\n', "\r\n").into()),
        ("no line ends", chain.replace('\n', "").into()),
        ("leading text", format!("subject=CN = x\n\n{chain}").into()),
        (
            "key before it",
            format!("{}{chain}", pki.server.key_pem()).into(),
        ),
        (
            "byte order marks before each",
            chain.replace("-----BEGIN", "\u{feff}-----BEGIN").into(),
        ),
    ] {
        let found = pem::certificates(&write(content));
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn no_error_about_a_damaged_key_shows_a_piece_of_it() {
    let pki = pki();
    let (key, der) = (pki.server.key_pem(), key_der(&pki.server));
    for (name, content) in damaged(key, &der) {
        let file = write(&content);
        let read = pem::private_key(&file);
        let (mut output, mut refused) = (shown(&read), read.is_err());
        if let Ok(key) = read {
            let joined = pem::certified_key(pki.server.chain_der(), key, &default_provider());
            refused = joined.is_err();
            output += &format!("{:?}", joined.err());
        }
        assert!(refused, "{name} was accepted");
        output += &shown(&pem::certificates(&file));
        assert_eq!(
            find_key(output.as_bytes(), key, &der),
            None,
            "{name}: {output}"
        );
    }
}

#[test]
fn no_error_shows_a_piece_of_a_key_whatever_byte_of_its_file_is_changed() {
    let pki = pki();
    let (key, der) = (pki.server.key_pem(), key_der(&pki.server));
    let file = write("");
    let mut outputs = BTreeSet::new();
    for text in [key, &key.replace('\n', "\\n")] {
        for index in 0..text.len() {
            for byte in [b'-', b'\n', b'\\', b' ', b'&', 0, 0xFF] {
                let mut content = text.as_bytes().to_vec();
                content[index] = byte;
                fs::write(&file, content).expect("to write");
                outputs.insert(shown(&pem::private_key(&file)));
            }
        }
    }
    assert!(outputs.len() > 3, "{outputs:?}");
    for output in outputs {
        let found = find_key(output.as_bytes(), key, &der);
        assert_eq!(found, None, "{output}");
    }
}

#[test]
fn the_search_finds_a_key_in_the_errors_of_the_parser() {
    let pki = pki();
    let (key, der) = (pki.server.key_pem(), key_der(&pki.server));
    let escaped = key.replace('\n', "\\n");
    let error = CertificateDer::from_pem_slice(escaped.as_bytes()).expect_err("one line");
    let hex: String = der.iter().map(|byte| format!("{byte:02X}")).collect();
    for output in [
        error.to_string(),
        format!("{error:?}"),
        key.to_owned(),
        hex,
        format!("{der:?}"),
    ] {
        assert!(find_key(output.as_bytes(), key, &der).is_some(), "{output}");
    }
    assert_eq!(
        find_key(b"key.pem: there is no private key in it", key, &der),
        None
    );
}

#[test]
fn the_text_of_a_key_in_place_of_a_file_name_is_not_shown() {
    let pki = pki();
    let (key, der) = (pki.server.key_pem(), key_der(&pki.server));
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    for name in [
        key.to_owned(),
        key.replace('\n', "\\n"),
        format!("\"{key}\""),
        body,
    ] {
        for output in [
            shown(&pem::private_key(Path::new(&name))),
            shown(&pem::certificates(Path::new(&name))),
        ] {
            assert!(output.contains("the content of a file"), "{output}");
            assert_eq!(find_key(output.as_bytes(), key, &der), None, "{output}");
        }
    }
}

#[test]
fn a_file_without_what_is_wanted_is_described() {
    let pki = pki();
    let chain = server_pem(&pki);
    let key = pki.server.key_pem();
    let of_key = |content: &[u8]| {
        let error = pem::private_key(&write(content)).map(|_| ()).unwrap_err();
        error.problem().to_string()
    };
    let of_chain = |content: &[u8]| {
        let error = pem::certificates(&write(content)).unwrap_err();
        error.problem().to_string()
    };
    let labelled = |label: &str| key.replace("PRIVATE KEY", label);
    for (message, part) in [
        (of_key(b""), "it is empty"),
        (of_key(b"nonsense"), "`BEGIN PRIVATE KEY`"),
        (
            of_key(chain.as_bytes()),
            "no private key in it, but a certificate",
        ),
        (
            of_chain(key.as_bytes()),
            "no certificate in it, but a private key; name another file, and see that",
        ),
        (
            of_key(labelled("PUBLIC KEY").as_bytes()),
            "but a public key",
        ),
        (
            of_chain(labelled("CERTIFICATE REQUEST").as_bytes()),
            "but a certificate request",
        ),
        (
            of_chain(labelled("PKCS7").as_bytes()),
            "but a PKCS #7 bundle",
        ),
        (of_key(&key_der(&pki.server)), "openssl pkey -inform DER"),
        (
            of_chain(&pki.server.chain_der()[0]),
            "openssl x509 -inform DER",
        ),
        (
            of_key(b"\x30\x82\x09\xff\x02\x01\x03\x30"),
            "openssl pkcs12",
        ),
        (
            of_key(labelled("ENCRYPTED PRIVATE KEY").as_bytes()),
            "is encrypted; decrypt it",
        ),
        (
            of_chain(&chain.as_bytes()[..chain.len() - 40]),
            "no `-----END` line",
        ),
    ] {
        assert!(message.contains(part), "expected {part:?}: {message}");
    }
}

#[test]
fn a_chain_whose_second_certificate_is_damaged_is_refused_and_not_shortened() {
    let pki = pki();
    let chain = server_pem(&pki);
    let end = chain.rfind("-----END").expect("an end");
    for damaged in [
        chain[..end].to_owned(),
        format!("{}&{}", &chain[..end], &chain[end..]),
        chain.replacen(
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN CERTIFICATE----",
            1,
        ),
    ] {
        let result = pem::certificates(&write(&damaged));
        let error = result.map(|found| found.len()).unwrap_err();
        let problem = error.problem();
        assert!(
            matches!(
                problem,
                PemProblem::MissingEnd | PemProblem::NotBase64 | PemProblem::IllegalBegin
            ),
            "{problem:?}"
        );
    }
}

#[test]
fn a_key_of_another_certificate_is_told_from_a_wrong_order() {
    let pki = pki();
    let join = |chain, key| {
        pem::certified_key(chain, key, &default_provider()).map(|certified| certified.cert.len())
    };
    let chain = pki.server.chain_der();
    assert_eq!(join(chain.clone(), pki.server.key_der()), Ok(2));
    assert_eq!(
        join(chain.clone(), pki.rogue.key_der()),
        Err(KeyPairError::Mismatch)
    );
    let reversed = chain.iter().rev().cloned().collect();
    assert_eq!(
        join(reversed, pki.server.key_der()),
        Err(KeyPairError::WrongOrder)
    );
    let damaged = vec![CertificateDer::from(vec![0; 3])];
    assert_eq!(
        join(damaged, pki.server.key_der()),
        Err(KeyPairError::DamagedCertificate)
    );
    let none = rustls::pki_types::PrivatePkcs8KeyDer::from(vec![0; 3]);
    assert_eq!(
        join(chain, none.into()),
        Err(KeyPairError::Key(KeyProblem::Damaged))
    );
}
