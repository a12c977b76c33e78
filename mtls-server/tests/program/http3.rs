//! HTTP/3: requests over QUIC of clients that verify, and of plain ones.

use std::net::SocketAddr;

use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use hyper::body::{Buf, Bytes};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use mtls_core::path::Endpoint;
use mtls_core::quic::QuicConnector;
use mtls_core::{Error, MultipathConnector};
use quinn::crypto::rustls::QuicClientConfig;
use rustix::process::Signal;

use crate::common::{HUNG, REQUIRE, Running, Site, client_config, connector, get, text, tool};
use crate::terminate::backend::Backend;

/// A client's connection of HTTP/3, which works until it is dropped.
struct Client {
    requests: SendRequest<OpenStreams, Bytes>,
    quic: quinn::Connection,
}

struct Reply {
    status: StatusCode,
    fields: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }
}

impl Client {
    async fn of(quic: quinn::Connection) -> Self {
        let built = h3::client::new(h3_quinn::Connection::new(quic.clone())).await;
        let (mut driver, requests) = built.expect("HTTP/3");
        tokio::spawn(async move { driver.wait_idle().await });
        Self { requests, quic }
    }

    /// A connection that was verified.
    async fn verified(site: &Site, address: SocketAddr) -> Self {
        let connection = quic(&site.connector()).connect(&address.into()).await;
        let connection = connection.expect("a verified connection");
        assert_eq!(connection.verdict().outcome.as_str(), "verified");
        Self::of(connection.into_inner()).await
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, b"").await
    }

    async fn send(&mut self, method: Method, path: &str, body: &[u8]) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        self.request(request.body(()).expect("a request"), body)
            .await
    }

    async fn request(&mut self, request: Request<()>, body: &[u8]) -> Reply {
        let mut stream = self.requests.send_request(request).await.expect("to send");
        if !body.is_empty() {
            let sent = stream.send_data(Bytes::copy_from_slice(body)).await;
            sent.expect("to send");
        }
        stream.finish().await.expect("to send");
        let response = stream.recv_response().await.expect("a response");
        let mut body = Vec::new();
        while let Some(mut data) = stream.recv_data().await.expect("a body") {
            body.extend(data.copy_to_bytes(data.remaining()));
        }
        Reply {
            status: response.status(),
            fields: response.headers().clone(),
            body,
        }
    }
}

fn quic(connector: &MultipathConnector) -> QuicConnector {
    let quic = QuicConnector::builder(connector).alpn(&[b"h3"]).build();
    quic.expect("a connector")
}

/// A connection of a client that does not verify.
async fn plain(site: &Site, address: SocketAddr) -> quinn::Connection {
    let mut config = (*client_config(&site.pki, None)).clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = QuicClientConfig::try_from(config).expect("TLS 1.3");
    let config = quinn::ClientConfig::new(std::sync::Arc::new(config));
    let endpoint = quinn::Endpoint::client(([0, 0, 0, 0], 0).into()).expect("a socket");
    let connecting = endpoint.connect_with(config, address, "localhost");
    connecting.expect("a connection").await.expect("a server")
}

fn serve(site: &Site, more: &[&str]) -> Running {
    let mut server = site.serve(&[&["--http3"], more].concat());
    let line = server.wait_for("HTTP/3 too on UDP ");
    assert!(line.ends_with(&server.address.to_string()), "{line}");
    server
}

