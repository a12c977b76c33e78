//! Men in the middle: quinn's server and client back to back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtls_core::{Error, EvidenceReason, Outcome, Policy};
use quinn::Connection;
use rustls::ClientConfig;

use super::world::*;

/// A man in the middle at 127.0.0.2, with the port of the server. Counts the application bytes of clients.
fn man_in_the_middle(world: &World, server: SocketAddr) -> Arc<AtomicUsize> {
    let address = SocketAddr::from(([127, 0, 0, 2], server.port()));
    let front = plain_server(&world.rogue, address);
    let back = plain_client(&world.client);
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    tokio::spawn(async move {
        while let Some(incoming) = front.accept().await {
            let (back, counted) = (back.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let near = incoming
                    .await
                    .expect("a client that trusts the rogue authority");
                let far = back.connect(server, HOST).expect("a connection").await;
                let far = far.expect("a server");
                relay(near, far, &counted).await;
            });
        }
    });
    read
}

/// Relays the streams that the client opens.
async fn relay(near: Connection, far: Connection, read: &AtomicUsize) {
    while let Ok((mut reply, mut receive)) = near.accept_bi().await {
        let message = receive.read_to_end(1 << 16).await.unwrap_or_default();
        read.fetch_add(message.len(), Ordering::SeqCst);
        let Ok((mut send, mut answer)) = far.open_bi().await else {
            return;
        };
        let _ = send.write_all(&message).await;
        let _ = send.finish();
        let answer = answer.read_to_end(1 << 16).await.unwrap_or_default();
        let _ = reply.write_all(&answer).await;
        let _ = reply.finish();
    }
}

async fn fool_plain_quic(config: &ClientConfig, server: SocketAddr) {
    let attacker = SocketAddr::from(([127, 0, 0, 2], server.port()));
    let client = plain_client(config);
    let connection = client.connect(attacker, HOST).expect("a connection").await;
    request(&connection.expect("plain QUIC trusts the rogue authority")).await;
}

#[tokio::test]
async fn a_man_in_the_middle_who_fools_plain_quic_is_refused_with_no_application_byte() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Observe)).await;
    let read = man_in_the_middle(&world, served.address);
    fool_plain_quic(&world.client, served.address).await;
    assert_eq!(
        read.swap(0, Ordering::SeqCst),
        REQUEST.len(),
        "the attacker read the request"
    );
    let before = served.bytes();

    for policy in [Policy::Require, Policy::Prefer] {
        let connector = connector(&world.client, through_127_0_0_2(policy, served.address));
        let refused = connector.connect(&target(served.address)).await;
        let Err(Error::Interception(evidence)) = refused else {
            panic!("{policy:?}: {refused:?}");
        };
        let EvidenceReason::Interception(reason) = evidence.reason else {
            panic!("{evidence:?}");
        };
        assert_eq!(reason.as_str(), "unknown-handshake");
        let rogue = world.pki.rogue.chain_pem();
        assert!(
            rogue.starts_with(evidence.chain[0].pem.trim_end()),
            "the rogue certificate"
        );
        assert!(
            evidence.signature.is_some(),
            "the attacker signed the handshake"
        );
        assert_eq!(evidence.connection.tls.transport, Some("quic"));
    }
    assert_eq!(read.load(Ordering::SeqCst), 0);
    assert_eq!(served.bytes(), before);
}

#[tokio::test]
async fn observe_reports_a_man_in_the_middle_with_evidence() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Observe)).await;
    man_in_the_middle(&world, served.address);
    let connector = connector(
        &world.client,
        through_127_0_0_2(Policy::Observe, served.address),
    );
    let connection = connector
        .connect(&target(served.address))
        .await
        .expect("observed");
    assert!(matches!(
        connection.verdict().outcome,
        Outcome::Intercepted(_)
    ));
    assert!(connection.evidence().is_some());
    request(connection.get_ref()).await;
}

#[tokio::test]
async fn a_server_that_requires_verification_serves_no_man_in_the_middle() {
    let world = World::new();
    let settings = mtls_core::SideServiceSettings::new(Policy::Require);
    // Longer than the client takes to send its request, even where the machine stalls.
    let settings = settings.deadline(std::time::Duration::from_secs(5));
    let served = serve(&world.server, settings).await;
    let connected = plain_client(&world.client)
        .connect(served.address, HOST)
        .expect("a connection")
        .await
        .expect("the handshake completes");
    let (mut send, _receive) = connected.open_bi().await.expect("a stream");
    send.write_all(REQUEST).await.expect("to send");
    let closed = connected.closed().await;
    let quinn::ConnectionError::ApplicationClosed(close) = closed else {
        panic!("{closed:?}");
    };
    assert_eq!(close.error_code, mtls_core::quic::REFUSED.into());
    assert_eq!(served.bytes(), 0);
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_an_error_of_tls() {
    let world = World::new();
    let other = World::new();
    let served = serve(&world.server, patient(Policy::Require)).await;
    let connector = connector(&other.client, direct(Policy::Require, served.address));
    let refused = connector.connect(&target(served.address)).await;
    assert!(
        matches!(
            refused,
            Err(Error::Tls(rustls::Error::InvalidCertificate(
                rustls::CertificateError::BadSignature
            )))
        ),
        "{refused:?}"
    );
}
