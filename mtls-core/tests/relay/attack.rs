//! A man in the middle with a certificate that the client trusts.

use mtls_core::path::Path;
use mtls_core::relay::{TunnelEnd, TunnelStage};
use mtls_core::{Error, Policy};
use rustls::crypto::aws_lc_rs::kx_group::SECP256R1;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::world::*;

/// A library server at 127.0.0.1, and an attacker at the same port of 127.0.0.3.
struct Scene {
    server: std::net::SocketAddr,
    attacker: std::net::SocketAddr,
    stolen: mpsc::UnboundedReceiver<usize>,
}

async fn scene(world: &World) -> Scene {
    let (server, _) = library_server(&world.server, Policy::Prefer).await;
    let tcp = bind([127, 0, 0, 3], server.port()).await;
    let attacker = address(&tcp);
    let stolen = plain_server(&world.rogue, tcp).await;
    Scene {
        server,
        attacker,
        stolen,
    }
}

#[tokio::test]
async fn attacker_reads_everything_of_a_client_without_a_relay() {
    let world = World::new();
    let mut scene = scene(&world).await;
    let tcp = TcpStream::connect(scene.attacker)
        .await
        .expect("a connection");
    let mut stream = shake_hands(&world.client, tcp).await.expect("a handshake");
    assert_eq!(ask(&mut stream).await.expect("an answer"), QUESTION);
    drop(stream);
    assert_eq!(scene.stolen.recv().await, Some(QUESTION.len()));
}

#[tokio::test]
async fn attacker_gets_no_application_byte_through_a_client_relay() {
    for policy in [Policy::Require, Policy::Prefer] {
        let world = World::new();
        let mut scene = scene(&world).await;
        let relay = client_relay(
            settings(policy)
                .primary(path_to(scene.attacker))
                .side(path_to(scene.server)),
        )
        .build()
        .expect("a relay");
        let (tcp, report) = begin(&relay, target(scene.server)).await;
        shake_hands(&world.client, tcp)
            .await
            .expect_err("nothing of the server's");
        let report = report.await.expect("a report");
        assert_eq!(report.bytes.to_client, 0, "nothing reached the client");
        assert_eq!(report.stage, TunnelStage::Ended(TunnelEnd::Refused));
        let error = report.error.expect("an error");
        assert!(matches!(&*error, Error::Interception(_)), "{error}");
        let evidence = report.evidence.expect("evidence");
        assert!(evidence.chain.is_empty(), "a relay sees no certificate");
        assert_eq!(evidence.association.len(), 32);
        assert_eq!(evidence.connection.paths.len(), 2);
        assert_eq!(scene.stolen.recv().await, Some(0));
    }
}

#[tokio::test]
async fn attacker_who_asks_for_a_second_hello_gets_no_application_byte() {
    let world = World::with(Choice {
        groups: Some(&[SECP256R1]),
        ..Choice::default()
    });
    let mut scene = scene(&world).await;
    let relay = client_relay(
        settings(Policy::Require)
            .primary(path_to(scene.attacker))
            .side(path_to(scene.server)),
    )
    .build()
    .expect("a relay");
    let (tcp, report) = begin(&relay, target(scene.server)).await;
    shake_hands(&world.client, tcp)
        .await
        .expect_err("no ServerHello");
    let report = report.await.expect("a report");
    let error = report.error.expect("an error");
    assert!(matches!(&*error, Error::Interception(_)), "{error}");
    assert!(report.bytes.to_client < 150, "the HelloRetryRequest alone");
    assert_eq!(scene.stolen.recv().await, Some(0));
}

#[tokio::test]
async fn observing_relay_reports_the_attacker_and_passes() {
    let world = World::new();
    let mut scene = scene(&world).await;
    let relay = client_relay(
        settings(Policy::Observe)
            .primary(path_to(scene.attacker))
            .side(path_to(scene.server)),
    )
    .build()
    .expect("a relay");
    let (tcp, report) = begin(&relay, target(scene.server)).await;
    let mut stream = shake_hands(&world.client, tcp).await.expect("a handshake");
    assert_eq!(ask(&mut stream).await.expect("an answer"), QUESTION);
    drop(stream);
    assert_eq!(scene.stolen.recv().await, Some(QUESTION.len()));
    let report = report.await.expect("a report");
    let verdict = report.verdict.expect("a verdict");
    assert_eq!(verdict.outcome.as_str(), "intercepted");
    assert!(report.evidence.is_some());
}

#[tokio::test]
async fn attacker_before_a_passthrough_is_told_apart_too() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    let _counts = plain_server(&world.server, tcp).await;
    let (passthrough, _monitors) = passthrough(server_relay(plain, Policy::Prefer)).await;
    let tcp = bind([127, 0, 0, 3], passthrough.port()).await;
    let attacker = address(&tcp);
    let mut stolen = plain_server(&world.rogue, tcp).await;
    let relay = client_relay(
        settings(Policy::Prefer)
            .primary(path_to(attacker))
            .side(path_to(passthrough)),
    )
    .build()
    .expect("a relay");
    let (mut tcp, report) = begin(&relay, target(passthrough)).await;
    let handshake = shake_hands(&world.client, &mut tcp).await;
    handshake.expect_err("nothing of the server's");
    let report = report.await.expect("a report");
    assert_eq!(report.bytes.to_client, 0);
    assert_eq!(stolen.recv().await, Some(0));
    let mut rest = Vec::new();
    assert_eq!(tcp.read_to_end(&mut rest).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn side_path_that_leads_elsewhere_refuses() {
    // The side path reaches another server of the same kind: it never saw the handshake.
    let world = World::new();
    let (server, _) = library_server(&world.server, Policy::Prefer).await;
    let (other, _) = library_server(&world.server, Policy::Prefer).await;
    let relay = client_relay(
        settings(Policy::Prefer)
            .side(Path::system())
            .side_endpoint(other.into()),
    )
    .build()
    .expect("a relay");
    let (tcp, report) = begin(&relay, target(server)).await;
    shake_hands(&world.client, tcp).await.expect_err("refused");
    let error = report.await.expect("a report").error.expect("an error");
    assert!(matches!(&*error, Error::Interception(_)), "{error}");
}
