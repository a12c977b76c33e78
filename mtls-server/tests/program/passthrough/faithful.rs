//! How connections end, and peers that do not read.
//!
//! These tests speak no TLS: under `prefer` such a connection passes, and what a relay does to a
//! connection's end does not depend on what it carries.

use std::io::ErrorKind;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::Running;
use crate::passthrough::world::*;

/// A target of this process, and a passthrough in front of it.
async fn behind(more: &[&str]) -> (TcpListener, Running) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    // The passthrough looks once an hour whether it is there, so it is never in the way.
    let mut options = vec!["--health-interval", "60m"];
    options.extend(more);
    let through = passthrough(listener.local_addr().expect("an address"), &options);
    let (health, _) = listener.accept().await.expect("the first look");
    drop(health);
    (listener, through)
}

/// Both ends of a connection that has carried its first byte.
async fn ends(listener: &TcpListener, through: &Running) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    client.write_all(b"!").await.expect("to write");
    let (mut server, _) = listener.accept().await.expect("a connection");
    assert_eq!(server.read_u8().await.expect("a byte"), b'!');
    (client, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn either_end_can_close_its_half_and_still_read() {
    let (listener, through) = behind(&[]).await;
    for swapped in [false, true] {
        let (client, server) = ends(&listener, &through).await;
        let (mut first, mut second) = if swapped {
            (server, client)
        } else {
            (client, server)
        };
        first.write_all(b"question").await.expect("to write");
        first.shutdown().await.expect("to close");
        let mut got = String::new();
        second.read_to_string(&mut got).await.expect("the end");
        assert_eq!(got, "question");
        second.write_all(b"late answer").await.expect("to write");
        drop(second);
        let mut got = String::new();
        first.read_to_string(&mut got).await.expect("the end");
        assert_eq!(got, "late answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_of_either_end_reaches_the_other_as_a_reset() {
    let (listener, through) = behind(&[]).await;
    for swapped in [false, true] {
        let (client, server) = ends(&listener, &through).await;
        let (first, mut second) = if swapped {
            (server, client)
        } else {
            (client, server)
        };
        set_socket_linger(&first, Some(Duration::ZERO)).expect("a socket");
        drop(first);
        let error = second.read_u8().await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_gets_everything() {
    let (listener, through) = behind(&[]).await;
    let (mut client, mut server) = ends(&listener, &through).await;
    let sent: Vec<u8> = (0..16_u32 << 20).map(|at| (at % 251) as u8).collect();
    let sending = async {
        server.write_all(&sent).await.expect("to write");
        drop(server);
    };
    let reading = async {
        let mut got = Vec::with_capacity(sent.len());
        let mut pieces = 0;
        while client.read_buf(&mut got).await.expect("to read") > 0 {
            pieces += 1;
            if pieces % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        got
    };
    let ((), got) = tokio::join!(sending, reading);
    assert!(got == sent, "{} bytes", got.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_never_read_cost_bounded_memory_and_stop_their_senders() {
    const PEERS: usize = 40;
    let (listener, through) = behind(&[]).await;
    let mut kept = Vec::new();
    let before = resident(through.id());
    let mut taken = 0;
    for _ in 0..PEERS {
        let (client, mut server) = ends(&listener, &through).await;
        let chunk = vec![7; 1 << 20];
        let pause = Duration::from_millis(200);
        while let Ok(written) = tokio::time::timeout(pause, server.write(&chunk)).await {
            taken += written.expect("to write");
            assert!(taken < PEERS * (32 << 20), "the senders are not stopped");
        }
        kept.push((client, server));
    }
    let grown = resident(through.id()).saturating_sub(before);
    println!("{PEERS} peers that never read: {grown} KiB more of resident memory");
    // 64 KiB each is what the library promises; the allocator may keep as much again.
    assert!(grown < 128 * PEERS as u64 + 4096, "{grown} KiB");
}
