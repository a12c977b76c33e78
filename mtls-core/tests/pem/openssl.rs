//! Files that OpenSSL writes. Each test is skipped, with a printed reason, where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use mtls_core::pem;
use rustls::crypto::aws_lc_rs::default_provider;

use crate::messages::refusal;
use crate::{pki, scratch, write};

/// Runs OpenSSL in a directory; the arguments have no blanks.
fn openssl(dir: &Path, arguments: &str) -> bool {
    let run = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output();
    match run {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "openssl {arguments}: {said}");
            true
        }
        Err(error) => {
            eprintln!("skipped: cannot run openssl: {error}");
            false
        }
    }
}

/// The problem of a key with a self-signed certificate, made by the arguments of `openssl req`.
fn problem_of(algorithm: &str) -> Option<String> {
    let dir = scratch();
    let made = openssl(
        &dir,
        &format!("req -x509 -newkey {algorithm} -nodes -keyout key -out pem -subj /CN=localhost"),
    );
    made.then(|| problem(&dir.join("pem"), &dir.join("key")))
}

fn problem(certificate: &Path, key: &Path) -> String {
    let chain = pem::certificates(certificate).expect("a certificate");
    match pem::private_key(key) {
        Ok(key) => match pem::certified_key(chain, key, &default_provider()) {
            Ok(_) => "none".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(error) => error.problem().to_string(),
    }
}

#[test]
fn keys_without_support_are_named() {
    for (algorithm, part) in [
        ("rsa:1024", "RSA keys of 1024 bits"),
        ("rsa-pss -pkeyopt rsa_keygen_bits:2048", "RSA-PSS"),
        ("ed448", "Ed448"),
        ("ec -pkeyopt ec_paramgen_curve:secp256k1", "secp256k1"),
        (
            "ec -pkeyopt ec_paramgen_curve:brainpoolP256r1",
            "brainpoolP256r1",
        ),
        (
            "ec -pkeyopt ec_paramgen_curve:secp224r1",
            "the algorithm 1.3.132.0.33",
        ),
        (
            "ec -pkeyopt ec_paramgen_curve:secp224r1 -pkeyopt ec_param_enc:explicit",
            "given by its parameters",
        ),
    ] {
        let Some(problem) = problem_of(algorithm) else {
            return;
        };
        assert!(problem.contains(part), "expected {part:?}: {problem}");
        assert!(problem.contains("; use ECDSA"), "{problem}");
    }
}

#[test]
fn keys_with_support_have_no_problem() {
    for algorithm in [
        "rsa:2048",
        "ed25519",
        "ec -pkeyopt ec_paramgen_curve:P-256",
        "ec -pkeyopt ec_paramgen_curve:P-384",
        "ec -pkeyopt ec_paramgen_curve:P-521",
    ] {
        let Some(problem) = problem_of(algorithm) else {
            return;
        };
        assert_eq!(problem, "none", "{algorithm}");
    }
}

#[test]
fn keys_in_every_format_of_openssl_are_read_or_their_encryption_is_named() {
    let dir = scratch();
    let commands = [
        "req -x509 -newkey rsa:2048 -nodes -keyout rsa -out rsa.pem -subj /CN=x",
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec -out ec.pem -subj /CN=x",
        "rsa -in rsa -traditional -out pkcs1",
        "ec -in ec -out sec1",
        "rsa -in rsa -traditional -aes128 -passout pass:x -out rsa-encrypted",
        "ec -in ec -aes128 -passout pass:x -out ec-encrypted",
        "pkcs8 -topk8 -in ec -passout pass:x -out pkcs8-encrypted",
    ];
    if !commands.iter().all(|command| openssl(&dir, command)) {
        return;
    }
    let problem = |certificate: &str, key: &str| problem(&dir.join(certificate), &dir.join(key));
    assert_eq!(problem("rsa.pem", "pkcs1"), "none");
    assert_eq!(problem("ec.pem", "sec1"), "none");
    for (certificate, key) in [
        ("rsa.pem", "rsa-encrypted"),
        ("ec.pem", "ec-encrypted"),
        ("ec.pem", "pkcs8-encrypted"),
    ] {
        let problem = problem(certificate, key);
        assert!(
            problem.contains("the key is encrypted; decrypt it"),
            "{key}: {problem}"
        );
    }
}

#[test]
fn trust_settings_after_a_certificate_are_cut_off() {
    let dir = scratch();
    let pki = pki();
    let leaf = pki.server.chain_der()[0].clone();
    std::fs::write(dir.join("leaf"), pki.server.chain_pem()).expect("to write");
    for settings in [
        "",
        "-addtrust serverAuth",
        "-addtrust serverAuth -addreject clientAuth -setalias name",
    ] {
        let command = format!("x509 -in leaf -trustout {settings} -out trusted");
        if !openssl(&dir, &command) {
            return;
        }
        let trusted = std::fs::read_to_string(dir.join("trusted")).expect("a file");
        assert!(trusted.contains("BEGIN TRUSTED CERTIFICATE"), "{trusted}");
        for text in [trusted.clone(), trusted.replace('\n', "\\n")] {
            let found = pem::certificates(&write(text)).expect("a certificate");
            assert_eq!(found, std::slice::from_ref(&leaf), "{settings}");
        }
    }
}

#[test]
fn a_certificate_of_version_1_is_named() {
    let dir = scratch();
    let commands = [
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out csr -subj /CN=localhost",
        "x509 -req -in csr -signkey key -days 30 -out pem",
    ];
    if !commands.iter().all(|command| openssl(&dir, command)) {
        return;
    }
    let file = |name: &str| -> PathBuf { dir.join(name) };
    let problem = problem(&file("pem"), &file("key"));
    assert!(problem.contains("X.509 version 1"), "{problem}");
    let chain = pem::certificates(&file("pem")).expect("a certificate");
    assert_eq!(
        refusal(&chain[0]),
        "it is of X.509 version 1 or 2, and not 3"
    );
}