#[tokio::test]
async fn malformed_requests_are_reset_over_http_3() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--http3"]);
    let mut client = Client::verified(&site, server.address).await;
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("content-length", "+2"),
        ("content-length", "2, 2"),
    ] {
        let request = Request::post("https://localhost/").header(name, value);
        let request = request.body(()).expect("a request");
        let sent = client.requests.send_request(request).await;
        let mut stream = sent.expect("to send");
        // The server may have reset the stream.
        let _ = stream.send_data(Bytes::from_static(b"ok")).await;
        let _ = stream.finish().await;
        let response = stream.recv_response().await;
        assert!(response.is_err(), "{name}: {value}: {response:?}");
    }
    assert_eq!(backend.connections(), 0);
    assert_eq!(client.get("/").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn files_are_served_with_the_verdict_over_http_3() {
    let site = Site::new();
    let server = serve(&site, &REQUIRE);
    let mut client = Client::verified(&site, server.address).await;
    let reply = client.get("/sub/file.txt").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, b"a file");
    let verdict = reply.field("multipath-verdict").expect("a verdict");
    assert!(verdict.starts_with("verified"), "{verdict}");
    assert_eq!(reply.field("content-length"), Some("6"));
    assert!(reply.field("date").is_some());
    assert_eq!(reply.field("alt-svc"), None, "this is the alternative");

    let page = client.get("/.multipath").await;
    let page = String::from_utf8(page.body).expect("text");
    assert!(page.contains("verified"), "{page}");

    let head = client.send(Method::HEAD, "/sub/file.txt", b"").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.field("content-length"), Some("6"));
    assert_eq!(client.get("/nowhere").await.status, 404);
}

#[tokio::test]
async fn other_responses_name_http_3_in_alt_svc() {
    let site = Site::new();
    let server = serve(&site, &[]);
    let page = get(&mut site.connect(server.address).await, "/").await;
    let expected = format!("alt-svc: h3=\":{}\"; ma=86400", server.address.port());
    assert!(page.to_lowercase().contains(&expected), "{page}");
    let server = serve(&site, &["--http3-port", "443"]);
    let page = get(&mut site.connect(server.address).await, "/").await;
    assert!(
        page.to_lowercase().contains("alt-svc: h3=\":443\""),
        "{page}"
    );
    let without = site.serve(&[]);
    let page = get(&mut site.connect(without.address).await, "/").await;
    assert!(!page.to_lowercase().contains("alt-svc"), "{page}");
}

#[tokio::test]
async fn plain_clients_are_served_under_prefer_and_refused_under_require() {
    let site = Site::new();
    let server = serve(&site, &[]);
    let mut client = Client::of(plain(&site, server.address).await).await;
    let reply = client.get("/sub/file.txt").await;
    assert_eq!(reply.body, b"a file");
    let verdict = reply.field("multipath-verdict").expect("a verdict");
    assert!(verdict.starts_with("unverified"), "{verdict}");

    let server = serve(&site, &["--policy", "require"]);
    let connection = plain(&site, server.address).await;
    let closed = connection.closed().await;
    assert!(
        matches!(&closed, quinn::ConnectionError::ApplicationClosed(close)
            if close.error_code == mtls_core::quic::REFUSED.into()),
        "{closed:?}"
    );
}

#[tokio::test]
async fn requests_are_concurrent_and_heads_are_limited() {
    let site = Site::new();
    let length = site.add_large_file("large");
    let server = serve(&site, &["--max-header-size", "4096"]);
    let client = Client::verified(&site, server.address).await;
    let mut downloads = Vec::new();
    for _ in 0..2 {
        let requests = client.requests.clone();
        let quic = client.quic.clone();
        downloads.push(tokio::spawn(async move {
            Client { requests, quic }.get("/large").await.body.len()
        }));
    }
    let mut client = client;
    assert_eq!(client.get("/sub/file.txt").await.body, b"a file");
    for download in downloads {
        assert_eq!(download.await.expect("no panic") as u64, length);
    }
    let request = Request::get("https://localhost/").header("cookie", "x".repeat(8000));
    let reply = client
        .request(request.body(()).expect("a request"), b"")
        .await;
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn terminate_forwards_requests_over_http_3() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--http3"]);
    let mut client = Client::verified(&site, server.address).await;
    let reply = client.get("/any").await;
    let body = String::from_utf8(reply.body).expect("text");
    assert!(body.contains("via: 3.0 mtls-server"), "{body}");
    assert!(body.contains("multipath-verdict: verified"), "{body}");
    let upload = vec![b'x'; 300_000];
    let reply = client.send(Method::POST, "/count", &upload).await;
    let body = String::from_utf8(reply.body).expect("text");
    assert!(body.contains("300000"), "{body}");
}

