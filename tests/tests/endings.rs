//! Clients that go away, and tasks that are dropped at every await: nothing is left behind.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mtls_core::registry::{MemoryRegistry, MemoryRegistryLimits};
use mtls_core::{Accepted, MultipathAcceptor, Policy, SideServiceSettings};
use mtls_lab::{Result, Server, Setup, Victim, World, eventually, fetch};
use tokio::net::{TcpListener, TcpStream};

/// Tombstones go so soon that a test can see it. Clients that went away after TLS are waited for
/// until the deadline, which none that verifies reaches even where the machine stalls.
fn forgetful(policy: Policy) -> Setup {
    Setup::new(policy)
        .registry(|limits| limits.tombstone = Duration::from_millis(50))
        .tune(patient)
}

fn patient(settings: SideServiceSettings) -> SideServiceSettings {
    settings.deadline(Duration::from_secs(6))
}

/// Polls a future so often and drops it then. `None` where it was not done.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Nothing is left of all that was begun.
async fn is_empty(server: &Server) -> Result {
    eventually(
        "no handshake, no wait and no silent connection is left",
        || {
            let registry = &server.registry;
            (registry.handshakes(), registry.waits(), server.silent()) == (0, 0, 0)
        },
    )
    .await
}

#[tokio::test]
async fn client_that_closes_at_once_is_verified_at_the_server() -> Result {
    let world = World::new()?;
    let closes = |policy| closes_at_once(&world, policy);
    tokio::try_join!(
        closes(Policy::Require),
        closes(Policy::Prefer),
        closes(Policy::Observe)
    )?;
    Ok(())
}

async fn closes_at_once(world: &World, policy: Policy) -> Result {
    // The tombstone is there when the Confirm comes, even where the machine stalls.
    let tombstone = Duration::from_secs(5);
    let setup = forgetful(policy).registry(|limits| limits.tombstone = tombstone);
    let server = world.serve(setup).await?;
    let victim = world.victim(&server)?;
    // The connector goes, too.
    drop(victim.connect(Policy::Require).await?);
    eventually("the server has the Confirm", || {
        let verdicts = server.verdicts();
        verdicts
            .first()
            .is_some_and(|verdict| verdict.verified().is_some())
    })
    .await?;
    is_empty(&server).await
}

#[tokio::test]
async fn client_dropped_at_every_await_leaves_nothing_at_the_server() -> Result {
    let world = World::new()?;
    let setup = forgetful(Policy::Require).tune(|settings| {
        // A place that leaked would keep the last client from verifying.
        patient(settings).max_side_connections_per_peer(2)
    });
    let server = world.serve(setup).await?;
    let victim = world.victim(&server)?;
    let mut polls = 0;
    loop {
        polls += 1;
        let connector = victim.connector(Policy::Require)?.build()?;
        let target = victim.target();
        let done = polled(connector.connect(&target), polls).await;
        drop(connector);
        is_empty(&server).await?;
        if let Some(stream) = done {
            assert!(stream?.verdict().verified().is_some());
            break;
        }
    }
    assert!(polls > 3, "it was dropped at {polls} places");
    is_empty(&server).await
}

#[tokio::test]
async fn dropped_connections_leave_a_shared_connector_fit() -> Result {
    let world = World::new()?;
    let server = world.serve(forgetful(Policy::Require)).await?;
    let victim = world.victim(&server)?;
    let settings = victim.settings(Policy::Require);
    // A user that leaked would take the place.
    let settings = settings
        .max_verifications_per_side_connection(1)
        .max_side_connections(1);
    let connector = victim.connector_with(settings)?.build()?;
    let target = victim.target();
    fetch(connector.connect(&target).await?).await?;
    for polls in 1..12 {
        let _ = polled(connector.connect(&target), polls).await;
    }
    let stream = connector.connect(&target).await?;
    assert!(stream.verdict().paths[1].reused, "its place is free again");
    fetch(stream).await?;
    is_empty(&server).await
}

