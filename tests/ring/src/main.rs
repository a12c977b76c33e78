//! A program that links the *ring* provider and no other, and leaves most features out, as its
//! `Cargo.toml` says. It makes all kinds of connections on the loopback, and fails where one of them
//! is not verified.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use mtls_core::path::{Dial, Endpoint, Path};
use mtls_core::relay::{ClientRelay, RelayListener, ServerRelay};
use mtls_core::smkex::{SmkexClient, SmkexServer};
use mtls_core::{
    ClientSettings, ListenerLimits, MultipathAcceptor, MultipathConnector, MultipathListener,
    Policy, Verdict,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const GREETING: &str = "hello";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // These two panic in a program that links two providers, and in one that links none.
    let (client, server) = (ClientConfig::builder(), ServerConfig::builder());
    let provider = Arc::clone(client.crypto_provider());

    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone())?;
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let key = PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
    let server = server.with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![signed.cert.der().clone()], key)?);

    let acceptor = MultipathAcceptor::builder(Arc::clone(&server), Policy::Require).build()?;
    let settings = ClientSettings::new(Policy::Require).side(other_address()?);
    let connector = MultipathConnector::builder(Arc::clone(&client), settings.clone()).build()?;
    greet("certificates", connector, serve(acceptor).await?).await?;

    let acceptor = SmkexServer::new(Arc::clone(&provider))
        .acceptor(Policy::Require)?
        .build()?;
    let connector = SmkexClient::new(Arc::clone(&provider))
        .connector(settings)?
        .build()?;
    greet("SMKEX", connector, serve(acceptor).await?).await?;

    relays(&provider, client, server).await?;
    names_are_refused().await
}

/// The second path.
fn other_address() -> Result<Path> {
    Ok(Path::source("127.0.0.2".parse()?)?)
}

/// Greets each client, once it is verified.
async fn serve(acceptor: MultipathAcceptor) -> Result<SocketAddr> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await;
            tokio::spawn(async move {
                stream.write_all(GREETING.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    });
    Ok(address)
}

/// Makes one connection, and demands that it is verified.
async fn greet(what: &str, connector: MultipathConnector, to: SocketAddr) -> Result<()> {
    let mut stream = connector.connect(&Endpoint::from(to)).await?;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).await?;
    report(what, &stream.verdict(), &greeting)
}

fn report(what: &str, verdict: &Verdict, greeting: &str) -> Result<()> {
    println!("{what}: {}", verdict.outcome.as_str());
    match (verdict.verified(), greeting) {
        (Some(_), GREETING) => Ok(()),
        _ => Err(format!("{what}: not verified, or not greeted: {greeting:?}").into()),
    }
}

/// Ordinary TLS between two programs that know nothing of multipath TLS, through a relay at each
/// end.
async fn relays(
    provider: &CryptoProvider,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<()> {
    let behind = TcpListener::bind("127.0.0.1:0").await?;
    let target = Endpoint::from(behind.local_addr()?);
    tokio::spawn(async move {
        let (tcp, _) = behind.accept().await?;
        let mut stream = TlsAcceptor::from(server).accept(tcp).await?;
        stream.write_all(GREETING.as_bytes()).await?;
        stream.shutdown().await
    });
    let front = TcpListener::bind("127.0.0.1:0").await?;
    let address = front.local_addr()?;
    let relay = ServerRelay::builder(provider, target, Policy::Require).build()?;
    let mut listener = RelayListener::new(relay, ListenerLimits::default(), |_, _| ());
    listener.add(front);

    let settings = ClientSettings::new(Policy::Require).side(other_address()?);
    let relay = ClientRelay::builder(provider, settings);
    let tunnel = relay.build()?.tunnel(Endpoint::from(address));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let relayed = tokio::spawn(tunnel.run(far));
    let name = ServerName::from(address.ip());
    let mut stream = TlsConnector::from(client).connect(name, near).await?;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).await?;
    drop(stream);
    let report_of_relay = relayed.await?;
    let verdict = report_of_relay.verdict.ok_or("the relay has no verdict")?;
    report("relays", &verdict, &greeting)
}

/// Without the feature `dns`, a bound path must not resolve names over another path.
async fn names_are_refused() -> Result<()> {
    let to = "localhost:1".parse()?;
    match other_address()?.dial(&to).await {
        Err(error) if error.to_string().contains("feature `dns`") => Ok(()),
        Err(error) => Err(format!("another error: {error}").into()),
        Ok(_) => Err("a name was resolved".into()),
    }
}
