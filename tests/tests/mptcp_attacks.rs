//! Attackers on one link, against the side exchange inside a Multipath TCP connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mtls_core::{Error, Inside, MptcpFailure, Policy, Reason, Verdict};
use mtls_lab::link::segment::{change, pass};
use mtls_lab::link::{Attack, TwoLinks};
use mtls_lab::mptcp::{
    self, FORGED, Forger, MitmHost, MptcpMitmPlan, ServerHost, cut_exchange, drop_prio,
    fool_naive_receiver, links_for_exchange, reset_joins, strip_mp_capable,
};
use mtls_lab::{PAGE_SECRET, Result, Setup, Victim, World, fetch};

/// The result of a client with the side exchange inside, and the page that plain TLS reads.
struct Reached {
    result: Result<Verdict, Error>,
    plain: String,
}

async fn connect(victim: Victim) -> Result<Reached> {
    let plain = victim.fetch_plain().await?;
    let result = match victim.connect(Policy::Prefer).await {
        Ok(stream) => {
            // Looks the routes up, which are those of this thread's namespace.
            stream.verdict().independence();
            let verdict = stream.verdict();
            assert_eq!(fetch(stream).await?, PAGE_SECRET);
            Ok(verdict)
        }
        Err(error) => Err(error),
    };
    Ok(Reached { result, plain })
}

/// Connects to a server over attacked links.
async fn attacked(links: &TwoLinks) -> Result<Reached> {
    let world = Arc::new(World::new()?);
    let victim = ServerHost::client(&world)?;
    let setup = Setup::new(Policy::Prefer).mptcp();
    let server = ServerHost::start(links, &world, setup).await?;
    let client = links.client.spawn(move || connect(victim))?;
    let reached = client.join().await?;
    server.stop().await?;
    assert_eq!(reached.plain, PAGE_SECRET, "plain TLS notices nothing");
    Ok(reached)
}

fn refused_as(reached: Reached, expected: MptcpFailure) {
    match reached.result {
        Err(Error::Unverified(unverified)) => {
            assert_eq!(unverified.reason, Reason::Mptcp(expected), "{unverified}");
        }
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

/// Whether a kernel has sent bytes again on the other subflow, as it does where the machine stalls: then the
/// exchange is repeated elsewhere.
fn is_lossy(reached: &Reached) -> bool {
    match &reached.result {
        Ok(verdict) => verdict.paths[1].inside == Some(Inside::RepeatedAfterLoss),
        Err(Error::Unverified(unverified)) => {
            unverified.reason == Reason::Mptcp(MptcpFailure::Lossy)
        }
        Err(_) => false,
    }
}

/// Expects a path mismatch of this attack on the first link. A stall hides the attack, so it has some tries:
/// no stall makes a mismatch.
async fn is_mismatch(attack: impl Fn() -> [Attack; 2]) -> Result {
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        let links = links_for_exchange("userspace").await?;
        links.attack(0, attack());
        let reached = attacked(&links).await?;
        if !is_lossy(&reached) {
            refused_as(reached, MptcpFailure::Mismatch);
            return Ok(());
        }
    }
    Err("the kernels have sent bytes again each time".into())
}

#[tokio::test]
async fn an_attacker_who_strips_mp_capable_is_refused_as_fallback() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links_for_exchange("userspace").await?;
    links.attack(0, strip_mp_capable());
    refused_as(attacked(&links).await?, MptcpFailure::Fallback);
    Ok(())
}

#[tokio::test]
async fn an_attacker_who_drops_mp_prio_is_refused_as_path_mismatch() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    is_mismatch(drop_prio).await
}

#[tokio::test]
async fn an_attacker_who_resets_the_join_is_refused() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links_for_exchange("userspace").await?;
    links.attack(1, reset_joins());
    refused_as(attacked(&links).await?, MptcpFailure::JoinFailed);
    Ok(())
}

#[tokio::test]
async fn a_second_subflow_that_is_cut_for_good_during_the_exchange_ends_it_without_a_verdict()
-> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links_for_exchange("userspace").await?;
    links.attack(1, cut_exchange());
    refused_as(attacked(&links).await?, MptcpFailure::Lossy);
    Ok(())
}

/// The first link leads to a man in the middle, who accepts Multipath TCP too.
#[tokio::test]
async fn a_man_in_the_middle_with_multipath_tcp_of_their_own_fools_tls_and_is_refused() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    for copies_random in [false, true] {
        let links = links_for_exchange("userspace").await?;
        let world = Arc::new(World::new()?);
        let client = ServerHost::client(&world)?;
        let plan = MptcpMitmPlan {
            identity: world.rogue_config()?,
            roots: world.roots()?,
            server: ServerHost::address(),
            copies_random,
        };
        let mitm = MitmHost::start(&links, 0, plan).await?;
        links.attack(0, mitm.redirect(false));
        let setup = Setup::new(Policy::Require).mptcp();
        let server = ServerHost::start(&links, &world, setup).await?;
        let plain = client.clone();
        let page = links
            .client
            .spawn(move || async move { plain.fetch_plain_by_path().await })?;
        assert_eq!(page.join().await?, PAGE_SECRET, "plain TLS notices nothing");
        mitm.captured().expect_both_secrets().await?;
        for policy in [Policy::Require, Policy::Prefer] {
            let client = client.clone();
            let refused = links
                .client
                .spawn(move || async move { Ok(client.connect(policy).await.err()) })?;
            let expected = Reason::Mptcp(MptcpFailure::JoinFailed);
            match refused.join().await? {
                Some(Error::Unverified(unverified)) => assert_eq!(unverified.reason, expected),
                other => panic!("expected {expected:?}, got {other:?}"),
            }
            mitm.captured().expect_no_plaintext().await?;
        }
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_forger_on_the_first_link_is_refused_as_path_mismatch() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let last = Mutex::new(Forger::of_side_chunk());
    is_mismatch(|| {
        let forger = Forger::of_side_chunk();
        let attacks = forger.attacks();
        *last.lock().unwrap_or_else(PoisonError::into_inner) = forger;
        attacks
    })
    .await?;
    let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(last.sent(), 1, "the forged segment was sent");
    Ok(())
}

/// Drops data on the second link for a while, and several times: the kernel sends them again on the first.
fn lossy() -> Attack {
    const TIMES: usize = 4;
    let (mut first, mut lost) = (None, 0);
    change(move |segment| {
        if segment.data.is_empty() || !segment.is_mptcp() {
            return Some(segment);
        }
        let since = *first.get_or_insert_with(Instant::now);
        let passes = lost >= TIMES && since.elapsed() > Duration::from_secs(2);
        lost += usize::from(!passes);
        passes.then_some(segment)
    })
}

#[tokio::test]
async fn a_loss_on_the_second_link_repeats_the_exchange_over_a_connection_of_its_own() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    for attacks in [[lossy(), pass()], [pass(), lossy()]] {
        let links = links_for_exchange("userspace").await?;
        links.attack(1, attacks);
        let verdict = attacked(&links).await?.result?;
        assert!(verdict.verified().is_some());
        assert_eq!(verdict.paths[1].inside, Some(Inside::RepeatedAfterLoss));
    }
    Ok(())
}

/// Without the comparison of counters: a client reads the attacker's bytes from the first link in
/// place of those that its server sent over the second one.
#[tokio::test]
async fn a_forger_on_the_first_link_succeeds_where_counters_are_not_compared() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    assert_eq!(&fool_naive_receiver().await?, FORGED);
    Ok(())
}
