//! Clients that know nothing of multipath TLS: curl and OpenSSL.

mod common;

use common::{Site, curl, text, tool, verdict_of};

const UNVERIFIED: &str = "unverified; reason=no-side-connection";

#[test]
fn curl_is_served_over_both_versions_of_http_and_told_that_it_is_unverified() {
    let site = Site::new();
    let server = site.serve(&[]);
    for (option, version) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let Some(output) = curl(&site.pem("ca.pem"), &[option, &server.url("/")]) else {
            return;
        };
        let response = text(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(response.starts_with(version), "{response}");
        assert!(response.ends_with("<p>the index"), "{response}");
        assert_eq!(verdict_of(&response), UNVERIFIED);
    }
}

#[test]
fn every_response_carries_the_verdict_errors_too() {
    let site = Site::new();
    let server = site.serve(&[]);
    let cases: [(&[&str], &str, u16); 5] = [
        (&[], "/sub/file.txt", 200),
        (&["-r", "2-"], "/sub/file.txt", 206),
        (&[], "/missing", 404),
        (&["-X", "POST"], "/", 405),
        (&["--path-as-is"], "/sub", 307),
    ];
    for (options, path, status) in cases {
        let url = server.url(path);
        let Some(output) = curl(&site.pem("ca.pem"), &[options, &[&url]].concat()) else {
            return;
        };
        let response = text(&output.stdout);
        assert!(
            response.starts_with(&format!("HTTP/2 {status}")),
            "{path}: {response}"
        );
        assert_eq!(verdict_of(&response), UNVERIFIED, "{path}");
    }
}

#[test]
fn nothing_outside_the_directory_is_served_and_no_directory_is_listed() {
    let site = Site::new();
    let server = site.serve(&[]);
    for path in [
        "/sub/",
        "/../pki/ca.pem",
        "/sub/../../pki/ca.pem",
        "/%2e%2e/pki/ca.pem",
        "/..%2fpki%2fca.pem",
        "//etc/passwd",
        "/%00",
    ] {
        let url = server.url(path);
        let Some(output) = curl(&site.pem("ca.pem"), &["--path-as-is", &url]) else {
            return;
        };
        let response = text(&output.stdout);
        assert!(response.starts_with("HTTP/2 404"), "{path}: {response}");
        assert!(!response.contains("file.txt"), "{path}: {response}");
        assert!(
            !response.contains("BEGIN CERTIFICATE"),
            "{path}: {response}"
        );
    }
}

#[test]
fn openssl_gets_its_page() {
    let site = Site::new();
    let server = site.serve(&[]);
    let address = server.address.to_string();
    let ca = site.pem("ca.pem").display().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let arguments = [
            "s_client",
            "-connect",
            &address,
            "-CAfile",
            &ca,
            "-verify_return_error",
            "-verify_ip",
            "127.0.0.1",
            "-alpn",
            "http/1.1",
            "-quiet",
            version,
        ];
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let Some(output) = tool("openssl", &arguments, request) else {
            return;
        };
        let response = text(&output.stdout);
        assert!(
            response.starts_with("HTTP/1.1 200"),
            "{version}: {output:?}"
        );
        let reason = if version == "-tls1_2" {
            "not-tls13"
        } else {
            "no-side-connection"
        };
        assert_eq!(
            verdict_of(&response),
            format!("unverified; reason={reason}")
        );
    }
}

#[test]
fn require_serves_no_plain_client_and_observe_does() {
    let site = Site::new();
    let server = site.serve(&["--policy", "require"]);
    let Some(output) = curl(&site.pem("ca.pem"), &[&server.url("/")]) else {
        return;
    };
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "");

    let server = site.serve(&["--policy", "observe"]);
    let Some(output) = curl(&site.pem("ca.pem"), &[&server.url("/")]) else {
        return;
    };
    assert_eq!(verdict_of(&text(&output.stdout)), UNVERIFIED);
}
