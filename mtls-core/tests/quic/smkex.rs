//! SMKEX over QUIC: raw public keys, and no certificate authority.

use mtls_core::quic::QuicConnector;
use mtls_core::smkex::{SmkexClient, SmkexServer};
use mtls_core::{ClientSettings, Error, MultipathAcceptor, NotSmkex, Policy};

use super::world::*;

fn smkex_connector(settings: ClientSettings) -> QuicConnector {
    let tcp = SmkexClient::new(provider()).connector(settings);
    let tcp = tcp.expect("a connector").build();
    quic_connector(&tcp.expect("a connector"), ALPN)
}

fn smkex_acceptor() -> MultipathAcceptor {
    let tcp = SmkexServer::new(provider()).acceptor(patient(Policy::Require));
    tcp.expect("an acceptor").build().expect("an acceptor")
}

#[tokio::test]
async fn both_ends_verify_without_a_certificate() {
    let mut served = serve_with(smkex_acceptor()).await;
    let connector = smkex_connector(direct(Policy::Require, served.address));
    for _ in 0..2 {
        let connection = connector
            .connect(&target(served.address))
            .await
            .expect("verified");
        let verdict = connection.verdict();
        assert_eq!(verdict.tls.server_key, Some("raw-public-key"));
        assert_eq!(verdict.tls.handshake, Some("full"), "SMKEX resumes nothing");
        request(connection.get_ref()).await;
        let servers = served.verdicts.recv().await.expect("a verdict");
        assert_eq!(servers.outcome.as_str(), "verified");
    }
}

#[tokio::test]
async fn a_man_in_the_middle_needs_no_certificate_and_is_detected() {
    let served = serve_with(smkex_acceptor()).await;
    // The attacker's own key, at 127.0.0.2, is as good as any.
    let quic = quic_acceptor(&smkex_acceptor());
    let address = ([127, 0, 0, 2], served.address.port());
    let udp = std::net::UdpSocket::bind(std::net::SocketAddr::from(address)).expect("a port");
    let endpoint = quic.endpoint(udp).expect("an endpoint");
    tokio::spawn(async move {
        let incoming = endpoint.accept().await.expect("a client");
        quic.accept(incoming).await
    });
    let connector = smkex_connector(through_127_0_0_2(Policy::Require, served.address));
    let refused = connector.connect(&target(served.address)).await;
    assert!(
        matches!(refused, Err(Error::Interception(_))),
        "{refused:?}"
    );
    assert_eq!(served.bytes(), 0);
}

#[tokio::test]
async fn a_server_with_a_certificate_is_named_as_one_that_does_not_speak_smkex() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Require)).await;
    let connector = smkex_connector(direct(Policy::Require, served.address));
    let refused = connector.connect(&target(served.address)).await;
    assert!(
        matches!(refused, Err(Error::NotSmkex(NotSmkex::Server(_)))),
        "{refused:?}"
    );
}