#[tokio::test]
async fn status_counts_quic_and_reload_renews_its_certificate() {
    let site = Site::new();
    let mut server = serve(&site, &["--status", "127.0.0.1:0"]);
    let mut client = Client::verified(&site, server.address).await;
    client.get("/").await;
    let status = server.status_address();
    let status = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(status)
            .await
            .expect("a page");
        get(&mut stream, path).await
    };
    let metrics = status("/metrics").await;
    assert!(
        metrics.contains("multipath_tls_quic_connections_total 1"),
        "{metrics}"
    );
    let page = status("/status").await;
    assert!(
        page.contains("\"quic\":1") || page.contains("\"quic\": 1"),
        "{page}"
    );

    let other = mtls_certs::Pki::new(&["localhost", "127.0.0.1"]).expect("a pki");
    other
        .write(&site.root.path().join("pki"), true)
        .expect("to write");
    server.signal(Signal::HUP);
    server.wait_for("new connections get the certificate");
    let old = quic(&site.connector())
        .connect(&server.address.into())
        .await;
    assert!(matches!(old, Err(Error::Tls(_))), "{old:?}");
    let new = quic(&connector(&other, None))
        .connect(&Endpoint::from(server.address))
        .await;
    assert_eq!(
        new.expect("a connection").verdict().outcome.as_str(),
        "verified"
    );
    assert_eq!(
        client.get("/sub/file.txt").await.body,
        b"a file",
        "it stays open"
    );
}

#[tokio::test]
async fn open_downloads_end_before_the_server_does_and_new_connections_are_refused() {
    let site = Site::new();
    let length = site.add_large_file("large");
    let mut server = serve(&site, &["--shutdown-timeout", "60s"]);
    let mut client = Client::verified(&site, server.address).await;
    let request = Request::get("https://localhost/large")
        .body(())
        .expect("a request");
    let mut stream = client
        .requests
        .send_request(request)
        .await
        .expect("to send");
    stream.finish().await.expect("to send");
    stream.recv_response().await.expect("a response");
    server.signal(Signal::TERM);
    server.wait_for("open connections may finish");
    server.wait_until_closed().await;
    let refused = quic(&site.connector())
        .connect(&server.address.into())
        .await;
    assert!(refused.is_err(), "{refused:?}");
    let mut received = 0;
    while let Some(mut data) = stream.recv_data().await.expect("a body") {
        received += data.copy_to_bytes(data.remaining()).len() as u64;
    }
    assert_eq!(received, length);
    let closed = tokio::time::timeout(HUNG, client.quic.closed()).await;
    closed.expect("the connection ends after its last response");
    let (status, log) = server.wait();
    assert!(status.success(), "{log:#?}");
}

/// HEADERS of `POST /count` (RFC 9114, section 7.2.2, and RFC 9204): names from the static table.
fn post() -> Vec<u8> {
    let mut section = vec![0, 0, 0xd4, 0xd7, 0x51, 6];
    section.extend(b"/count");
    section.extend([0x50, 9]);
    section.extend(b"localhost");
    frame(0x01, &section)
}

/// A frame of less than 64 bytes.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    [&[kind, length], payload].concat()
}

/// The response to frames on a stream of their own, unless the server resets it.
async fn raw(quic: &quinn::Connection, frames: &[Vec<u8>]) -> Option<String> {
    let (mut send, mut receive) = quic.open_bi().await.expect("a stream");
    let _ = send.write_all(&frames.concat()).await;
    let _ = send.finish();
    let response = receive.read_to_end(1 << 16).await.ok()?;
    Some(text(&response))
}

