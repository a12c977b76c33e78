//! Files whose reading never ends do not keep others from being served.

use std::path::Path;

use crate::common::{HUNG, Running, Site, client_config, read_head, send_get};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// More than tokio's blocking pool has threads.
const REQUESTS: usize = 640;
/// Requests of one HTTP/2 connection.
const STREAMS: usize = 128;

async fn connect(site: &Site, server: &Running, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut config = (*client_config(&site.pki, None)).clone();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(server.address)
        .await
        .expect("to connect");
    let name = "localhost".try_into().expect("a name");
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    connector.connect(name, tcp).await.expect("TLS")
}

/// A FIFO that has no writer: opening it for reading waits for one.
fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

/// The status of a response over HTTP/1.1.
async fn status_over_http1(site: &Site, server: &Running, path: &str) -> String {
    let mut stream = connect(site, server, b"http/1.1").await;
    send_get(&mut stream, path, "close").await;
    let (head, _) = read_head(&mut stream).await;
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Asks for a path on many streams of one connection, and counts the responses with a status.
async fn ask_over_http2(site: &Site, server: &Running, path: &str, expected: StatusCode) -> usize {
    let stream = connect(site, server, b"h2").await;
    let executor = TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let mut responses = tokio::task::JoinSet::new();
    for _ in 0..STREAMS {
        let request = Request::get(format!("https://localhost{path}"));
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        responses.spawn(sender.send_request(request));
    }
    let all = responses.join_all().await.into_iter();
    all.filter(|response| matches!(response, Ok(response) if response.status() == expected))
        .count()
}

/// Serves a regular file and reloads certificates, whatever is asked of FIFOs.
async fn still_serves(site: &Site, server: &mut Running) {
    assert_eq!(
        status_over_http1(site, server, "/sub/file.txt").await,
        "200"
    );
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: new connections get the certificate");
}

#[tokio::test]
async fn fifos_are_no_files_over_http1() {
    let site = Site::new();
    make_fifo(&site.www().join("fifo"));
    make_fifo(&site.www().join("sub/index.html"));
    let mut server = site.serve(&[]);
    let asking = async {
        for path in ["/fifo", "/sub/"].into_iter().cycle().take(REQUESTS) {
            // The client does not wait, as the one in a hurry to block every thread.
            let mut stream = connect(&site, &server, b"http/1.1").await;
            send_get(&mut stream, path, "close").await;
        }
        status_over_http1(&site, &server, "/fifo").await
    };
    let status = timeout(HUNG, asking).await.expect("an answer");
    assert_eq!(status, "404");
    let serving = still_serves(&site, &mut server);
    timeout(HUNG, serving).await.expect("to be served");
}

#[tokio::test]
async fn fifos_are_no_files_over_http2() {
    let site = Site::new();
    make_fifo(&site.www().join("fifo"));
    let mut server = site.serve(&[]);
    for _ in 0..REQUESTS / STREAMS {
        let asking = ask_over_http2(&site, &server, "/fifo", StatusCode::NOT_FOUND);
        let refused = timeout(HUNG, asking).await.expect("answers");
        assert_eq!(refused, STREAMS);
    }
    let serving = still_serves(&site, &mut server);
    timeout(HUNG, serving).await.expect("to be served");
}

#[tokio::test]
async fn one_thread_serves_all_files() {
    let site = Site::new();
    site.add_large_file("large");
    let mut server = site.serve(&["--file-threads", "1"]);
    // Its client does not read: that must not occupy the thread.
    let mut stalled = connect(&site, &server, b"http/1.1").await;
    send_get(&mut stalled, "/large", "close").await;
    let asking = ask_over_http2(&site, &server, "/sub/file.txt", StatusCode::OK);
    assert_eq!(timeout(HUNG, asking).await.expect("answers"), STREAMS);
    let serving = still_serves(&site, &mut server);
    timeout(HUNG, serving).await.expect("to be served");
}
