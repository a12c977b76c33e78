//! Inheritance at the server: its verdict agrees with that of a client that inherits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::smkex::SmkexServer;
use mtls_core::{
    AcceptorBuilder, ApiMisuse, Error, ListenerLimits, Method, MultipathAcceptor,
    MultipathConnector, MultipathListener, Policy, Reason, ServerStream, SideServiceSettings,
    Verdict, VerdictHandle,
};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

use crate::inherit::{MAX_AGE, hours, inheriting};
use crate::tickets::stateless;
use crate::world::{HOST, PAGE, To, World, ask, builder, plain, target};

/// A server that reports its verdict on each connection when the request has been read, and again
/// when the connection has ended.
struct Server {
    address: SocketAddr,
    verdicts: UnboundedReceiver<VerdictHandle>,
}

impl Server {
    async fn start(
        config: ServerConfig,
        policy: Policy,
        settle: impl FnOnce(AcceptorBuilder) -> AcceptorBuilder,
    ) -> Self {
        // A Confirm takes less, even where the machine stalls.
        let settings = SideServiceSettings::new(policy).deadline(Duration::from_secs(5));
        let builder = settle(MultipathAcceptor::builder(Arc::new(config), settings));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let acceptor = builder.build().expect("an acceptor");
        let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
        let (report, verdicts) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await;
                tokio::spawn(serve(stream, report.clone()));
            }
        });
        Self { address, verdicts }
    }

    async fn inheriting(world: &World, policy: Policy) -> Self {
        let config = stateless(world.genuine());
        Self::start(config, policy, |builder| builder.inherit(MAX_AGE)).await
    }

    /// The verdict at the end of the next connection.
    async fn verdict(&mut self) -> Verdict {
        self.handle().await.get()
    }

    async fn handle(&mut self) -> VerdictHandle {
        let _ = self.verdicts.recv().await.expect("a verdict");
        self.verdicts.recv().await.expect("the last verdict")
    }

    /// The verdict that a side connection has confirmed, or will soon.
    async fn confirmed(&mut self) -> Verdict {
        let handle = self.handle().await;
        while handle.get().binding().is_none() {
            yield_now().await;
        }
        handle.get()
    }

    /// A client that inherits, with one side path.
    fn client(&self, world: &World) -> (MultipathConnector<To>, To) {
        let (primary, side) = (To::one(self.address), To::one(self.address));
        (inheriting(world, Method::Side, &primary, &side), side)
    }
}

async fn serve(
    mut stream: ServerStream<TcpStream>,
    report: UnboundedSender<VerdictHandle>,
) -> std::io::Result<()> {
    let mut line = [0; 256];
    while stream.read(&mut line).await? > 0 {
        let _ = report.send(stream.verdict_handle());
        stream.write_all(PAGE).await?;
        stream.flush().await?;
    }
    let _ = report.send(stream.verdict_handle());
    stream.shutdown().await
}

/// The verdict of the client.
async fn visit(connector: &MultipathConnector<To>) -> std::io::Result<Verdict> {
    let mut stream = connector
        .connect(&target())
        .await
        .map_err(std::io::Error::other)?;
    assert_eq!(ask(&mut stream).await?, PAGE);
    stream.get_mut().shutdown().await?;
    Ok(stream.verdict())
}

fn no_side_connection(verdict: &Verdict) -> bool {
    verdict.outcome == mtls_core::Outcome::Unverified(Reason::NoSideConnection)
}

#[tokio::test]
async fn both_ends_agree_on_an_inherited_verification() {
    let world = World::new();
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let mut server = Server::inheriting(&world, policy).await;
        let (client, side) = server.client(&world);
        let first = visit(&client).await.expect("a page");
        assert!(first.inheritance().is_none());
        assert!(server.confirmed().await.inheritance().is_none());
        for _ in 0..3 {
            let client_verdict = visit(&client).await.expect("a page");
            assert!(client_verdict.inheritance().is_some());
            let verdict = server.verdict().await;
            let origin = verdict.inheritance().expect("an inheritance").origin();
            assert_eq!((origin.method, origin.paths.len()), (Method::Side, 2));
            assert_eq!(verdict.binding(), None);
            assert_eq!(verdict.association, client_verdict.association);
        }
        assert_eq!(side.dials(), 1, "{policy}");
    }
}

#[tokio::test]
async fn the_server_counts_the_age_from_the_full_handshake_too() {
    let world = World::new();
    let mut server = Server::inheriting(&world, Policy::Prefer).await;
    let (client, _) = server.client(&world);
    visit(&client).await.expect("a page");
    server.confirmed().await;
    for at_least in [5, 10] {
        hours(5).await;
        visit(&client).await.expect("a page");
        let verdict = server.verdict().await;
        let age = verdict.inheritance().expect("an inheritance").age();
        assert!(age >= Duration::from_secs(at_least * 3600));
    }
}