/// A server that is driven by hand.
struct ByHand {
    acceptor: MultipathAcceptor,
    registry: MemoryRegistry,
    listener: TcpListener,
}

impl ByHand {
    async fn new(world: &World) -> Result<(Self, SocketAddr)> {
        let mut limits = MemoryRegistryLimits::default();
        limits.tombstone = Duration::from_millis(50);
        let registry = MemoryRegistry::new(limits);
        let acceptor = MultipathAcceptor::builder(
            Arc::new(world.server_config()?),
            SideServiceSettings::new(Policy::Require)
                .registry(Arc::new(registry.clone()))
                .max_side_connections(1),
        )
        .build()?;
        let listener = TcpListener::bind(SocketAddr::new(world.ip(1), 0)).await?;
        let address = listener.local_addr()?;
        let by_hand = Self {
            acceptor,
            registry,
            listener,
        };
        Ok((by_hand, address))
    }

    /// Takes connections until one is a stream, fails, or is dropped after so many polls; says
    /// whether it was a stream.
    async fn serve(&self, polls: usize) -> Result<bool> {
        let mut running = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (tcp, peer) = accepted?;
                    let serving = serve_one(self.acceptor.clone(), tcp, peer);
                    running.spawn(polled(serving, polls));
                }
                Some(done) = running.join_next() => match done? {
                    Some(Served::Stream) => return Ok(true),
                    Some(Served::Side) => {}
                    Some(Served::Nothing) | None => return Ok(false),
                },
            }
        }
    }
}

enum Served {
    Stream,
    /// To its end.
    Side,
    Nothing,
}

async fn serve_one(acceptor: MultipathAcceptor, tcp: TcpStream, peer: SocketAddr) -> Served {
    match acceptor.accept(tcp, peer).await {
        Ok(Accepted::Stream(_)) => Served::Stream,
        Ok(Accepted::Side(side)) => {
            let _ = side.run().await;
            Served::Side
        }
        Err(_) => Served::Nothing,
    }
}

fn victim_of(world: &World, address: SocketAddr, server: &Server) -> Result<Victim> {
    Ok(world.victim(server)?.primary_to(address).side_to(address))
}

#[tokio::test]
async fn server_dropped_at_every_await_leaves_nothing() -> Result {
    let world = World::new()?;
    // Only for its certificates' sake.
    let other = world.serve(Setup::new(Policy::Require)).await?;
    let (by_hand, address) = ByHand::new(&world).await?;
    let victim = victim_of(&world, address, &other)?;
    let mut polls = 0;
    loop {
        polls += 1;
        // The client sees the end of its connections, or waits for a while without result.
        let deadline = Duration::from_millis(1_000);
        let client = victim.outcome_with(Policy::Require, |settings| settings.deadline(deadline));
        let (served, _) = tokio::join!(by_hand.serve(polls), client);
        eventually("no handshake and no wait is left", || {
            (by_hand.registry.handshakes(), by_hand.registry.waits()) == (0, 0)
        })
        .await?;
        if served? {
            break;
        }
    }
    assert!(polls > 3, "it was dropped at {polls} places");
    Ok(())
}

#[tokio::test]
async fn silent_connections_give_way_to_honest_ones() -> Result {
    let world = World::new()?;
    let setup = forgetful(Policy::Require).listener(|limits| {
        limits.silent = 8;
        limits.silent_per_peer = 6;
    });
    let server = world.serve(setup).await?;
    let mut silent = Vec::new();
    for host in [101, 102, 103] {
        for _ in 0..10 {
            silent.push(connect_from(world.ip(host), server.address()).await?);
        }
    }
    eventually("the silent fill their places", || server.silent() == 8).await?;
    let stream = world.victim(&server)?.connect(Policy::Require).await?;
    fetch(stream).await?;
    drop(silent);
    is_empty(&server).await
}

async fn connect_from(source: IpAddr, to: SocketAddr) -> Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    Ok(socket.connect(to).await?)
}
