//! The application gets every byte, also of a server that speaks first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtls_core::Policy;
use rustls::crypto::aws_lc_rs;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::tickets::{stateless, useless, without_tickets};
use crate::world::{PAGE, Site, To, World, ask, builder, connect, target};

fn greeting() -> Vec<u8> {
    (0..100_000_u32).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn a_server_that_speaks_first_loses_no_byte_while_the_ticket_is_awaited() {
    let world = World::in_real_time();
    for config in [
        world.genuine(),
        without_tickets(world.genuine()),
        useless(world.genuine()),
    ] {
        let site = Site::with_greeting(config, greeting()).await;
        let to = To::one(site.address);
        let stream = connect(&world, Policy::Observe, &to, &to).await;
        let mut stream = stream.expect("a stream");
        let mut received = vec![0; greeting().len()];
        stream
            .read_exact(&mut received)
            .await
            .expect("the greeting");
        assert!(received == greeting(), "the greeting, byte for byte");
        assert_eq!(ask(&mut stream).await.expect("an answer"), PAGE);
    }
}

#[tokio::test]
async fn the_side_path_needs_no_second_hello_where_the_primary_path_needed_one() {
    let world = World::new();
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::SECP384R1];
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(world.genuine().cert_resolver);
    let site = Site::start(stateless(config)).await;
    let hellos = Arc::new(AtomicUsize::new(0));
    let side = count_hellos(site.address, Arc::clone(&hellos)).await;
    let (primary, side) = (To::one(site.address), To::one(side));
    let stream = connect(&world, Policy::Require, &primary, &side).await;
    assert!(stream.expect("a stream").verdict().verified().is_some());
    let kinds: Vec<_> = site.served().iter().map(|served| served.kind).collect();
    assert_eq!(kinds[0], HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!(hellos.load(Ordering::Relaxed), 1);
}

/// A side path that counts the ClientHellos.
async fn count_hellos(to: SocketAddr, hellos: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.expect("to connect");
            tokio::spawn(relay(near, far, Arc::clone(&hellos)));
        }
    });
    address
}

async fn relay(near: TcpStream, far: TcpStream, hellos: Arc<AtomicUsize>) -> std::io::Result<()> {
    const HANDSHAKE: u8 = 22;
    let (mut from_client, mut to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    loop {
        let mut record = vec![0; 5];
        from_client.read_exact(&mut record).await?;
        let length = u16::from_be_bytes([record[3], record[4]]);
        hellos.fetch_add(usize::from(record[0] == HANDSHAKE), Ordering::Relaxed);
        record.resize(5 + usize::from(length), 0);
        from_client.read_exact(&mut record[5..]).await?;
        to_server.write_all(&record).await?;
    }
}

#[tokio::test]
async fn a_stream_of_the_caller_is_verified_and_never_replaced() {
    let world = World::new();
    let site = Site::start(world.genuine()).await;
    let to = To::one(site.address);
    let connector = builder(world.client_config(), Policy::Require, &to, &to);
    let connector = connector.build().expect("a connector");
    let tcp = TcpStream::connect(site.address).await.expect("to connect");
    let name = crate::world::HOST.try_into().expect("a name");
    let stream = connector.connect_stream(name, tcp, &target()).await;
    let mut stream = stream.expect("a verified stream");
    assert_eq!(ask(&mut stream).await.expect("an answer"), PAGE);
    assert!(stream.channel_bindings().expect("an exporter").is_empty());
}

#[tokio::test]
async fn every_connection_of_a_connector_is_checked() {
    let world = World::new();
    let site = Site::start(stateless(world.genuine())).await;
    let (primary, side) = (To::one(site.address), To::one(site.address));
    let connector = builder(world.client_config(), Policy::Require, &primary, &side);
    let connector = connector.build().expect("a connector");
    for round in 1..=3 {
        let stream = connector
            .connect(&target())
            .await
            .expect("a verified stream");
        assert_eq!(stream.verdict().tls.handshake, Some("full"));
        assert_eq!((primary.dials(), side.dials()), (round, round));
    }
}
