//! A man in the middle of TLS, whose victim's second subflow reaches the real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtls_certs::{KeyAlgorithm, Leaf};
use mtls_core::Policy;
use mtls_core::path::Path;
use mtls_lab::link::segment::{JOIN, RST, SYN, Segment};
use mtls_lab::link::{Attack, Sent, TwoLinks};
use mtls_lab::mptcp::{self, MptcpMitmPlan, ServerHost, Splicer, links_for_exchange};
use mtls_lab::netns::INTERFACES;
use mtls_lab::{PAGE_SECRET, Result, Setup, World, eventually, fetch};

/// Certificates of both authorities with one length: an attacker pads theirs.
fn world() -> Result<Arc<World>> {
    let len = |leaf: &Leaf| -> usize { leaf.chain_der().iter().map(|one| one.len()).sum() };
    loop {
        let world = World::with_algorithm(KeyAlgorithm::Ed25519)?;
        if len(&world.pki.server) == len(&world.pki.rogue) {
            return Ok(Arc::new(world));
        }
    }
}

fn splicer(links: &TwoLinks, world: &World, copies_random: bool) -> Result<Splicer> {
    let splicer = Splicer::new(MptcpMitmPlan {
        identity: world.rogue_config()?,
        roots: world.roots()?,
        server: ServerHost::address(),
        copies_random,
    });
    links.attack(0, splicer.attacks());
    Ok(splicer)
}

/// Counts the second subflows that the real server has accepted: its packets that follow the last one of
/// a join, which counts again where a kernel repeats it. Both ends have checked the other's code under the
/// keys of the connection by then.
fn count_joins(links: &TwoLinks) -> Arc<AtomicUsize> {
    let joins = Arc::new(AtomicUsize::new(0));
    let (proven, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&joins));
    let seen = Arc::clone(&proven);
    let up: Attack = Box::new(move |packet| {
        let segment = Segment::parse(&packet);
        let is_last = segment.is_some_and(|one| one.flags & SYN == 0 && one.mptcp(JOIN).is_some());
        proven.fetch_add(usize::from(is_last), Ordering::SeqCst);
        vec![Sent::On(packet)]
    });
    let down: Attack = Box::new(move |packet| {
        let segment = Segment::parse(&packet);
        let accepts = segment.is_some_and(|one| one.flags & (SYN | RST) == 0 && one.is_mptcp());
        if accepts && seen.swap(0, Ordering::SeqCst) > 0 {
            accepted.fetch_add(1, Ordering::SeqCst);
        }
        vec![Sent::On(packet)]
    });
    links.attack(1, [up, down]);
    joins
}

/// The control: plain TLS over Multipath TCP, with a second subflow that is a backup.
#[tokio::test]
async fn a_man_in_the_middle_of_tls_reads_both_secrets_while_the_second_subflow_reaches_the_server()
-> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links_for_exchange("kernel").await?;
    links.client.ip("mptcp limits set subflows 2")?;
    let second = INTERFACES[1];
    let endpoint = format!("mptcp endpoint add 10.1.1.2 dev {second} subflow backup");
    links.client.ip(&endpoint)?;
    let world = world()?;
    let splicer = splicer(&links, &world, false)?;
    let joins = count_joins(&links);
    let mut config = world.server_config()?;
    config.send_tls13_tickets = 0;
    let setup = Setup::plain().tls(config).mptcp();
    let server = ServerHost::start(&links, &world, setup).await?;
    let client = ServerHost::client(&world)?.primary_by(Path::system().mptcp(true));
    let has_joined = Arc::clone(&joins);
    let fetching = links.client.spawn(move || async move {
        let stream = client.connect_plain_by_path().await?;
        let has_joined = || has_joined.load(Ordering::SeqCst) > 0;
        eventually("the server has accepted the second subflow", has_joined).await?;
        fetch(stream).await
    })?;
    assert_eq!(fetching.join().await?, PAGE_SECRET);
    assert!(splicer.captured().has_both_secrets());
    assert!(server.stop().await? > 0, "the request reached the server");
    Ok(())
}

/// The outcome of a client whose side exchange is inside the connection.
async fn outcome(copies_random: bool, policy: Policy) -> Result<String> {
    let links = links_for_exchange("userspace").await?;
    let world = world()?;
    let splicer = splicer(&links, &world, copies_random)?;
    let joins = count_joins(&links);
    let setup = Setup::new(Policy::Require).mptcp();
    let server = ServerHost::start(&links, &world, setup).await?;
    let client = ServerHost::client(&world)?;
    let connecting = links
        .client
        .spawn(move || async move { client.outcome(policy).await })?;
    let outcome = connecting.join().await?;
    let captured = splicer.captured();
    let read = (captured.handshakes(), captured.bytes_from_victim());
    assert_eq!(
        read,
        (1, 0),
        "TLS is fooled, but no request follows: {outcome}"
    );
    let joins = joins.load(Ordering::SeqCst);
    assert!(
        joins > 0,
        "the server accepts the second subflow: {outcome}"
    );
    assert_eq!(server.stop().await?, 0, "no application byte");
    Ok(outcome)
}

#[tokio::test]
async fn a_second_subflow_to_the_real_server_does_not_verify_a_man_in_the_middle_of_tls() -> Result
{
    if mptcp::skipped() {
        return Ok(());
    }
    for policy in [Policy::Require, Policy::Prefer] {
        for (copies_random, expected) in [(false, "unknown-handshake"), (true, "wrong-value")] {
            let outcome = outcome(copies_random, policy).await?;
            assert_eq!(outcome, format!("refused: {expected}"), "{policy:?}");
        }
    }
    Ok(())
}
