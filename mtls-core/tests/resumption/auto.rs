//! The side protocol first, and resumption where the server sends no greeting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::proto::client::SideFailure;
use mtls_core::{
    ListenerLimits, Method, MultipathAcceptor, MultipathListener, Policy, Reason,
    ResumptionFailure, SideServiceSettings,
};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::outcomes::reason;
use crate::tickets::stateless;
use crate::world::{
    PAGE, Site, To, World, ask, builder, builder_with, plain, refused, settings, target,
};

/// A server that speaks the side protocol.
pub(crate) async fn multipath(config: ServerConfig) -> SocketAddr {
    let settings = SideServiceSettings::new(Policy::Observe).deadline(Duration::from_secs(60));
    let acceptor = MultipathAcceptor::builder(Arc::new(config), settings).build();
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    let acceptor = acceptor.expect("an acceptor");
    let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await;
            tokio::spawn(async move {
                let mut line = [0; 256];
                while stream.read(&mut line).await? > 0 {
                    stream.write_all(PAGE).await?;
                    stream.flush().await?;
                }
                stream.shutdown().await
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_greets_is_verified_by_the_side_protocol_and_its_sessions_are_resumed() {
    let world = World::new();
    let to = To::one(multipath(stateless(world.genuine())).await);
    let connector = builder(world.client_config(), Policy::Require, &to, &to);
    let connector = connector.method(Method::Auto).build().expect("a connector");
    for handshake in ["full", "resumed", "resumed"] {
        let mut stream = connector
            .connect(&target())
            .await
            .expect("a verified stream");
        let verdict = stream.verdict();
        assert_eq!(verdict.method, Method::Side);
        assert_eq!(verdict.verified().expect("verified").method(), Method::Side);
        assert!(verdict.binding().is_some());
        assert_eq!(verdict.tls.handshake, Some(handshake));
        assert_eq!(ask(&mut stream).await.expect("an answer"), PAGE);
    }
}

#[tokio::test]
async fn a_server_that_does_not_greet_is_verified_by_resumption() {
    let world = World::new();
    let site = Site::start(world.genuine()).await;
    let (primary, side) = (To::one(site.address), To::one(site.address));
    let connector = builder(world.client_config(), Policy::Require, &primary, &side);
    let connector = connector.method(Method::Auto).build().expect("a connector");
    for round in 1..=2 {
        let mut stream = connector
            .connect(&target())
            .await
            .expect("a verified stream");
        let verdict = stream.verdict();
        assert_eq!(verdict.method, Method::Resumption);
        assert_eq!(
            verdict.verified().expect("verified").method(),
            Method::Resumption
        );
        assert_eq!(
            verdict.tls.handshake,
            Some("full"),
            "its sessions are not kept"
        );
        assert_eq!(ask(&mut stream).await.expect("an answer"), PAGE);
        assert_eq!((primary.dials(), side.dials()), (round, 2 * round));
    }
}

#[tokio::test]
async fn a_primary_attacker_on_a_server_that_does_not_greet_is_found() {
    let world = World::new();
    let site = Site::start(world.genuine()).await;
    let rogue = Site::start(world.rogue()).await;
    let (primary, side) = (To::one(rogue.address), To::one(site.address));
    let connector = builder(world.client_config(), Policy::Prefer, &primary, &side);
    let connector = connector.method(Method::Auto).build().expect("a connector");
    let refused = refused(connector.connect(&target()).await.expect_err("an error"));
    assert_eq!(reason(&refused.verdict), Some(ResumptionFailure::Split));
    assert_eq!(refused.verdict.method, Method::Resumption);
}

/// The attacker's delay leaves no time to dial the side path again, which was connected once.
#[tokio::test]
async fn a_primary_attacker_who_waits_for_the_deadline_forces_no_fallback() {
    let world = World::in_real_time();
    let site = Site::start(world.genuine()).await;
    let rogue = Site::start(world.rogue()).await;
    let late = behind(rogue.address, Duration::from_secs(7)).await;
    let page = tokio::spawn(plain(world.client_config(), late));
    let (primary, side) = (To::one(late), To::one(site.address));
    // The side path answers in less, even where the machine stalls.
    let settings = settings(Policy::Prefer, &primary, &side).deadline(Duration::from_secs(5));
    let connector = builder_with(world.client_config(), settings);
    let connector = connector.method(Method::Auto).build().expect("a connector");
    let refused = refused(connector.connect(&target()).await.expect_err("an error"));
    assert_eq!(
        reason(&refused.verdict),
        Some(ResumptionFailure::SideFailed)
    );
    let side = &refused.verdict.paths[1];
    assert_eq!(side.error.as_deref(), Some("the deadline passed"));
    let page = page.await.expect("no panic");
    assert_eq!(page.expect("a page"), PAGE, "plain TLS sends the secret");
}

/// Relays to `to`, and keeps back what it answers for this long.
pub(crate) async fn behind(to: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let mut server = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

/// A session in the store came from a connection that the server itself has verified.
#[tokio::test]
async fn a_server_that_once_greeted_does_not_fall_back_to_resumption_while_its_session_lasts() {
    let world = World::new();
    let greets = multipath(stateless(world.genuine())).await;
    let silent = Site::start(world.genuine()).await;
    let primary = To::one(greets);
    // An attacker on the side path keeps the greeting back the second time.
    let side = To::each(&[greets, silent.address, silent.address]);
    let settings = settings(Policy::Require, &primary, &side).side_idle_timeout(Duration::ZERO);
    let connector = builder_with(world.client_config(), settings)
        .method(Method::Auto)
        .build()
        .expect("a connector");
    let mut first = connector
        .connect(&target())
        .await
        .expect("a verified stream");
    assert_eq!(first.verdict().method, Method::Side);
    // The sessions arrive before the answer.
    ask(&mut first).await.expect("an answer");
    let refused = refused(connector.connect(&target()).await.expect_err("an error"));
    assert_eq!(refused.reason, Reason::Side(SideFailure::NoGreeting));
}
