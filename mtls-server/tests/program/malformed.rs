//! Requests that two parties could understand in different ways.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Running, Site, text};
use crate::terminate::backend::Backend;

/// Requests without their last line ends, and the status of the response.
const MALFORMED: [(&str, &str); 14] = [
    ("GET / HTTP/1.1", "400"),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: a", "400"),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: b", "400"),
    ("GET / HTTP/1.1\r\nhost: a b", "400"),
    ("GET / HTTP/1.1\r\nhost: a:b", "400"),
    ("GET / HTTP/1.1\r\nhost: user@a", "400"),
    ("GET a HTTP/1.1\r\nhost: a", "400"),
    ("GET a:80 HTTP/1.1\r\nhost: a", "400"),
    ("GET * HTTP/1.1\r\nhost: a", "400"),
    ("GET https://a/ HTTP/1.1\r\nhost: a b", "400"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked",
        "501",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked",
        "501",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked",
        "501",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "501",
    ),
];

/// The responses to a request, and to one behind it that must not be read.
async fn send(site: &Site, server: &Running, head: &str) -> String {
    let mut stream = site.connect(server.address).await;
    let behind = "GET /behind HTTP/1.1\r\nhost: a\r\n\r\n";
    let request = format!("{head}\r\n\r\n0\r\n\r\n{behind}");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("to write");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("a response");
    text(&response)
}

#[tokio::test]
async fn malformed_requests_are_refused_and_end_the_connection() {
    let (site, backend) = (Site::new(), Backend::tcp());
    for server in [site.serve(&[]), site.terminate(&backend.url, &[])] {
        for (head, status) in MALFORMED {
            let response = send(&site, &server, head).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(response.starts_with(&expected), "{head}: {response}");
            assert_eq!(
                response.matches("HTTP/1.1").count(),
                1,
                "{head}: {response}"
            );
            assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn http_1_0_needs_no_host_for_files() {
    let site = Site::new();
    let server = site.serve(&[]);
    let response = send(&site, &server, "GET / HTTP/1.0").await;
    assert!(response.starts_with("HTTP/1.0 200"), "{response}");
}
