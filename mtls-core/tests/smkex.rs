//! SMKEX on real sockets: both ends, and ends that speak something else.

#[path = "support/closed_port.rs"]
mod closed_port;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::proto::binding::Binding;
use mtls_core::smkex::{SmkexClient, SmkexServer};
use mtls_core::{
    Accepted, ApiMisuse, ClientSettings, ConnectorBuilder, Error, ListenerLimits,
    MultipathAcceptor, MultipathConnector, MultipathListener, NotSmkex, Policy,
    SideServiceSettings,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::closed_port::closed_port;

/// More than a verification takes.
const LONG: Duration = Duration::from_secs(60);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn client() -> ConnectorBuilder {
    client_with(|settings| settings)
}

fn client_with(tune: impl FnOnce(ClientSettings) -> ClientSettings) -> ConnectorBuilder {
    let side = Path::source("127.0.0.2".parse().expect("an address")).expect("a path");
    let settings = ClientSettings::new(Policy::Require).side(side);
    SmkexClient::new(provider())
        .connector(tune(settings.deadline(LONG)))
        .expect("a connector")
}

/// A server's settings with a deadline that no verification reaches.
fn requiring() -> SideServiceSettings {
    SideServiceSettings::new(Policy::Require).deadline(LONG)
}

/// Serves, and tells each client its channel binding and its verdict.
async fn serve(acceptor: MultipathAcceptor) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await;
            let (verdict, bindings) = (stream.verdict(), stream.channel_bindings());
            let answer = format!(
                "{} {:?} {:?}",
                verdict.outcome.as_str(),
                verdict.tls.server_key,
                bindings.expect("TLS 1.3 is complete")[0]
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

async fn smkex_server() -> SocketAddr {
    let acceptor = SmkexServer::new(provider())
        .acceptor(requiring())
        .expect("an acceptor");
    serve(acceptor.build().expect("settings that can be")).await
}

/// Takes one TLS connection, and side connections, and says what came of it.
async fn accept_one(acceptor: MultipathAcceptor) -> (SocketAddr, JoinHandle<String>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    let (report, mut reports) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (io, peer) = tcp.accept().await.expect("a connection");
            let (acceptor, report) = (acceptor.clone(), report.clone());
            tokio::spawn(async move {
                match acceptor.accept(io, peer).await {
                    Ok(Accepted::Side(side)) => drop(side.run().await),
                    Ok(Accepted::Stream(_)) => drop(report.send("accepted".to_owned()).await),
                    Err(error) => drop(report.send(error.to_string()).await),
                }
            });
        }
    });
    let said = tokio::spawn(async move { reports.recv().await.expect("a connection") });
    (address, said)
}

#[tokio::test]
async fn both_ends_verify_without_a_certificate() {
    let address = smkex_server().await;
    for binding in [Binding::Exporter, Binding::Hello] {
        let connector = client_with(|settings| settings.bindings(binding))
            .build()
            .expect("a connector");
        assert_eq!(connector.policy(), Policy::Require);
        for reused in [false, true] {
            let mut stream = connector
                .connect(&Endpoint::from(address))
                .await
                .expect("a verified stream");
            let verdict = stream.verdict();
            assert_eq!(verdict.binding(), Some(binding));
            assert_eq!(verdict.tls.version.as_deref(), Some("TLSv1.3"));
            assert_eq!(verdict.tls.server_key, Some("raw-public-key"));
            assert_eq!(verdict.tls.handshake, Some("full"), "nothing is resumed");
            assert_eq!(verdict.paths[1].reused, reused);
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            let bindings = stream.channel_bindings().expect("TLS 1.3 is complete");
            let expected = format!("verified Some(\"raw-public-key\") {:?}", bindings[0]);
            assert_eq!(answer, expected);
        }
    }
}

#[tokio::test]
async fn application_protocols_are_agreed_on() {
    let server = SmkexServer::new(provider()).alpn(&[b"h2", b"http/1.1"]);
    let acceptor = server.acceptor(requiring()).expect("an acceptor");
    let address = serve(acceptor.build().expect("settings that can be")).await;
    let connector = SmkexClient::new(provider())
        .alpn(&[b"http/1.1"])
        .connector(
            ClientSettings::new(Policy::Require)
                .side(Path::system())
                .deadline(LONG),
        )
        .expect("a connector")
        .build()
        .expect("settings that can be");
    let stream = connector.connect(&Endpoint::from(address)).await;
    let verdict = stream.expect("a verified stream").verdict();
    assert_eq!(verdict.tls.alpn.as_deref(), Some("http/1.1"));
}

