//! Packets of QUIC beside the handshake: Retry, HelloRetryRequest, version negotiation, other paths.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mtls_core::proto::binding::Binding;
use mtls_core::{Error, MultipathAcceptor, MultipathListener, Policy};
use rustls::crypto::aws_lc_rs;

use super::world::*;

#[tokio::test]
async fn a_retry_changes_neither_association_nor_binding() {
    let world = World::new();
    let acceptor = MultipathAcceptor::builder(world.server.clone(), patient(Policy::Require));
    let acceptor = acceptor.build().expect("an acceptor");
    let quic = quic_acceptor(&acceptor);
    let (tcp, udp) = sockets([127, 0, 0, 1]).await;
    let address = tcp.local_addr().expect("an address");
    let endpoint = quic.endpoint(udp).expect("an endpoint");
    let _sides = MultipathListener::new(acceptor, tcp, Default::default());
    let accepted = tokio::spawn(async move {
        let mut verdicts = Vec::new();
        let mut retries = 0;
        while verdicts.len() < 2 {
            let incoming = endpoint.accept().await.expect("a connection");
            if incoming.remote_address_validated() {
                let connection = quic.accept(incoming).await.expect("verified");
                verdicts.push(connection.verdict());
            } else {
                retries += 1;
                incoming.retry().expect("a Retry");
            }
        }
        (verdicts, retries)
    });
    for binding in [Binding::Exporter, Binding::Hello] {
        let settings = direct(Policy::Require, address).bindings(binding);
        let connected = connector(&world.client, settings)
            .connect(&target(address))
            .await;
        assert_eq!(
            connected.expect("verified").verdict().binding(),
            Some(binding)
        );
    }
    let (verdicts, retries) = accepted.await.expect("no panic");
    assert!(
        verdicts
            .iter()
            .all(|verdict| verdict.outcome.as_str() == "verified")
    );
    // One for each connection, and more where a client has repeated its first packet.
    assert!(retries >= 2, "{retries}");
}

#[tokio::test]
async fn a_hello_retry_request_is_part_of_both_bindings() {
    let mut p384 = aws_lc_rs::default_provider();
    p384.kx_groups = vec![aws_lc_rs::kx_group::SECP384R1];
    let world = World::with(Arc::new(p384));
    let served = serve(&world.server, patient(Policy::Require)).await;
    for binding in [Binding::Exporter, Binding::Hello] {
        let settings = direct(Policy::Require, served.address).bindings(binding);
        let connected = connector(&world.client, settings)
            .connect(&target(served.address))
            .await;
        let verdict = connected.expect("verified").verdict();
        assert_eq!(verdict.tls.handshake, Some("full-with-retry"));
        assert_eq!(verdict.tls.key_exchange.as_deref(), Some("secp384r1"));
        assert_eq!(verdict.binding(), Some(binding));
    }
}

#[tokio::test]
async fn an_injected_version_negotiation_ends_the_connection_unverified() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Observe)).await;
    let address = ([127, 0, 0, 2], served.address.port());
    let attacker = tokio::net::UdpSocket::bind(std::net::SocketAddr::from(address)).await;
    let attacker = attacker.expect("a port");
    tokio::spawn(async move {
        let mut datagram = vec![0; 2048];
        let (_, client) = attacker.recv_from(&mut datagram).await.expect("an Initial");
        // RFC 9000, section 17.2.1: the connection IDs change places; one version that no client knows.
        let (length, rest) = (usize::from(datagram[5]), &datagram[6..]);
        let (destination, rest) = rest.split_at(length);
        let source = &rest[1..=usize::from(rest[0])];
        let mut reply = vec![0x80, 0, 0, 0, 0];
        for id in [source, destination] {
            reply.push(u8::try_from(id.len()).expect("a connection ID"));
            reply.extend_from_slice(id);
        }
        reply.extend([0x1a, 0x2a, 0x3a, 0x4a]);
        attacker.send_to(&reply, client).await.expect("to send");
    });
    let settings = through_127_0_0_2(Policy::Prefer, served.address);
    let refused = connector(&world.client, settings)
        .connect(&target(served.address))
        .await;
    assert!(
        matches!(
            refused,
            Err(Error::Quic(quinn::ConnectionError::VersionMismatch))
        ),
        "{refused:?}"
    );
    assert_eq!(served.bytes(), 0);
}

#[tokio::test]
async fn a_client_that_moves_keeps_its_verdict_which_names_the_path_of_the_handshake() {
    let world = World::new();
    let mut served = serve(&world.server, patient(Policy::Require)).await;
    let connector = connector(&world.client, direct(Policy::Require, served.address));
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let before = endpoint.local_addr().expect("an address");
    let (name, side) = (HOST.try_into().expect("a name"), target(served.address));
    let connected = connector
        .connect_on(&endpoint, served.address, name, &side)
        .await;
    let connection = connected.expect("verified");
    let bindings = connection.channel_bindings().expect("an exporter");
    request(connection.get_ref()).await;
    let servers = served.verdicts.recv().await.expect("a verdict");

    let other = std::net::UdpSocket::bind("127.0.0.3:0").expect("a socket");
    endpoint.rebind(other).expect("another socket");
    request(connection.get_ref()).await;
    assert_eq!(connection.verdict().outcome.as_str(), "verified");
    assert_eq!(
        connection.channel_bindings().expect("an exporter"),
        bindings
    );
    assert_eq!(
        servers.paths[0].peer,
        Some(before),
        "the path of the handshake"
    );
}

#[tokio::test]
async fn a_nat_that_rebinds_affects_no_verification() {
    let world = World::new();
    let mut served = serve(&world.server, patient(Policy::Require)).await;
    let nat = Nat::before(served.address).await;
    let connector = connector(
        &world.client,
        through_127_0_0_2(Policy::Require, served.address),
    );
    for _ in 0..3 {
        let connection = connector
            .connect(&target(served.address))
            .await
            .expect("verified");
        assert_eq!(connection.verdict().paths[0].peer, Some(nat.address));
        // Before the server has confirmed the handshake, QUIC accepts no other address (RFC 9000,
        // section 9).
        request(connection.get_ref()).await;
        nat.rebind();
        request(connection.get_ref()).await;
        assert_eq!(
            served
                .verdicts
                .recv()
                .await
                .expect("a verdict")
                .outcome
                .as_str(),
            "verified"
        );
    }
    assert!(nat.from_server.load(Ordering::SeqCst) > 0);
}
