//! Clients without multipath TLS: curl and OpenSSL, and raw HTTP/1.1.

use std::time::Duration;

use crate::common::{HUNG, Site, curl, read_head, text, tool, verdict_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const UNVERIFIED: &str = "unverified; reason=no-side-connection";

#[test]
fn curl_is_served_over_both_versions_of_http_and_gets_an_unverified_verdict() {
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

/// Writes a part of a request stream, and reads until so many responses with the file have come.
async fn exchange<S>(stream: &mut S, parts: &[&str], responses: usize) -> String
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut received = Vec::new();
    for part in parts {
        stream.write_all(part.as_bytes()).await.expect("to write");
        stream.flush().await.expect("to write");
        // Another TLS record: the server reads it on its own.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let whole = async {
        while text(&received).matches("\r\n\r\na file").count() < responses {
            let read = stream.read_buf(&mut received).await.expect("to read");
            assert_ne!(read, 0, "ended: {}", text(&received));
        }
    };
    timeout(HUNG, whole).await.expect("all responses");
    text(&received)
}

/// hyper has another limit, 100 fields, until a head has more.
#[tokio::test]
async fn a_head_with_many_fields_is_served_at_any_place_of_a_connection() {
    let site = Site::new();
    let server = site.serve(&[]);
    let mut stream = site.connect(server.address).await;
    let start = "GET /sub/file.txt HTTP/1.1\r\nhost: localhost\r\n";
    let short = format!("{start}\r\n");
    let fields = |count| {
        (0..count)
            .map(|n| format!("x-{n}: y\r\n"))
            .collect::<String>()
    };
    let long = |count| format!("{start}{}\r\n", fields(count));

    exchange(&mut stream, &[&short], 1).await;
    // The number of fields exceeds the limit in the second part of the head.
    let head = long(300);
    let (first, second) = head.split_at(head.len() / 5);
    exchange(&mut stream, &[first, second], 1).await;
    exchange(&mut stream, &[&short], 1).await;

    // Behind another request, in one write, and after requests at the limit.
    let mut stream = site.connect(server.address).await;
    exchange(&mut stream, &[&long(99), &long(98)], 2).await;
    let pipelined = format!("{short}{short}{}{short}", long(2_000));
    let received = exchange(&mut stream, &[&pipelined, &short], 5).await;
    assert_eq!(received.matches("HTTP/1.1 200 OK").count(), 5, "{received}");
}

#[tokio::test]
async fn a_head_above_the_limit_gets_431_with_many_fields_too() {
    let site = Site::new();
    let server = site.serve(&[]);
    let mut stream = site.connect(server.address).await;
    let fields: String = (0..3_000).map(|n| format!("x-{n}: yyyyyyyy\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.expect("to write");
    stream.flush().await.expect("to write");
    let (response, _) = read_head(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}
