//! The status page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::common::{HUNG, Running, Site, binary, client_config, get, read_head, send_get, text};
use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_rustls::TlsConnector;

/// A response of the status page: its status and its body.
fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("to connect");
    stream.set_read_timeout(Some(HUNG)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("to write");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

fn page(address: SocketAddr, path: &str) -> (u16, String) {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
    )
}

fn status(address: SocketAddr) -> Value {
    let (status, body) = page(address, "/status");
    assert_eq!(status, 200);
    serde_json::from_str(&body).expect("JSON")
}

/// Asks until it is so: what is counted may be counted a moment later.
fn wait_until(address: SocketAddr, pointer: &str, expected: impl Into<Value>) -> Value {
    let (start, expected) = (Instant::now(), expected.into());
    loop {
        let status = status(address);
        if status.pointer(pointer) == Some(&expected) {
            return status;
        }
        assert!(
            start.elapsed() < HUNG,
            "{pointer} is not {expected}: {status:#}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn serve(site: &Site, more: &[&str]) -> (Running, SocketAddr) {
    let mut all = vec!["--status", "127.0.0.1:0"];
    all.extend(more);
    let server = site.serve(&all);
    let address = server.status_address();
    (server, address)
}

#[test]
fn accepted_connections_are_counted_by_transport() {
    let mptcp = match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        Ok(mptcp) => mptcp,
        Err(error) => return println!("skipped: no Multipath TCP: {error}"),
    };
    let site = Site::new();
    let (server, at) = serve(&site, &["--mptcp"]);
    mptcp.connect(&server.address.into()).expect("to connect");
    let _tcp = [(); 2].map(|()| TcpStream::connect(server.address).expect("to connect"));
    wait_until(at, "/connections/accepted/mptcp", 1);
    wait_until(at, "/connections/accepted/tcp", 2);
    let (_, metrics) = page(at, "/metrics");
    for line in [
        "multipath_tls_accepted_connections_total{transport=\"tcp\"} 2",
        "multipath_tls_accepted_connections_total{transport=\"mptcp\"} 1",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{metrics}");
    }
}

#[tokio::test]
async fn connections_are_counted_by_verdict_and_failures_by_reason() {
    let site = Site::new();
    let (server, at) = serve(&site, &[]);
    let before = wait_until(at, "/state", "ready");
    assert_eq!(before["service"]["policy"], "prefer");
    assert_eq!(before["service"]["listen"][0], server.address.to_string());
    assert_eq!(before["connections"]["open"], 0);

    let mut verified = site.connect(server.address).await;
    get(&mut verified, "/").await;
    let now = wait_until(at, "/connections/passed/0/verdict", "verified");
    assert_eq!(now["connections"]["passed"][0]["binding"], "exporter");
    assert_eq!(now["connections"]["passed"][0]["count"], 1);
    assert_eq!(now["handshake"]["count"], 1);
    assert_eq!(now["side"]["confirmations"], 1);
    assert_eq!(now["side"]["frames_received"]["open"], 1);
    assert_eq!(now["side"]["frames_sent"]["proof"], 1);
    assert_eq!(now["side"]["frames_received"]["confirm"], 1);
    assert!(now["certificate"]["not_after"].as_i64() > Some(1_700_000_000));

    let tcp = tokio::net::TcpStream::connect(server.address).await;
    let tls = TlsConnector::from(client_config(&site.pki, None));
    let name = "localhost".try_into().expect("a name");
    let mut plain = tls.connect(name, tcp.expect("to connect")).await;
    let plain = plain.as_mut().expect("TLS");
    send_get(plain, "/", "keep-alive").await;
    read_head(plain).await;
    let now = wait_until(at, "/connections/open", 1);
    let unverified = &now["connections"]["passed"];
    let unverified = unverified.as_array().expect("a list").iter();
    let mut unverified = unverified.filter(|row| row["reason"] == "no-side-connection");
    assert_eq!(unverified.next().map(|row| &row["count"]), Some(&1.into()));

    let mut stranger = TcpStream::connect(server.address).expect("to connect");
    stranger
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("to write");
    wait_until(at, "/connections/failed/neither-tls-nor-side", 1);
    let mut side = TcpStream::connect(server.address).expect("to connect");
    side.write_all(b"MTLX/1").expect("to write");
    wait_until(at, "/side/faults/not-the-greeting", 1);

    let (code, metrics) = page(at, "/metrics");
    assert_eq!(code, 200);
    for line in [
        "multipath_tls_connections_total{verdict=\"verified\",reason=\"none\",binding=\"exporter\"} 1",
        "multipath_tls_failures_total{reason=\"neither-tls-nor-side\"} 1",
        "multipath_tls_side_faults_total{reason=\"not-the-greeting\"} 1",
        "multipath_tls_side_frames_total{direction=\"sent\",kind=\"proof\",code=\"none\"} 1",
        "multipath_tls_handshake_seconds_count 2",
        "multipath_tls_connections_open 1.0",
        "multipath_tls_ready 1.0",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line}: {metrics}"
        );
    }
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn it_is_not_ready_while_it_drains() {
    let site = Site::new();
    site.add_large_file("large");
    let (mut server, at) = serve(&site, &["--shutdown-timeout", "10m"]);
    wait_until(at, "/state", "ready");
    assert_eq!(page(at, "/readyz"), (200, "ready\n".to_owned()));
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/large", "keep-alive").await;
    read_head(&mut stream).await;
    server.signal(Signal::TERM);
    server.wait_for("SIGTERM: ");
    assert_eq!(page(at, "/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(page(at, "/healthz").0, 200);
    assert_eq!(status(at)["state"], "draining");
    drop(stream);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[tokio::test]
async fn pending_handshakes_go_when_their_time_is_over() {
    let site = Site::new();
    let (server, at) = serve(&site, &[]);
    let stream = site.connect(server.address).await;
    wait_until(at, "/pending_handshakes", 1);
    drop(stream);
    // A tombstone answers for 10 s more.
    wait_until(at, "/pending_handshakes", 0);
}

#[test]
fn reloads_are_counted() {
    let site = Site::new();
    let (mut server, at) = serve(&site, &[]);
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: ");
    wait_until(at, "/certificate/reloads/fresh", 1);
    std::fs::write(site.pem("server.pem"), "nonsense").expect("to write");
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: nothing was reloaded");
    // The server may have noticed the change by itself before the signal.
    let kept = || status(at)["certificate"]["reloads"]["kept"].as_u64();
    let start = Instant::now();
    while kept().is_none_or(|kept| kept < 1) {
        assert!(start.elapsed() < HUNG, "{:#}", status(at));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_unknown_page_of_the_status_server_is_not_found() {
    let site = Site::new();
    let (_server, at) = serve(&site, &[]);
    assert_eq!(page(at, "/").0, 404);
    let post = format!("POST /status HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    assert_eq!(ask(at, &post).0, 405);
}

#[test]
fn a_web_page_that_leads_a_name_to_this_machine_reads_nothing() {
    let site = Site::new();
    let (_server, at) = serve(&site, &[]);
    let rebound = "GET /status HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    let (status, body) = ask(at, rebound);
    assert_eq!(status, 421);
    assert!(!body.contains("version"), "{body}");
}

#[test]
fn silent_askers_do_not_keep_others_out() {
    let site = Site::new();
    let (_server, at) = serve(&site, &[]);
    let silent: Vec<TcpStream> = (0..1_000)
        .map(|_| TcpStream::connect(at).expect("to connect"))
        .collect();
    assert_eq!(page(at, "/healthz").0, 200);
    drop(silent);
}

#[test]
fn an_address_that_others_reach_needs_a_word() {
    let site = Site::new();
    let output = site.command(&["--status", "0.0.0.0:0"]).output();
    let output = output.expect("to run");
    assert_eq!(output.status.code(), Some(2));
    let log = text(&output.stderr);
    assert!(log.contains("--unsafe-status"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");

    let server = site.serve(&["--status", "0.0.0.0:0", "--unsafe-status"]);
    let port = server.status_address().port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(page(at, "/healthz").0, 200);

    let mut alone = binary();
    alone.args(["serve", "x", "--dev", "--unsafe-status"]);
    assert_eq!(alone.output().expect("to run").status.code(), Some(2));
}

#[test]
fn an_address_in_use_is_named() {
    let site = Site::new();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    let output = site.command(&["--status", &taken]).output();
    let output = output.expect("to run");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("in use already"));
}
