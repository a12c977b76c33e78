//! Bodies stream both ways, and nothing on the way holds more than a little of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::common::{HUNG, Site, curl, read_head, send_get, text};
use crate::terminate::backend::{Backend, LIMIT};
use crate::terminate::status;

#[tokio::test]
async fn an_answer_begins_before_the_request_has_ended() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let mut stream = site.connect(server.address).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("to write");
    stream.write_all(b"5\r\nfirst\r\n").await.expect("to write");
    let (head, mut body) = read_head(&mut stream).await;
    assert_eq!(status(&head), "200");
    while !body.ends_with(b"first\r\n") {
        assert_ne!(stream.read_buf(&mut body).await.expect("the body"), 0);
    }
    stream
        .write_all(b"6\r\nsecond\r\n0\r\n\r\n")
        .await
        .expect("to write");
    while !body.ends_with(b"\r\n0\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut body).await.expect("the body"), 0);
    }
    assert!(String::from_utf8_lossy(&body).contains("second"));
}

#[test]
fn a_response_that_pauses_for_longer_than_the_idle_timeout_arrives_complete() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--idle-timeout", LIMIT]);
    let ca = site.pem("ca.pem");
    let fetch = |version: &'static str, path: &str, expected: &'static str| {
        let (ca, url) = (ca.clone(), server.url(path));
        move || {
            let Some(output) = curl(&ca, &[version, &url]) else {
                return;
            };
            let response = text(&output.stdout);
            assert_eq!(status(&response), "200", "{version} {url}: {response}");
            let (_, body) = response.split_once("\r\n\r\n").expect("a head");
            assert_eq!(body, expected, "{version} {url}");
        }
    };
    // All at the same time, because each takes long.
    std::thread::scope(|scope| {
        for version in ["--http1.1", "--http2"] {
            scope.spawn(fetch(version, "/events", "data: 1\n\ndata: 2\n\n"));
            scope.spawn(fetch(version, "/late", "late"));
        }
    });
}

#[tokio::test]
async fn a_response_on_which_nothing_moves_is_cut_after_the_stream_timeout() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let limits = ["--stream-timeout", "200ms", "--idle-timeout", "1m"];
    let server = site.terminate(&backend.url, &limits);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/never", "close").await;
    let mut response = Vec::new();
    let ended = timeout(HUNG, stream.read_to_end(&mut response)).await;
    let _ = ended.expect("the server cuts it");
    assert!(response.is_empty(), "{response:?}");
}

#[test]
fn an_upload_arrives_whole_over_both_versions_of_http() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let length = site.add_large_file("large");
    let file = site.www().join("large").display().to_string();
    for target in [backend.url.clone(), backend.url.replace("http:", "h2c:")] {
        let server = site.terminate(&target, &[]);
        for version in ["--http1.1", "--http2"] {
            let options = ["-T", &file, version];
            let Some((_, body)) = site.fetch(&server, "/count", &options) else {
                return;
            };
            // With HTTP/1.1 curl shows `100 Continue` first, and the answer after it.
            assert!(
                body.ends_with(&length.to_string()),
                "{version} to {target}: {body}"
            );
        }
    }
}

#[tokio::test]
async fn a_target_that_does_not_read_holds_its_client_back() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let mut stream = site.connect(server.address).await;
    let head = "POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("to write");
    let part = vec![0; 1 << 16];
    let mut taken = 0;
    // A server that stores what the target does not take would never stop taking.
    while taken < 256 << 20 {
        match timeout(Duration::from_secs(2), stream.write(&part)).await {
            Ok(written) => taken += written.expect("to write"),
            Err(_) => return,
        }
    }
    panic!("{taken} bytes were taken without a reader");
}

#[test]
fn trailers_arrive() {
    let (site, backend) = (Site::new(), Backend::tcp());
    for target in [backend.url.clone(), backend.url.replace("http:", "h2c:")] {
        let server = site.terminate(&target, &[]);
        let Some((head, body)) =
            site.fetch(&server, "/trailers", &["--http2", "-H", "te: trailers"])
        else {
            return;
        };
        assert_eq!(status(&head), "200");
        assert!(body.starts_with("body"), "{body}");
        assert!(body.contains("x-after: 3"), "{target}: {head} {body}");
    }
}
