//! Every kind of target.

use std::process::Command;

use crate::common::{Site, text};
use crate::terminate::backend::Backend;
use crate::terminate::{field_of, status};

#[test]
fn a_connection_to_the_target_is_used_again() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    for _ in 0..5 {
        let Some((head, _)) = site.fetch(&server, "/", &[]) else {
            return;
        };
        assert_eq!(status(&head), "200");
    }
    // A request may come before the last one's connection is free again.
    assert!((1..5).contains(&backend.connections()));
}

#[test]
fn a_target_may_speak_http_2_without_tls() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url.replace("http:", "h2c:"), &[]);
    for version in ["--http1.1", "--http2"] {
        let Some((head, body)) = site.fetch(&server, "/x?y", &[version]) else {
            return;
        };
        assert_eq!(status(&head), "200");
        assert!(body.starts_with("GET /x?y HTTP/2.0\n"), "{body}");
        let host = server.address.to_string();
        assert_eq!(field_of(&body, "x-forwarded-host"), Some(&*host));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_target_may_be_a_socket_in_the_file_system() {
    let site = Site::new();
    let backend = Backend::unix(site.root.path().join("app.sock"));
    let server = site.terminate(&backend.url, &[]);
    let Some((head, body)) = site.fetch(&server, "/x", &[]) else {
        return;
    };
    assert_eq!(status(&head), "200");
    assert_eq!(field_of(&body, "host"), Some(&*server.address.to_string()));
}

#[test]
fn an_https_target_must_have_a_certificate_of_the_authority_that_was_named() {
    let site = Site::new();
    let ca = site.pem("ca.pem").display().to_string();
    let backend = Backend::tls(&site.pki.server);
    let server = site.terminate(&backend.url, &["--target-ca", &ca]);
    let Some((head, body)) = site.fetch(&server, "/x", &[]) else {
        return;
    };
    assert_eq!(status(&head), "200");
    assert!(body.starts_with("GET /x HTTP/1.1"), "{body}");

    let rogue = Backend::tls(&site.pki.rogue);
    let mut server = site.terminate(&rogue.url, &["--target-ca", &ca]);
    let (head, body) = site.fetch(&server, "/x", &[]).expect("curl");
    assert_eq!(status(&head), "502");
    assert!(!body.contains("GET"), "{body}");
    let line = server.wait_for("cannot be reached");
    assert!(line.contains("certificate"), "{line}");
    assert_eq!(rogue.connections(), 0, "not one request was sent");
}

/// One line on standard error, with `part` in it.
fn assert_refused(mut command: Command, code: i32, part: &str) {
    let output = command.output().expect("to run");
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{log}");
    assert!(log.contains(part), "expected {part:?}: {log}");
}

#[test]
fn plaintext_to_another_machine_needs_an_explicit_option() {
    let site = Site::new();
    for target in [
        "http://192.0.2.1",
        "h2c://example.org:50051",
        "http://0.0.0.0:80",
    ] {
        assert_refused(site.terminate_command(target, &[]), 1, "--unsafe-target");
    }
    let server = site.terminate("http://192.0.2.1", &["--unsafe-target"]);
    drop(server);
}

#[test]
fn targets_that_cannot_be_are_refused_in_one_sentence() {
    let site = Site::new();
    let ca = site.pem("ca.pem").display().to_string();
    let key = site.pem("server.key").display().to_string();
    for (target, options, code, part) in [
        ("127.0.0.1:3000", &[][..], 2, "http://HOST:PORT"),
        ("ftp://x", &[][..], 2, "http://HOST:PORT"),
        ("http://127.0.0.1/app", &[][..], 2, "the rest out"),
        ("http://127.0.0.1:99999", &[][..], 2, "no host or port"),
        (
            "http://127.0.0.1",
            &["--target-ca", &ca][..],
            1,
            "for https targets",
        ),
        (
            "https://localhost",
            &["--target-ca", "/nothing"][..],
            1,
            "cannot read",
        ),
        (
            "https://localhost",
            &["--target-ca", &key][..],
            1,
            "there is no certificate in it",
        ),
        (
            "http://127.0.0.1",
            &["--max-requests", "0"][..],
            2,
            "--max-requests",
        ),
        (
            "http://127.0.0.1",
            &["--target-timeout", "0s"][..],
            2,
            "longer than zero",
        ),
    ] {
        assert_refused(site.terminate_command(target, options), code, part);
    }
}
