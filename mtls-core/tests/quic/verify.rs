//! Verified connections.

use mtls_core::path::{Independence, Path};
use mtls_core::proto::binding::Binding;
use mtls_core::quic::{QuicAcceptor, QuicConnector};
use mtls_core::{
    ApiMisuse, ClientSettings, Error, Method, MultipathAcceptor, MultipathConnector, Policy,
};
use rustls::version::TLS12;

use super::closed_port::closed_port;
use super::world::*;

#[tokio::test]
async fn both_ends_verify_with_either_binding_and_share_a_channel_binding() {
    let world = World::new();
    let mut served = serve(&world.server, patient(Policy::Require)).await;
    for binding in [Binding::Exporter, Binding::Hello] {
        let settings = direct(Policy::Require, served.address).bindings(binding);
        let connector = connector(&world.client, settings);
        for handshake in ["full", "resumed"] {
            let connection = connector.connect(&target(served.address)).await;
            let connection = connection.expect("a verified connection");
            let verdict = connection.verdict();
            assert_eq!(verdict.binding(), Some(binding));
            assert_eq!(verdict.tls.transport, Some("quic"));
            assert_eq!(verdict.tls.handshake, Some(handshake));
            assert_eq!(verdict.tls.alpn.as_deref(), Some("echo"));
            assert_eq!(verdict.tls.key_exchange.as_deref(), Some("X25519MLKEM768"));
            assert_eq!(
                verdict.tls.cipher_suite.as_deref(),
                Some("TLS_AES_256_GCM_SHA384")
            );
            assert_eq!(verdict.paths[1].reused, handshake == "resumed");
            assert_eq!(verdict.paths[0].peer, Some(served.address));
            request(connection.get_ref()).await;
            let servers = served.verdicts.recv().await.expect("a verdict");
            assert_eq!(servers.association, verdict.association);
            assert_eq!(servers.binding(), Some(binding));
            assert_eq!(servers.tls.transport, Some("quic"));
            assert_eq!(servers.paths[0].peer, verdict.paths[0].local);
            let bindings = connection.channel_bindings().expect("an exporter");
            assert_eq!(bindings.len(), 1);
        }
    }
}

#[tokio::test]
async fn channel_bindings_of_both_ends_are_equal() {
    let world = World::new();
    let acceptor = MultipathAcceptor::builder(world.server.clone(), patient(Policy::Require));
    let acceptor = acceptor.build().expect("an acceptor");
    let quic = quic_acceptor(&acceptor);
    let (tcp, udp) = sockets([127, 0, 0, 1]).await;
    let address = tcp.local_addr().expect("an address");
    let endpoint = quic.endpoint(udp).expect("an endpoint");
    let _sides = mtls_core::MultipathListener::new(acceptor, tcp, Default::default());
    let accepted = tokio::spawn(async move {
        let incoming = endpoint.accept().await.expect("a connection");
        quic.accept(incoming).await.expect("a verified connection")
    });
    let connector = connector(&world.client, direct(Policy::Require, address));
    let connection = connector.connect(&target(address)).await.expect("verified");
    let servers = accepted.await.expect("no panic").channel_bindings();
    let bindings = connection.channel_bindings().expect("an exporter");
    assert_eq!(bindings, servers.expect("an exporter"));
    assert_eq!(bindings.len(), 1);
}

#[tokio::test]
async fn a_side_connection_of_tcp_serves_quic_too() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Require)).await;
    let settings = direct(Policy::Require, served.address);
    let tcp = MultipathConnector::builder(world.client.clone(), settings);
    let tcp = tcp.build().expect("a connector");
    let quic = quic_connector(&tcp, ALPN);
    let over_tcp = tcp
        .connect(&target(served.address))
        .await
        .expect("verified");
    assert!(!over_tcp.verdict().paths[1].reused);
    let over_quic = quic
        .connect(&target(served.address))
        .await
        .expect("verified");
    assert!(over_quic.verdict().paths[1].reused);
}

#[tokio::test]
async fn side_connections_can_be_opened_before() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Require)).await;
    let connector = connector(&world.client, direct(Policy::Require, served.address));
    connector.open_sides(&target(served.address));
    connector.open_sides(&target(served.address));
    // Until it is connected: a connection that is still dialled does not count as reused.
    loop {
        let connection = connector
            .connect(&target(served.address))
            .await
            .expect("verified");
        if connection.verdict().paths[1].reused {
            break;
        }
    }
}

#[tokio::test]
async fn the_primary_path_is_bound_to_its_source_address() {
    let world = World::new();
    let mut served = serve(&world.server, patient(Policy::Require)).await;
    let source = Path::source("127.0.0.3".parse().expect("an address")).expect("a path");
    let host = mtls_core::path::HostName::new(HOST).expect("a host name");
    let source = source.resolve(host, served.address.port(), served.address.ip());
    let settings = direct(Policy::Require, served.address).primary(source);
    let connector = connector(&world.client, settings);
    let connection = connector
        .connect(&target(served.address))
        .await
        .expect("verified");
    let local = connection.verdict().paths[0].local.expect("an address");
    assert_eq!(local.ip(), std::net::IpAddr::from([127, 0, 0, 3]));
    request(connection.get_ref()).await;
    let servers = served.verdicts.recv().await.expect("a verdict");
    assert_eq!(servers.paths[0].peer, Some(local));
    assert_eq!(
        connection.verdict().independence(),
        Independence::SameInterfaceOtherSource
    );
}

