//! The use of a client relay by a proxy: exemptions, a policy by server name, bytes that were read
//! before, and word of when there is something to tell.

use std::sync::Arc;

use mtls_core::Policy;
use mtls_core::path::Path;
use mtls_core::relay::{ClientRelay, TunnelEnd, TunnelStage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::closed_port::closed_port;
use crate::world::*;

fn relay(policy: Policy) -> ClientRelay {
    client_relay(settings(policy).side(Path::system()))
        .build()
        .expect("a relay")
}

#[tokio::test]
async fn exempt_tunnel_is_plain_and_lets_the_server_speak_first() {
    let tcp = bind([127, 0, 0, 1], 0).await;
    let to = address(&tcp);
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.expect("a connection");
        stream.write_all(b"220 hello\r\n").await.expect("to write");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("to read");
        stream.write_all(&rest).await.expect("to write");
    });
    let (mut near, far) = tcp_pair().await;
    let tunnel = relay(Policy::Require)
        .tunnel(to.into())
        .exempt()
        .received(b"first ".to_vec());
    let report = tokio::spawn(tunnel.run(far));
    let mut greeting = [0; 11];
    near.read_exact(&mut greeting).await.expect("a greeting");
    near.write_all(b"second").await.expect("to write");
    near.shutdown().await.expect("to close");
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(answer, "first second");
    let report = report.await.expect("a report");
    assert!(report.exempt);
    assert!(report.verdict.is_none());
    assert_eq!(report.stage, TunnelStage::Ended(TunnelEnd::Closed));
}

#[tokio::test]
async fn server_name_in_the_hello_can_only_make_a_policy_stricter() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    let _counts = plain_server(&world.server, tcp).await;
    for (policy, named, held_to) in [
        (Policy::Prefer, Some(Policy::Require), Policy::Require),
        (Policy::Prefer, None, Policy::Prefer),
        (Policy::Prefer, Some(Policy::Observe), Policy::Prefer),
        (Policy::Require, Some(Policy::Prefer), Policy::Require),
    ] {
        let (near, far) = tcp_pair().await;
        let by_name = Arc::new(move |name: &str| named.filter(|_| name == HOST));
        let tunnel = relay(policy).tunnel(plain.into()).policy_by_name(by_name);
        let report = tokio::spawn(tunnel.run(far));
        let shaken = shake_hands(&world.client, near).await;
        assert_eq!(shaken.is_ok(), held_to == Policy::Prefer);
        drop(shaken);
        let report = report.await.expect("a report");
        assert_eq!(report.policy, held_to);
        assert_eq!(report.server_name.as_deref(), Some(HOST));
    }
}

#[tokio::test]
async fn hello_that_was_read_before_is_verified_like_any_other() {
    let world = World::new();
    let (server, _) = library_server(&world.server, Policy::Require).await;
    let (near, mut far) = tcp_pair().await;
    let shaking = tokio::spawn({
        let config = Arc::clone(&world.client);
        async move {
            let mut stream = shake_hands(&config, near).await?;
            ask(&mut stream).await
        }
    });
    let mut received = vec![0; 64 * 1024];
    // A part of it at least.
    let read = far.read(&mut received).await.expect("a hello");
    received.truncate(read);
    let tunnel = relay(Policy::Require)
        .tunnel(target(server))
        .received(received);
    let monitor = tunnel.monitor();
    let report = tokio::spawn(tunnel.run(far));
    monitor.wait_until_resolved().await;
    assert_eq!(monitor.report().stage, TunnelStage::Relaying);
    let verdict = monitor.report().verdict.expect("a verdict");
    assert!(verdict.verified().is_some());
    let answer = shaking.await.expect("a task").expect("an answer");
    assert_eq!(answer, QUESTION);
    report.await.expect("a report");
    monitor.wait_until_resolved().await;
}

#[tokio::test]
async fn target_that_cannot_be_dialled_settles_its_tunnel() {
    let (_socket, closed) = closed_port([127, 0, 0, 1]);
    let mut tunnel = relay(Policy::Prefer).tunnel(closed.into());
    let monitor = tunnel.monitor();
    tunnel.dial().await.expect_err("no listener");
    monitor.wait_until_resolved().await;
    let report = monitor.report();
    assert_eq!(report.stage, TunnelStage::Ended(TunnelEnd::Refused));
    assert!(report.error.is_some());
}