#[tokio::test]
async fn a_side_path_that_fails_is_refused_and_never_forgiven() {
    let address = smkex_server().await;
    let (_socket, closed) = closed_port([127, 0, 0, 3]);
    let connector = client_with(|settings| settings.side_endpoint(closed.into()))
        .build()
        .expect("a connector");
    let refused = connector.connect(&Endpoint::from(address)).await;
    assert!(
        matches!(&refused, Err(Error::Unverified(why)) if why.reason.as_str() == "side-unreachable"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn tickets_cannot_be_turned_on() {
    let refused = client().tickets(1).build();
    assert!(matches!(
        refused,
        Err(Error::ApiMisuse(ApiMisuse::SmkexTickets))
    ));
    assert!(client().tickets(0).build().is_ok());
}

#[test]
fn a_policy_other_than_require_is_refused_at_both_ends() {
    for policy in [Policy::Prefer, Policy::Observe] {
        let settings = ClientSettings::new(policy).side(Path::system());
        let connector = SmkexClient::new(provider()).connector(settings);
        let acceptor = SmkexServer::new(provider()).acceptor(policy);
        for refused in [connector.err(), acceptor.err()] {
            assert!(
                matches!(
                    refused,
                    Some(Error::ApiMisuse(ApiMisuse::SmkexPolicy(named))) if named == policy
                ),
                "{refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_server_never_gives_out_a_connection_without_a_side() {
    let acceptor = SmkexServer::new(provider())
        .acceptor(SideServiceSettings::new(Policy::Require).deadline(Duration::from_secs(5)))
        .expect("an acceptor");
    let (address, said) = accept_one(acceptor.build().expect("settings that can be")).await;
    // A client whose side connections end elsewhere.
    let other = smkex_server().await;
    let connector = client_with(|settings| settings.side_endpoint(other.into())).build();
    let connector = connector.expect("settings that can be");
    let refused = connector.connect(&Endpoint::from(address)).await;
    assert!(
        matches!(refused, Err(Error::Interception(_))),
        "{refused:?}"
    );
    let said = said.await.expect("a report");
    assert!(
        said.contains("no side connection sent an Open for this handshake"),
        "{said}"
    );
}

#[tokio::test]
async fn an_interception_is_evidence_of_the_raw_key() {
    let (address, other) = (smkex_server().await, smkex_server().await);
    let connector = client_with(|settings| settings.side_endpoint(other.into())).build();
    let refused = connector
        .expect("settings that can be")
        .connect(&Endpoint::from(address))
        .await;
    let Err(Error::Interception(evidence)) = refused else {
        panic!("expected an interception, got {refused:?}");
    };
    let key = &evidence.chain[0];
    assert_eq!(key.spki_sha256.as_ref(), Some(&key.sha256));
    assert!(key.pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let told = evidence.to_string();
    assert!(told.contains("raw public key sha256 "), "{told}");
}

fn certificates(pki: &Pki) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let client = pki.client_config(provider()).expect("a client");
    let server = pki.server_config(provider()).expect("a server");
    (Arc::new(client), Arc::new(server))
}

#[tokio::test]
async fn a_server_with_a_certificate_is_told_apart() {
    let pki = Pki::new(&["127.0.0.1"]).expect("a pki");
    let (_, config) = certificates(&pki);
    let acceptor = MultipathAcceptor::builder(config, Policy::Prefer).build();
    let address = serve(acceptor.expect("an acceptor")).await;
    let connector = client().build().expect("a connector");
    let error = connector
        .connect(&Endpoint::from(address))
        .await
        .expect_err("no raw key there");
    assert!(matches!(error, Error::NotSmkex(NotSmkex::Server(_))));
    let told = error.to_string();
    assert!(told.contains("the server does not speak SMKEX"), "{told}");
}

#[tokio::test]
async fn a_client_that_wants_a_certificate_is_told_apart_at_both_ends() {
    let pki = Pki::new(&["127.0.0.1"]).expect("a pki");
    let (config, _) = certificates(&pki);
    let acceptor = SmkexServer::new(provider())
        .acceptor(Policy::Require)
        .expect("an acceptor");
    let (address, said) = accept_one(acceptor.build().expect("settings that can be")).await;
    let connector = MultipathConnector::builder(
        config,
        ClientSettings::new(Policy::Observe).side(Path::system()),
    )
    .build()
    .expect("a connector");
    let error = connector
        .connect(&Endpoint::from(address))
        .await
        .expect_err("no certificate there");
    let told = error.to_string();
    assert!(told.contains("because it speaks SMKEX"), "{told}");
    let said = said.await.expect("a report");
    assert!(said.contains("the client does not speak SMKEX"), "{said}");
}

#[tokio::test]
async fn a_key_that_its_server_does_not_hold_is_refused() {
    let pki = Pki::new(&["127.0.0.1"]).expect("a pki");
    let key = |leaf: &mtls_certs::Leaf| {
        let key = provider().key_provider.load_private_key(leaf.key_der());
        key.expect("a key")
    };
    let (held, shown) = (key(&pki.server), key(&pki.rogue));
    let shown = shown.public_key().expect("a public key").to_vec();
    let lie = CertifiedKey::new(vec![CertificateDer::from(shown)], held);
    let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::new(lie));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let acceptor = MultipathAcceptor::builder(Arc::new(config), Policy::Observe).build();
    let address = serve(acceptor.expect("an acceptor")).await;
    let connector = client().build().expect("a connector");
    let error = connector
        .connect(&Endpoint::from(address))
        .await
        .expect_err("a signature by another key");
    assert!(
        error.to_string().contains("its signature is wrong"),
        "expected a bad signature, got: {error}"
    );
}
