//! From the start to the end: bad options, a target that is down, bounds, and signals.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::proto::frame::GREETING;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{HUNG, Site, binary, get, text};
use crate::passthrough::world::*;

#[test]
fn bad_options_are_one_clear_sentence() {
    let here = free_address().to_string();
    for (arguments, status, part) in [
        (
            vec!["--listen", &here, "--target", &here],
            1,
            "is where the passthrough itself listens",
        ),
        (vec!["--target", "localhost"], 2, "no port"),
        (vec!["--target", "localhost:0"], 2, "port"),
        (vec![], 2, "--target"),
        (
            vec!["--target", "localhost:1", "--max-tunnels", "0"],
            2,
            "max-tunnels",
        ),
        (
            vec!["--target", "localhost:1", "--idle-timeout", "0s"],
            2,
            "longer than zero",
        ),
        (vec!["--target", "localhost:1", "--cert", "x"], 2, "--cert"),
        (
            vec!["--target", "localhost:1", "--listen", "192.0.2.1:1"],
            1,
            "does not have that address",
        ),
    ] {
        let mut command = binary();
        command.arg("passthrough").args(&arguments);
        let output = command.output().expect("to run");
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {log}");
        assert!(log.contains(part), "{arguments:?}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_can_stand_in_a_file() {
    let site = Site::new();
    let file = site.root.path().join("options.toml");
    let text = "[passthrough]\ntarget = \"127.0.0.1:1\"\nmax-tunnels = 7\nsend-proxy = true\n";
    std::fs::write(&file, text).expect("to write");
    let output = binary().args(["config", "check"]).arg(&file).output();
    let output = output.expect("to run");
    assert!(
        output.status.success(),
        "{}",
        crate::common::text(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_closes_cleanly_is_reported_once_and_recovers() {
    let site = Site::new();
    let target = free_address();
    let mut through = passthrough(target, &["--health-interval", "1s"]);
    let line = through.wait_for("cannot be reached");
    assert!(line.contains(&target.to_string()), "{line}");
    for _ in 0..20 {
        let mut client = TcpStream::connect(through.address)
            .await
            .expect("a connection");
        client.write_all(b"plain").await.expect("to write");
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("a clean close");
        assert_eq!(got, b"");
    }
    let mut side = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    side.write_all(&GREETING).await.expect("to write");
    let mut greeting = [0; GREETING.len()];
    side.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(greeting, GREETING);

    let listener = TcpListener::bind(target).await.expect("the port");
    through.wait_for("takes connections again");
    let lines = through.log().iter();
    let messages = lines
        .filter(|line| line.contains("cannot be reached"))
        .count();
    assert_eq!(messages, 1, "{:#?}", through.log());
    let mut client = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    client.write_all(b"plain").await.expect("to write");
    let answered = async {
        loop {
            let (mut server, _) = listener.accept().await.expect("a connection");
            let mut got = [0; 5];
            // A look at the target's health brings nothing.
            if server.read_exact(&mut got).await.is_ok() {
                return got;
            }
        }
    };
    assert_eq!(&answered.await, b"plain");
    drop(site);
}

/// A page of the status address: its status and its body.
async fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("to write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// Asks until it is so: what is counted may be counted a moment later.
async fn wait_for(address: SocketAddr, pointer: &str, expected: serde_json::Value) {
    let asking = async {
        loop {
            let (_, body) = page(address, "/status").await;
            let status: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            if status.pointer(pointer) == Some(&expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(HUNG, asking).await;
    told.unwrap_or_else(|_| panic!("{pointer} is not {expected}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_the_targets_health_and_the_tunnels_by_verdict() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let status = free_address();
    let options = ["--health-interval", "1s", "--status", &status.to_string()];
    let mut through = passthrough(nginx.address, &options);
    wait_for(status, "/backend/health/up", true.into()).await;
    assert_eq!(page(status, "/readyz").await, (200, "ready\n".to_owned()));

    let verified = site.connect(through.address).await;
    wait_for(status, "/backend/tunnels/open/verified", 1.into()).await;
    wait_for(status, "/connections/open", 1.into()).await;
    drop(verified);
    wait_for(status, "/connections/open", 0.into()).await;
    let mut plain = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    plain.write_all(b"plain\r\n\r\n").await.expect("to write");
    plain.read_to_end(&mut Vec::new()).await.expect("an answer");
    drop(plain);
    wait_for(status, "/backend/tunnels/reasons/not-tls", 1.into()).await;
    let (_, metrics) = page(status, "/metrics").await;
    for part in [
        "multipath_tls_connections_total{verdict=\"verified\",reason=\"none\",binding=\"hello\"} 1",
        "multipath_tls_connections_total{verdict=\"unverified\",reason=\"not-tls\",binding=\"none\"} 1",
        "multipath_tls_target_up 1",
        "multipath_tls_target_sent_bytes_total ",
    ] {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }

    drop(nginx);
    through.wait_for("cannot be reached");
    wait_for(status, "/backend/health/up", false.into()).await;
    let down = (503, "target-down\n".to_owned());
    assert_eq!(page(status, "/readyz").await, down);
    assert_eq!(page(status, "/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tunnel_more_than_allowed_is_refused_and_the_others_stay() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let target = listener.local_addr().expect("an address");
    let through = passthrough(target, &["--max-tunnels", "1", "--health-interval", "60m"]);
    drop(listener.accept().await.expect("the first look"));
    let mut first = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    first.write_all(b"1").await.expect("to write");
    let (mut server, _) = listener.accept().await.expect("a connection");
    let mut second = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    second.write_all(b"2").await.expect("to write");
    let error = second.read_u8().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "a clean close");
    first.write_all(b"3").await.expect("to write");
    let mut got = [0; 2];
    server.read_exact(&mut got).await.expect("both bytes");
    assert_eq!(&got, b"13");
    drop((first, server));
    // Its place is free again.
    let accepted = async {
        loop {
            let mut third = TcpStream::connect(through.address)
                .await
                .expect("a connection");
            third.write_all(b"4").await.expect("to write");
            let pause = Duration::from_millis(200);
            if let Ok(accepted) = tokio::time::timeout(pause, listener.accept()).await {
                return accepted;
            }
        }
    };
    let accepted = tokio::time::timeout(HUNG, accepted).await;
    accepted.expect("a place").expect("a connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_may_finish_after_sigterm_and_the_listener_is_gone() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(
        nginx.address,
        &["--policy", "require", "--shutdown-timeout", "60s"],
    );
    let mut stream = site.connect(through.address).await;
    through.signal(Signal::TERM);
    through.wait_until_closed().await;
    let answer = get(&mut stream, "/index.html").await;
    assert!(answer.ends_with("<p>the index"), "{answer}");
    drop(stream);
    let (status, log) = through.wait();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    assert!(
        !log.iter().any(|line| line.contains("cut off:")),
        "{log:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_that_do_not_finish_are_cut_off_and_counted() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let target = listener.local_addr().expect("an address");
    let options = ["--shutdown-timeout", "100ms", "--health-interval", "60m"];
    let through = passthrough(target, &options);
    drop(listener.accept().await.expect("the first look"));
    let mut client = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    client.write_all(b"1").await.expect("to write");
    let (mut server, _) = listener.accept().await.expect("a connection");
    assert_eq!(server.read_u8().await.expect("a byte"), b'1');
    through.signal(Signal::TERM);
    let (status, log) = through.wait();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    let cut = log
        .iter()
        .any(|line| line.contains("connections cut off: 1"));
    assert!(cut, "{log:#?}");
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
}
