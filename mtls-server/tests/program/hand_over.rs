//! The end of one process, and the start of the next one on the same sockets.

use std::net::{SocketAddr, TcpListener};

use crate::common::{Load, Running, Site, binary, get, patient, text, verdict_of, with_sockets};
use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientSettings, MultipathConnector, Policy};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[test]
fn an_invalid_number_of_inherited_sockets_is_refused() {
    let site = Site::new();
    for number in ["999999999", "1025", "99999999999999999999", "-1", "x", " 1"] {
        let mut command = site.command(&["--listen", "127.0.0.1:0"]);
        command.env("LISTEN_FDS", number).env_remove("LISTEN_PID");
        let output = command.output().expect("to run");
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{number}: {log}");
        assert!(log.contains(&format!("got {number:?}")), "{log}");
    }
}

#[test]
fn a_number_of_sockets_for_another_process_is_ignored() {
    let site = Site::new();
    let mut command = site.command(&["--listen", "127.0.0.1:0"]);
    command
        .env("LISTEN_FDS", "999999999")
        .env("LISTEN_PID", "1");
    let server = Running::start(command);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

/// A side path to `to` that is closed until the sender sends.
async fn gate(to: SocketAddr) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (open, opened) = oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("a connection");
        opened.await.expect("a sender");
        let mut far = TcpStream::connect(to).await.expect("the side listener");
        let _ = copy_bidirectional(&mut near, &mut far).await;
    });
    (address, open)
}

/// A primary path to `to` for one client, which says when the client's first bytes have gone on.
async fn announcing(to: SocketAddr) -> (SocketAddr, oneshot::Receiver<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (says, gone) = oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("a connection");
        let mut far = TcpStream::connect(to).await.expect("the server");
        let mut first = Vec::new();
        near.read_buf(&mut first).await.expect("a ClientHello");
        far.write_all(&first).await.expect("to write");
        says.send(()).expect("a waiting test");
        let _ = copy_bidirectional(&mut near, &mut far).await;
    });
    (address, gone)
}

/// The response to a client whose side path opens only when the server has closed its address for
/// TLS.
async fn response_across_the_end(site: &Site, mut server: Running) -> String {
    let side = server.next_side_address();
    let (side, open) = gate(side).await;
    let settings = patient(Policy::Require)
        .side(Path::system())
        .side_endpoint(Endpoint::from(side));
    let connector = MultipathConnector::builder(site.client_config(), settings).build();
    let (primary, hello) = announcing(server.address).await;
    let connector = connector.expect("a connector");
    let client = tokio::spawn(async move {
        let stream = connector.connect(&Endpoint::from(primary)).await;
        get(&mut stream.expect("a verified stream"), "/").await
    });
    hello.await.expect("a ClientHello");
    server.signal(Signal::TERM);
    server.wait_until_closed().await;
    open.send(()).expect("a side path");
    let response = client.await.expect("a response");
    assert_eq!(server.wait().0.code(), Some(0));
    response
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_in_progress_completes_after_sigterm() {
    let site = Site::new();
    for policy in ["require", "prefer"] {
        let mut command = site.command(&["--listen", "127.0.0.1:0"]);
        command.args(["--policy", policy, "--deadline", "60s"]);
        command.args(["--side-listen", "127.0.0.1:0"]);
        let server = Running::start(command);
        let response = response_across_the_end(&site, server).await;
        assert!(response.ends_with("<p>the index"), "{policy}: {response}");
        assert!(verdict_of(&response).starts_with("verified"), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passthrough_completes_a_verification_in_progress_after_sigterm() {
    let site = Site::new();
    let target = site.serve(&["--policy", "observe"]);
    for policy in ["require", "prefer"] {
        let mut command = binary();
        command.args(["passthrough", "--listen", "127.0.0.1:0", "--policy", policy]);
        command.args(["--deadline", "60s"]);
        command.args(["--side-listen", "127.0.0.1:0", "--target"]);
        command.arg(target.address.to_string());
        let before = format!("passing through to {} on ", target.address);
        let server = Running::start_saying(command, &before);
        let response = response_across_the_end(&site, server).await;
        assert!(response.ends_with("<p>the index"), "{policy}: {response}");
    }
}

fn socket() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a socket")
}

#[tokio::test]
async fn a_server_listens_on_the_sockets_of_the_service_manager() {
    let site = Site::new();
    let (primary, side) = (socket(), socket());
    for (names, has_side) in [(Some("primary:side"), true), (Some("mtls.socket"), false)] {
        let both = [&primary, &side];
        let sockets = if has_side { &both[..] } else { &both[..1] };
        let command = with_sockets(&site.command(&[]), sockets, names);
        let mut server = Running::start(command);
        assert_eq!(Some(server.address), primary.local_addr().ok());
        if has_side {
            assert_eq!(server.next_side_address(), side.local_addr().expect("one"));
        }
        let mut stream = site.connect(server.address).await;
        assert!(get(&mut stream, "/").await.ends_with("<p>the index"));
    }
}

#[test]
fn sockets_that_cannot_be_used_are_refused_with_the_remedy() {
    let site = Site::new();
    let connected = std::net::TcpStream::connect(socket().local_addr().expect("an address"));
    let connected = TcpListener::from(std::os::fd::OwnedFd::from(connected.expect("a socket")));
    for (socket, names, part) in [
        (&socket(), "http", "named \"http\": no socket has that name"),
        (&connected, "primary", "it does not listen"),
    ] {
        let output = with_sockets(&site.command(&[]), &[socket], Some(names)).output();
        let output = output.expect("to run");
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(
            log.contains(part) && log.contains("FileDescriptorName="),
            "{log}"
        );
    }
}

/// Without a registry that both processes share, an honest client may stay unverified at the
/// change, but it gets its response, and never reports an interception.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_on_inherited_sockets_lose_no_request_and_cause_no_false_alarm() {
    let site = Site::new();
    let shared = socket();
    let address = shared.local_addr().expect("an address");
    let start = || Running::start(with_sockets(&site.command(&[]), &[&shared], None));
    let mut server = start();
    let settings = ClientSettings::new(Policy::Prefer).side(Path::system());
    let load = Load::start(&site, address, &settings);
    for _ in 0..4 {
        load.goes_on(20).await;
        server.signal(Signal::TERM);
        assert_eq!(server.wait().0.code(), Some(0));
        server = start();
    }
    let served = load.end().await;
    assert!(served.failed.is_empty(), "{served:?}");
    assert!(served.verified > served.unverified, "{served:?}");
    eprintln!("{served:?}");
}