#[tokio::test]
async fn empty_data_frames_do_not_end_a_body_and_a_cut_one_is_no_body() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--http3"]);
    let mut client = Client::verified(&site, server.address).await;
    let empty = frame(0x00, b"");
    let whole = [
        post(),
        frame(0x00, b"hello"),
        empty.clone(),
        frame(0x21, b"unknown"),
        empty,
        frame(0x00, b"world"),
    ];
    let response = raw(&client.quic, &whole).await.expect("a response");
    assert!(response.contains("10"), "{response}");
    for cut in [
        &[0x00, 5, b'a', b'b'][..],
        &[0x00, 5],
        &[0x00],
        &[0x21, 9, 1],
    ] {
        let response = raw(&client.quic, &[post(), cut.to_vec()]).await;
        let is_whole =
            |response: &str| response.contains("2 bytes") || response.contains("0 bytes");
        assert!(!response.as_deref().is_some_and(is_whole), "{response:?}");
        // Requests of others go on.
        assert_eq!(client.get("/any").await.status, 200, "{cut:?}");
    }
    server.signal(Signal::TERM);
    let (_, log) = server.wait();
    let log = log.concat();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
    const EXCESSIVE_LOAD: u32 = 0x107;
    let site = Site::new();
    let server = serve(&site, &[]);
    let mut client = Client::verified(&site, server.address).await;
    for kind in [0x01, 0x05] {
        let (mut send, _receive) = client.quic.open_bi().await.expect("a stream");
        // 2^40 bytes.
        let head = [kind, 0xc0, 0, 1, 0, 0, 0, 0, 0];
        send.write_all(&head).await.expect("to send");
        let stopped = tokio::time::timeout(HUNG, send.stopped()).await;
        let code = stopped.expect("to be stopped").expect("a connection");
        assert_eq!(code, Some(EXCESSIVE_LOAD.into()), "type {kind}");
    }
    assert_eq!(client.get("/sub/file.txt").await.body, b"a file");
}

#[tokio::test]
async fn the_last_message_names_the_first_request_that_is_not_processed() {
    let site = Site::new();
    site.add_large_file("large");
    let mut server = serve(&site, &["--shutdown-timeout", "60s"]);
    let quic = plain(&site, server.address).await;
    let mut control = quic.open_uni().await.expect("a stream");
    control
        .write_all(&[0x00, 0x04, 0x00])
        .await
        .expect("to send");
    let mut section = vec![0, 0, 0xd1, 0xd7, 0x51, 6];
    section.extend(b"/large");
    section.extend([0x50, 9]);
    section.extend(b"localhost");
    let (mut send, mut receive) = quic.open_bi().await.expect("a stream");
    send.write_all(&frame(0x01, &section))
        .await
        .expect("to send");
    send.finish().expect("to send");
    assert_eq!(u64::from(send.id()), 0);
    let mut first = [0; 1];
    receive.read_exact(&mut first).await.expect("a response");
    server.signal(Signal::TERM);
    server.wait_for("open connections may finish");
    let last = async {
        loop {
            let mut stream = quic.accept_uni().await.expect("a stream");
            let mut read = Vec::new();
            while let Ok(Some(chunk)) = stream.read_chunk(1 << 16, true).await {
                read.extend_from_slice(&chunk.bytes);
                if read[0] == 0x00
                    && let Some(at) = read.windows(2).position(|two| two == [0x07, 1])
                    && let Some(&id) = read.get(at + 2)
                {
                    return id;
                }
                if read[0] != 0x00 {
                    break;
                }
            }
        }
    };
    let id = tokio::time::timeout(HUNG, last).await.expect("GOAWAY");
    assert_eq!(id, 4, "the first stream is being processed");
}

#[tokio::test]
async fn a_udp_port_in_use_is_named() {
    let site = Site::new();
    let taken = std::net::UdpSocket::bind("127.77.3.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = site
        .command(&["--http3", "--listen", &address])
        .output()
        .expect("to run");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains(&format!("UDP {address} for HTTP/3")),
        "{message}"
    );
    assert!(!output.status.success());
}

#[test]
fn aioquic_is_served_over_http_3() {
    let site = Site::new();
    let server = serve(&site, &[]);
    let (ca, port) = (
        site.pem("ca.pem").display().to_string(),
        server.address.port(),
    );
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/program/aioquic_client.py"
    );
    let arguments = [script, &ca, &port.to_string(), "/sub/file.txt"];
    let Some(output) = tool("python3", &arguments, "") else {
        return;
    };
    if output.status.code() == Some(77) {
        eprintln!("{}", text(&output.stderr));
        return;
    }
    let reply = text(&output.stdout);
    assert!(
        reply.contains(":status: 200"),
        "{reply} {}",
        text(&output.stderr)
    );
    assert!(reply.contains("multipath-verdict: unverified"), "{reply}");
    assert!(reply.ends_with("a file\n"), "{reply}");
}
