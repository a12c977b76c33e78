//! Every pair of a library end or a relay at either side.

use std::sync::Arc;

use mtls_core::path::Path;
use mtls_core::proto::binding::Binding;
use mtls_core::relay::{ServerRelay, TunnelEnd, TunnelStage};
use mtls_core::{ClientSettings, MultipathConnector, Policy, SideServiceSettings};
use rustls::crypto::aws_lc_rs::{self, kx_group::SECP256R1};
use tokio::io::AsyncWriteExt;

use crate::world::*;

#[tokio::test]
async fn client_relay_verifies_against_a_library_server() {
    let world = World::new();
    let (server, mut verdicts) = library_server(&world.server, Policy::Require).await;
    let relay = client_relay(
        settings(Policy::Require)
            .side(Path::system())
            .side(Path::source("127.0.0.2".parse().expect("an address")).expect("a path")),
    )
    .build()
    .expect("a relay");
    for round in 0..3 {
        let (tcp, report) = begin(&relay, target(server)).await;
        let mut stream = shake_hands(&world.client, tcp).await.expect("a handshake");
        assert_eq!(ask(&mut stream).await.expect("an answer"), QUESTION);
        let learnt = verdicts.recv().await.expect("the server's verdict");
        assert_eq!(learnt.binding(), Some(Binding::Hello));
        stream.shutdown().await.expect("to close");
        drop(stream);
        let report = report.await.expect("a report");
        let verdict = report.verdict.expect("a verdict");
        assert_eq!(verdict.binding(), Some(Binding::Hello));
        assert_eq!(verdict.verified().expect("verified").sides().len(), 2);
        assert_eq!(verdict.paths[1].reused, round > 0, "side connections kept");
        assert_eq!(report.server_name.as_deref(), Some(HOST));
        assert!(matches!(report.stage, TunnelStage::Ended(_)));
        assert!(report.bytes.to_server > QUESTION.len() as u64);
        assert!(report.error.is_none() && report.evidence.is_none());
    }
}

#[tokio::test]
async fn library_client_verifies_against_a_server_relay() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    let _counts = plain_server(&world.server, tcp).await;
    let (relay, mut monitors) = passthrough(server_relay(plain, Policy::Require)).await;
    let requiring = settings(Policy::Require)
        .primary(path_to(relay))
        .side(path_to(relay));
    let connector = MultipathConnector::builder(Arc::clone(&world.client), requiring)
        .build()
        .expect("a connector");
    let mut stream = connector
        .connect(&target(relay))
        .await
        .expect("a verified stream");
    assert_eq!(stream.verdict().binding(), Some(Binding::Hello));
    assert_eq!(ask(&mut stream).await.expect("an answer"), QUESTION);
    let report = monitors.recv().await.expect("a tunnel").report();
    assert_eq!(report.stage, TunnelStage::Relaying);
    let verdict = report.verdict.expect("a verdict");
    assert_eq!(verdict.binding(), Some(Binding::Hello));
}

#[tokio::test]
async fn exporter_alone_has_nothing_in_common_with_a_relay() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    let mut counts = plain_server(&world.server, tcp).await;
    let (relay, _monitors) = passthrough(server_relay(plain, Policy::Prefer)).await;
    let requiring = settings(Policy::Require)
        .primary(path_to(relay))
        .side(path_to(relay))
        .bindings(Binding::Exporter);
    let connector = MultipathConnector::builder(Arc::clone(&world.client), requiring)
        .build()
        .expect("a connector");
    let error = connector.connect(&target(relay)).await.expect_err("none");
    assert!(
        error.to_string().contains("none of the bindings"),
        "{error}"
    );
    assert_eq!(counts.recv().await, Some(0));
}

#[tokio::test]
async fn relays_verify_between_plain_ends() {
    let world = World::new();
    both_relays(&world, Policy::Require).await;
}

#[tokio::test]
async fn retried_hellos_pass_both_relays_and_verify() {
    let world = World::with(Choice {
        groups: Some(&[SECP256R1]),
        ..Choice::default()
    });
    both_relays(&world, Policy::Require).await;
}

async fn both_relays(world: &World, policy: Policy) {
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    let mut counts = plain_server(&world.server, tcp).await;
    let (passthrough, mut monitors) = passthrough(server_relay(plain, policy)).await;
    let relay = client_relay(settings(policy).side(Path::system()))
        .build()
        .expect("a relay");
    let (tcp, report) = begin(&relay, target(passthrough)).await;
    let mut stream = shake_hands(&world.client, tcp).await.expect("a handshake");
    assert_eq!(ask(&mut stream).await.expect("an answer"), QUESTION);
    let monitor = monitors.recv().await.expect("a tunnel");
    let at_server = monitor.report().verdict.expect("a verdict");
    assert_eq!(at_server.binding(), Some(Binding::Hello));
    stream.shutdown().await.expect("to close");
    assert_eq!(counts.recv().await, Some(QUESTION.len()));
    drop(stream);
    let report = report.await.expect("a report");
    let verdict = report.verdict.expect("a verdict");
    assert_eq!(verdict.binding(), Some(Binding::Hello));
    assert_eq!(report.stage, TunnelStage::Ended(TunnelEnd::Closed));
}

#[tokio::test]
async fn hellos_split_at_every_byte_verify_through_both_relays() {
    for groups in [None, Some(&[SECP256R1][..])] {
        let world = World::with(Choice {
            groups,
            ..Choice::default()
        });
        let tcp = bind([127, 0, 0, 1], 0).await;
        let plain = address(&tcp);
        let _counts = plain_server(&world.server, tcp).await;
        let server_relay = ServerRelay::builder(
            &aws_lc_rs::default_provider(),
            plain.into(),
            SideServiceSettings::new(Policy::Require).deadline(LONG),
        )
        .path(Dribbling(Path::system()))
        .build()
        .expect("a relay");
        let (passthrough, mut monitors) = passthrough(server_relay).await;
        let relay = client_relay(
            ClientSettings::with_primary(Policy::Require, Dribbling(Path::system()))
                .deadline(LONG)
                .side(Dribbling(Path::system())),
        )
        .build()
        .expect("a relay");
        let (client, relayed) = tcp_pair().await;
        let tunnel = relay.tunnel(target(passthrough));
        let report = tokio::spawn(tunnel.run(Dribble(relayed)));
        let mut stream = shake_hands(&world.client, client)
            .await
            .expect("a handshake");
        assert_eq!(ask(&mut stream).await.expect("an answer"), QUESTION);
        drop(stream);
        let verdict = report.await.expect("a report").verdict;
        assert_eq!(verdict.expect("a verdict").binding(), Some(Binding::Hello));
        let monitor = monitors.recv().await.expect("a tunnel");
        let verdict = monitor.report().verdict.expect("a verdict");
        assert_eq!(verdict.binding(), Some(Binding::Hello));
    }
}