#[tokio::test]
async fn an_endpoint_of_the_callers_works_too() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Require)).await;
    let connector = connector(&world.client, direct(Policy::Require, served.address));
    let endpoint = quinn::Endpoint::client(([0, 0, 0, 0], 0).into()).expect("a socket");
    let name = HOST.try_into().expect("a name");
    let side = target(served.address);
    let connected = connector.connect_on(&endpoint, served.address, name, &side);
    let connection = connected.await.expect("verified");
    assert_eq!(connection.verdict().independence(), Independence::Unknown);
    request(&connection.into_inner()).await;
}

#[tokio::test]
async fn tickets_of_unverified_connections_are_never_offered() {
    let world = World::new();
    let mut served = serve(&world.server, patient(Policy::Observe)).await;
    let (_socket, closed) = closed_port([127, 0, 0, 1]);
    let settings = direct(Policy::Observe, served.address).side_endpoint(closed.into());
    let connector = connector(&world.client, settings);
    for _ in 0..2 {
        let connection = connector
            .connect(&target(served.address))
            .await
            .expect("observed");
        assert_eq!(connection.verdict().outcome.as_str(), "unverified");
        assert_eq!(connection.verdict().tls.handshake, Some("full"));
        // The reply comes behind the tickets.
        request(connection.get_ref()).await;
        served.verdicts.recv().await.expect("a verdict");
    }
}

#[test]
fn a_proxy_as_the_primary_path_is_refused_with_its_name() {
    let world = World::new();
    for proxy in ["socks5h://192.0.2.1:1080", "http://192.0.2.1:3128"] {
        let settings = ClientSettings::new(Policy::Require)
            .primary(proxy.parse().expect("a path"))
            .side(Path::system());
        let tcp = MultipathConnector::builder(world.client.clone(), settings);
        let refused = QuicConnector::builder(&tcp.build().expect("a connector")).build();
        let error = refused.expect_err("a proxy");
        assert!(matches!(error, Error::ApiMisuse(ApiMisuse::QuicProxy(_))));
        assert!(error.to_string().contains(proxy), "{error}");
    }
}

#[test]
fn a_side_path_inside_a_tcp_connection_is_refused_with_its_name() {
    let world = World::new();
    let settings = ClientSettings::new(Policy::Require)
        .primary(Path::system().mptcp(true))
        .side("mptcp:src:192.0.2.1".parse().expect("a path"));
    let tcp = MultipathConnector::builder(world.client.clone(), settings);
    let refused = QuicConnector::builder(&tcp.build().expect("a connector")).build();
    let error = refused.expect_err("a subflow");
    assert!(matches!(error, Error::ApiMisuse(ApiMisuse::QuicSubflow(_))));
    assert!(error.to_string().contains("mptcp:src:192.0.2.1"), "{error}");
}

#[test]
fn settings_that_quic_cannot_use_are_refused() {
    let world = World::new();
    let settings = ClientSettings::new(Policy::Require).side(Path::system());
    let tcp = MultipathConnector::builder(world.client.clone(), settings.clone())
        .method(Method::Resumption)
        .build()
        .expect("a connector");
    let refused = QuicConnector::builder(&tcp).build();
    assert!(matches!(
        refused,
        Err(Error::ApiMisuse(ApiMisuse::QuicMethod(_)))
    ));

    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .expect("TLS 1.2")
        .with_root_certificates(world.pki.roots().expect("roots"))
        .with_no_client_auth();
    let tcp = MultipathConnector::builder(client.into(), settings).build();
    let refused = QuicConnector::builder(&tcp.expect("a connector")).build();
    assert!(matches!(refused, Err(Error::Tls(_))));

    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .expect("TLS 1.2")
        .with_no_client_auth()
        .with_single_cert(world.pki.server.chain_der(), world.pki.server.key_der())
        .expect("a certificate");
    let acceptor = MultipathAcceptor::builder(server.into(), Policy::Require).build();
    let refused = QuicAcceptor::builder(&acceptor.expect("an acceptor")).build();
    assert!(matches!(refused, Err(Error::Tls(_))));
}

#[tokio::test]
async fn renewed_certificates_serve_new_connections() {
    let world = World::new();
    let acceptor = MultipathAcceptor::builder(world.server.clone(), patient(Policy::Require));
    let acceptor = acceptor.build().expect("an acceptor");
    let served = serve_with(acceptor.clone()).await;
    let connector = connector(&world.client, direct(Policy::Require, served.address));
    let key = || async {
        let connection = connector
            .connect(&target(served.address))
            .await
            .expect("verified");
        connection.verdict().tls.peer_key_sha256
    };
    let before = key().await;
    acceptor.replace_config(&world.rogue).expect("certificates");
    assert_ne!(key().await, before);
}
