//! Both ends on real sockets, with the exporter binding.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::proto::binding::Binding;
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
    Policy, SideServiceSettings,
};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// More than a verification takes.
const LONG: Duration = Duration::from_secs(60);

fn configs(pki: &Pki) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = pki.client_config(Arc::clone(&provider));
    let server = pki.server_config(provider);
    (
        Arc::new(client.expect("a client")),
        Arc::new(server.expect("a server")),
    )
}

async fn echo(acceptor: MultipathAcceptor) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await;
            tokio::spawn(async move {
                let verdict = stream.verdict();
                let bindings = stream.channel_bindings().expect("an exporter");
                let mut line = [0; 5];
                stream.read_exact(&mut line).await.expect("five bytes");
                stream.write_all(&line).await.expect("to write");
                let association = verdict.association.expect("a name");
                let reply = format!("{} {association} {bindings:?}", verdict.outcome.as_str());
                stream.write_all(reply.as_bytes()).await.expect("to write");
                stream.shutdown().await.expect("to close");
            });
        }
    });
    address
}

#[tokio::test]
async fn both_ends_verify_and_share_a_channel_binding() {
    let pki = Pki::new(&["localhost", "127.0.0.1"]).expect("a pki");
    let (client, server) = configs(&pki);
    let settings = SideServiceSettings::new(Policy::Require).deadline(LONG);
    let acceptor = MultipathAcceptor::builder(server, settings)
        .build()
        .expect("an acceptor");
    let address = echo(acceptor).await;
    let settings = ClientSettings::new(Policy::Require)
        .deadline(LONG)
        .side(Path::system())
        .side(Path::source("127.0.0.2".parse().expect("an address")).expect("a path"));
    let connector = MultipathConnector::builder(client, settings)
        .build()
        .expect("a connector");
    for round in 0..3 {
        let mut stream = connector
            .connect(&Endpoint::from(address))
            .await
            .expect("a verified stream");
        let verdict = stream.verdict();
        assert_eq!(verdict.binding(), Some(Binding::Exporter));
        assert_eq!(verdict.verified().expect("verified").sides().len(), 2);
        assert_eq!(verdict.paths.len(), 3);
        assert_eq!(
            verdict.paths[1].reused,
            round > 0,
            "side connections are kept"
        );
        let expected = if round == 0 { "full" } else { "resumed" };
        assert_eq!(verdict.tls.handshake, Some(expected));
        stream.write_all(b"hello").await.expect("to write");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("a reply");
        let bindings = stream.channel_bindings().expect("an exporter");
        let (first, rest) = reply.split_at(5);
        assert_eq!(first, "hello");
        let confirmed = rest.strip_prefix("verified ").expect("the server verified");
        let association = verdict.association.expect("a name").to_string();
        assert!(confirmed.starts_with(&association), "{confirmed}");
        assert!(
            confirmed.contains(&format!("{:?}", bindings[0]))
                || confirmed.contains(&format!("{:?}", bindings[1])),
        );
    }
}
