//! SIGTERM and SIGINT, and connections that stay too long.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{HUNG, Site, get, read_head, send_get};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[tokio::test]
async fn sigterm_closes_the_listener_and_lets_a_download_finish() {
    let site = Site::new();
    let length = site.add_large_file("large");
    let server = site.serve(&["--shutdown-timeout", "10m"]);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/large", "keep-alive").await;
    let (head, first) = read_head(&mut stream).await;
    assert!(
        head.contains(&format!("content-length: {length}")),
        "{head}"
    );

    server.signal(Signal::TERM);
    server.wait_until_closed().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the rest");
    assert_eq!((first.len() + rest.len()) as u64, length);
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn sigterm_lets_a_download_over_http_2_finish() {
    let site = Site::new();
    let length = site.add_large_file("large");
    let server = site.serve(&["--shutdown-timeout", "10m"]);
    let mut curl = Command::new("curl");
    curl.args(["-q", "--noproxy", "*", "-sf", "--http2", "--cacert"])
        .arg(site.pem("ca.pem"))
        .arg(server.url("/large"))
        .stdout(Stdio::piped());
    let mut curl = match curl.spawn() {
        Ok(curl) => curl,
        Err(error) => return eprintln!("skipped: cannot run curl: {error}"),
    };
    // The rest waits in the server until it is read here.
    let mut body = curl.stdout.take().expect("a pipe");
    let mut first = [0];
    body.read_exact(&mut first).expect("a first byte");

    server.signal(Signal::TERM);
    server.wait_until_closed().await;
    let rest = std::io::copy(&mut body, &mut std::io::sink()).expect("the rest");
    assert_eq!(rest + 1, length);
    assert!(curl.wait().expect("to end").success());
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_connection_that_is_only_kept_alive_holds_nothing_up() {
    let site = Site::new();
    for signal in [Signal::TERM, Signal::INT] {
        let server = site.serve(&["--shutdown-timeout", "10m"]);
        let mut stream = site.connect(server.address).await;
        send_get(&mut stream, "/", "keep-alive").await;
        let (head, mut body) = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        while body != b"<p>the index" {
            stream.read_buf(&mut body).await.expect("the body");
        }
        server.signal(signal);
        stream.read_to_end(&mut body).await.expect("a clean end");
        let (status, _) = server.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn a_connection_that_outlasts_the_shutdown_timeout_is_cut_off() {
    let site = Site::new();
    site.add_large_file("large");
    let server = site.serve(&["--shutdown-timeout", "100ms"]);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/large", "close").await;
    read_head(&mut stream).await;
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    let last = log.last().expect("a line");
    assert!(last.contains("cut off: 1"), "{log:#?}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let site = Site::new();
    site.add_large_file("large");
    let mut server = site.serve(&["--shutdown-timeout", "10m"]);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/large", "close").await;
    read_head(&mut stream).await;
    server.signal(Signal::TERM);
    server.wait_for("a second signal ends at once");
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(1), "{log:#?}");
}

#[tokio::test]
async fn a_header_that_never_ends_times_out() {
    let site = Site::new();
    let server = site.serve(&["--header-timeout", "200ms"]);
    let mut stream = site.connect(server.address).await;
    // The server may have closed already.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nx: ").await;
    let mut response = Vec::new();
    let ended = timeout(HUNG, stream.read_to_end(&mut response)).await;
    assert!(ended.is_ok(), "the server closes");
    assert!(!response.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let site = Site::new();
    let server = site.serve(&["--idle-timeout", "5s"]);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/", "keep-alive").await;
    let mut response = Vec::new();
    timeout(HUNG, stream.read_to_end(&mut response))
        .await
        .expect("the server closes")
        .expect("cleanly");
    assert!(response.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_stops_reading_gives_its_place_up() {
    let site = Site::new();
    site.add_large_file("large");
    let server = site.serve(&["--max-connections", "1", "--idle-timeout", "5s"]);
    let mut stuck = site.connect(server.address).await;
    send_get(&mut stuck, "/large", "close").await;
    read_head(&mut stuck).await;
    let mut next = site.connect(server.address).await;
    let response = timeout(HUNG, get(&mut next, "/")).await.expect("a place");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[tokio::test]
async fn more_than_the_maximum_of_connections_wait() {
    let site = Site::new();
    let server = site.serve(&["--max-connections", "1"]);
    let mut first = site.connect(server.address).await;
    send_get(&mut first, "/", "keep-alive").await;
    read_head(&mut first).await;

    let mut second = site.connect(server.address).await;
    send_get(&mut second, "/", "close").await;
    let mut byte = [0];
    // A correct server never answers here, however long this waits.
    let early = timeout(Duration::from_millis(300), second.read(&mut byte)).await;
    assert!(early.is_err(), "served beside the first");

    drop(first);
    let read = timeout(HUNG, second.read(&mut byte))
        .await
        .expect("a place");
    assert_eq!(read.expect("a response"), 1);
}
