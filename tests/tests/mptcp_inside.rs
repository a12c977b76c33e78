//! The side exchange inside a Multipath TCP connection, in namespaces.

use std::net::SocketAddr;

use mtls_core::path::{DialFailure, Independence, Path, SubflowSource};
use mtls_core::{Error, Inside, MptcpFailure, Policy, Reason};
use mtls_lab::link::segment::{JOIN, change, pass};
use mtls_lab::link::{Attack, Link, LinkSettings, TwoLinks};
use mtls_lab::mptcp::{self, Direction, Transfer, Transferred, links_for_exchange};
use mtls_lab::netns::{INTERFACES, SERVER};
use mtls_lab::{Result, Setup, World};
use tokio::sync::oneshot;

const BYTES: usize = 1_000_000;
const PORT: u16 = 443;

fn inside() -> Result<Path> {
    let source = SubflowSource::Interface(INTERFACES[1].to_owned());
    Ok(Path::subflow(source)?)
}

/// A transfer in which no kernel has sent bytes of the exchange again. They do where the machine stalls, so
/// it has some tries: no stall keeps the exchange on the second subflow.
async fn transfer(direction: Direction, attack: fn() -> Attack) -> Result<Transferred> {
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        let links = links_for_exchange("userspace").await?;
        links.attack(1, [attack(), pass()]);
        let transfer = Transfer::new(direction, BYTES, inside()?);
        let done = transfer.run(&World::new()?, &links).await?;
        let side = done.verdict.paths.get(1);
        if side.and_then(|side| side.inside) != Some(Inside::RepeatedAfterLoss) {
            return Ok(done);
        }
    }
    Err("the kernels have sent bytes again each time".into())
}

#[tokio::test]
async fn a_side_exchange_inside_the_connection_verifies_it_and_costs_the_data_nothing() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    for direction in [Direction::Download, Direction::Upload] {
        let done = transfer(direction, pass).await?;
        let verdict = &done.verdict;
        let [primary, side] = &verdict.paths[..] else {
            panic!("{verdict:?}");
        };
        assert!(verdict.verified().is_some());
        assert_eq!(side.inside, Some(Inside::SecondSubflow));
        assert_eq!(verdict.independence(), Independence::DifferentInterface);
        let subflows = primary.mptcp.as_ref().map(|mptcp| mptcp.subflows.len());
        assert_eq!(subflows, Some(2));
        assert_eq!(done.connections, 1, "no second connection");
    }
    Ok(())
}

/// Connects to a server in a namespace; the reason of the refusal.
async fn refusal(links: &TwoLinks, setup: Setup) -> Result<Error> {
    let world = World::new()?;
    let address = SocketAddr::new(SERVER, PORT);
    let victim = world
        .victim_of(address)?
        .primary_by(Path::system().mptcp(true))
        .side_by(inside()?, address);
    let (up, is_up) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = links.server.spawn(move || async move {
        let server = world.serve_at(address, setup).await?;
        let _ = up.send(());
        let _ = stopped.await;
        Ok(server.bytes())
    })?;
    is_up.await?;
    let client = links
        .client
        .spawn(move || async move { Ok(victim.connect(Policy::Prefer).await.err()) })?;
    let refused = client.join().await?;
    let _ = stop.send(());
    assert_eq!(server.join().await?, 0, "no application byte");
    refused.ok_or_else(|| "the connection was accepted".into())
}

fn reason(error: &Error) -> Option<Reason> {
    match error {
        Error::Unverified(unverified) => Some(unverified.reason),
        _ => None,
    }
}

#[tokio::test]
async fn a_server_without_multipath_tcp_is_refused_and_never_verified_over_one_path() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let error = refusal(
        &links_for_exchange("userspace").await?,
        Setup::new(Policy::Prefer),
    )
    .await?;
    let expected = Reason::Mptcp(MptcpFailure::Fallback);
    assert_eq!(reason(&error), Some(expected), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_accepts_no_subflow_is_refused_with_the_remedy() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links_for_exchange("userspace").await?;
    links.server.ip("mptcp limits set subflows 0")?;
    let error = refusal(&links, Setup::new(Policy::Prefer).mptcp()).await?;
    let expected = Reason::Mptcp(MptcpFailure::JoinFailed);
    assert_eq!(reason(&error), Some(expected), "{error}");
    assert!(error.to_string().contains("ip mptcp limits"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_second_network_that_drops_everything_is_refused() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links_for_exchange("userspace").await?;
    let dead = LinkSettings {
        loss: 1.0,
        ..LinkSettings::default()
    };
    links.set(1, Link::both(dead)).await?;
    let error = refusal(&links, Setup::new(Policy::Prefer).mptcp()).await?;
    let expected = Reason::Mptcp(MptcpFailure::JoinFailed);
    assert_eq!(reason(&error), Some(expected), "{error}");
    Ok(())
}

/// Loses the first packet of the second subflow, which takes a second longer then.
fn lose_first_join() -> Attack {
    let mut is_lost = false;
    change(move |segment| {
        let is_first = segment.mptcp(JOIN).is_some() && !is_lost;
        is_lost |= is_first;
        (!is_first).then_some(segment)
    })
}

#[tokio::test]
async fn a_second_subflow_that_takes_a_second_to_join_still_carries_the_exchange() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let done = transfer(Direction::Download, lose_first_join).await?;
    assert!(done.verdict.verified().is_some());
    let side = &done.verdict.paths[1];
    assert_eq!(side.inside, Some(Inside::SecondSubflow));
    Ok(())
}

fn dial_failure(error: Error) -> Option<DialFailure> {
    match error {
        Error::Dial(error) => Some(error.reason),
        _ => None,
    }
}

/// Connects without a server: the checks come first.
async fn obstacle(links: &TwoLinks, prepare: fn() -> Result) -> Result<Option<DialFailure>> {
    let address = SocketAddr::new(SERVER, PORT);
    let victim = World::new()?
        .victim_of(address)?
        .primary_by(Path::system().mptcp(true))
        .side_by(inside()?, address);
    let client = links.client.spawn(move || async move {
        prepare()?;
        Ok(victim.connect(Policy::Require).await.err())
    })?;
    Ok(client.join().await?.and_then(dial_failure))
}

#[tokio::test]
async fn a_kernel_that_manages_subflows_itself_is_reported_before_anything_is_sent() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links_for_exchange("userspace").await?;
    links.client.sysctl("net.mptcp.path_manager=kernel")?;
    let failure = obstacle(&links, || Ok(())).await?;
    assert!(
        matches!(failure, Some(DialFailure::KernelManagesSubflows)),
        "{failure:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_process_without_the_permission_is_told_so_before_anything_is_sent() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let failure = obstacle(&links_for_exchange("userspace").await?, drop_capabilities).await?;
    assert!(
        matches!(failure, Some(DialFailure::SubflowNotPermitted)),
        "{failure:?}"
    );
    Ok(())
}

/// Of this thread alone.
fn drop_capabilities() -> Result {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}