/// The client's limit is longer than the server's.
#[tokio::test]
async fn a_handshake_that_is_too_old_for_the_server_is_inherited_from_by_no_connection() {
    let world = World::new();
    let config = stateless(world.genuine());
    let hour = |builder: AcceptorBuilder| builder.inherit(Duration::from_secs(3600));
    let mut server = Server::start(config, Policy::Prefer, hour).await;
    let (client, _) = server.client(&world);
    visit(&client).await.expect("a page");
    server.confirmed().await;
    hours(2).await;
    let verdict = visit(&client).await.expect("a page");
    assert!(verdict.inheritance().is_some());
    assert!(no_side_connection(&server.verdict().await));
}

#[tokio::test]
async fn a_forgotten_handshake_is_inherited_from_by_no_connection() {
    let world = World::new();
    let config = stateless(world.genuine());
    let one = |builder: AcceptorBuilder| builder.inherit(MAX_AGE).max_remembered_handshakes(1);
    let mut server = Server::start(config, Policy::Prefer, one).await;
    let (first, second) = (server.client(&world).0, server.client(&world).0);
    for client in [&first, &second] {
        visit(client).await.expect("a page");
        server.confirmed().await;
    }
    visit(&first).await.expect("a page");
    assert!(no_side_connection(&server.verdict().await));
    visit(&second).await.expect("a page");
    assert!(server.verdict().await.inheritance().is_some());
}

/// The documented consequence of inheriting at the client alone.
#[tokio::test]
async fn a_server_that_does_not_inherit_reports_no_side_connection_and_refuses_under_require() {
    let world = World::in_real_time();
    for policy in [Policy::Prefer, Policy::Require] {
        let config = stateless(world.genuine());
        let mut server = Server::start(config, policy, |builder| builder).await;
        let (client, _) = server.client(&world);
        visit(&client).await.expect("a page");
        server.confirmed().await;
        let second = visit(&client).await;
        match policy {
            Policy::Require => drop(second.expect_err("closed by the server")),
            _ => {
                assert!(second.expect("a page").inheritance().is_some());
                assert!(no_side_connection(&server.verdict().await));
            }
        }
    }
}

/// A server sends its tickets before its verdict, to a client that never verifies as well.
#[tokio::test]
async fn the_ticket_of_an_unverified_handshake_inherits_nothing() {
    let world = World::in_real_time();
    let mut server = Server::inheriting(&world, Policy::Prefer).await;
    let config = world.client_config();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        kinds.push(plain_visit(config.clone(), server.address).await);
        assert!(no_side_connection(&server.verdict().await));
    }
    assert_eq!(kinds, ["Full", "Resumed"]);
    let server = Server::inheriting(&world, Policy::Require).await;
    for _ in 0..2 {
        let refused = plain(config.clone(), server.address).await;
        assert!(refused.is_err(), "the policy refuses the resumed one too");
    }
}

async fn plain_visit(config: ClientConfig, to: SocketAddr) -> String {
    let tcp = TcpStream::connect(to).await.expect("to connect");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = HOST.try_into().expect("a name");
    let mut tls = connector.connect(name, tcp).await.expect("TLS");
    assert_eq!(ask(&mut tls).await.expect("a page"), PAGE);
    tls.shutdown().await.expect("to close");
    format!(
        "{:?}",
        tls.get_ref().1.handshake_kind().expect("a handshake")
    )
}

/// A client that does not inherit verifies its resumed connection, and that counts.
#[tokio::test]
async fn a_confirmed_resumed_connection_is_verified_by_its_side_path() {
    let world = World::new();
    let mut server = Server::inheriting(&world, Policy::Require).await;
    let to = To::one(server.address);
    let client = builder(world.client_config(), Policy::Require, &to, &to);
    let client = client.method(Method::Side).build().expect("a connector");
    for handshake in ["full", "resumed"] {
        let verdict = visit(&client).await.expect("a page");
        assert_eq!(verdict.tls.handshake, Some(handshake));
        assert_eq!(server.confirmed().await.tls.handshake, Some(handshake));
    }
}

#[test]
fn inheritance_at_a_server_needs_an_age_a_limit_and_certificates() {
    let world = World::in_real_time();
    let build = |settle: fn(AcceptorBuilder) -> AcceptorBuilder| {
        let config = Arc::new(world.genuine());
        let builder = MultipathAcceptor::builder(config, Policy::Prefer);
        settle(builder).build().expect_err("an error")
    };
    let zero = build(|builder| builder.inherit(Duration::ZERO));
    let named = ApiMisuse::ZeroDuration("inherit");
    assert!(matches!(zero, Error::ApiMisuse(found) if found == named));
    let none = build(|builder| builder.inherit(MAX_AGE).max_remembered_handshakes(0));
    let named = ApiMisuse::ZeroLimit("max_remembered_handshakes");
    assert!(matches!(none, Error::ApiMisuse(found) if found == named));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let smkex = SmkexServer::new(provider)
        .acceptor(SideServiceSettings::new(Policy::Require))
        .expect("a builder")
        .inherit(MAX_AGE)
        .build();
    let misuse = smkex.expect_err("an error");
    assert!(matches!(
        misuse,
        Error::ApiMisuse(ApiMisuse::InheritTickets)
    ));
}
