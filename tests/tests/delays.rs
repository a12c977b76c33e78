//! A man in the middle who plays for time.

use std::time::Duration;

use mtls_core::Policy;
use mtls_lab::attacker::{EarlyConnection, Flood, Mitm, MitmPlan};
use mtls_lab::{Result, Server, Setup, World};

/// Ends early waits and deadlines; a greeting comes in less, even where the machine stalls.
const SHORT: Duration = Duration::from_secs(5);
/// Well past all that is short.
const LONG: Duration = Duration::from_secs(8);
/// Past the shortest early wait.
const MIDDLE: Duration = Duration::from_millis(500);

/// The result of the policies that refuse with this man in the middle, which plain TLS accepts.
async fn outcomes(
    setup: Setup,
    deadline: Option<Duration>,
    plan: impl FnOnce(&World, MitmPlan) -> Result<MitmPlan>,
) -> Result<[String; 2]> {
    let world = World::new()?;
    let server = world.serve(setup).await?;
    let plan = plan(&world, MitmPlan::rogue_ca(&world, &server)?)?;
    // Two of a kind, so that none has to wait for the others.
    let twin = Mitm::start(world.host(67, &server), plan.clone()).await?;
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let fooled = world.victim(&server)?.primary_to(twin.address());
    let victim = fooled.clone().primary_to(mitm.address());
    let outcome = |policy| {
        victim.outcome_with(policy, |settings| match deadline {
            Some(deadline) => settings.deadline(deadline),
            None => settings,
        })
    };
    let (page, require, prefer) = tokio::join!(
        fooled.fetch_plain(),
        outcome(Policy::Require),
        outcome(Policy::Prefer)
    );
    page?;
    twin.captured().expect_both_secrets().await?;
    mitm.captured().expect_no_plaintext().await?;
    Ok([require?, prefer?])
}

fn impatient() -> Setup {
    Setup::new(Policy::Observe).tune(|settings| settings.early_wait(Duration::from_millis(100)))
}

const TOO_LATE: &str =
    "primary path: TLS was not complete at the verification's deadline; nothing was sent";

#[tokio::test]
async fn server_hello_past_the_early_wait_downgrades_nobody() -> Result {
    let delays = |_: &World, plan: MitmPlan| Ok(plan.delays_hello(MIDDLE));
    let [require, prefer] = outcomes(impatient(), None, delays).await?;
    assert_eq!(require, "refused: unknown-handshake");
    assert_eq!(prefer, "refused: unknown-handshake");
    Ok(())
}

#[tokio::test]
async fn server_hello_past_the_deadline_downgrades_nobody() -> Result {
    let delays = |_: &World, plan: MitmPlan| Ok(plan.delays_hello(LONG));
    let [require, prefer] = outcomes(Setup::new(Policy::Observe), Some(SHORT), delays).await?;
    assert_eq!(require, TOO_LATE);
    assert_eq!(prefer, "refused: side-silent");
    Ok(())
}

#[tokio::test]
async fn server_hello_past_every_wait_downgrades_nobody() -> Result {
    let delays = |_: &World, plan: MitmPlan| Ok(plan.delays_hello(LONG));
    let [require, prefer] = outcomes(impatient(), Some(SHORT), delays).await?;
    assert_eq!(require, TOO_LATE);
    assert_eq!(prefer, "refused: side-silent");
    Ok(())
}

#[tokio::test]
async fn copied_random_and_a_server_hello_past_every_wait_downgrade_nobody() -> Result {
    let delays = |_: &World, plan: MitmPlan| {
        Ok(plan
            .copies_random()
            .early_connection(EarlyConnection::Confirms)
            .delays_hello(LONG))
    };
    let [require, prefer] = outcomes(impatient(), Some(SHORT), delays).await?;
    assert_eq!(require, TOO_LATE);
    assert_eq!(prefer, "refused: side-silent");
    Ok(())
}

#[tokio::test]
async fn copied_random_and_tombstone_that_has_gone_downgrade_nobody() -> Result {
    let setup = impatient().registry(|limits| limits.tombstone = Duration::from_millis(50));
    let delays = |_: &World, plan: MitmPlan| {
        Ok(plan
            .copies_random()
            .early_connection(EarlyConnection::Closes)
            .delays_hello(MIDDLE))
    };
    let [require, prefer] = outcomes(setup, None, delays).await?;
    // The Proof for the closed handshake was there in time, and is wrong.
    assert_eq!(require, "refused: wrong-value");
    assert_eq!(prefer, "refused: wrong-value");
    Ok(())
}

#[tokio::test]
async fn stall_after_a_retry_request_past_the_early_wait_downgrades_nobody() -> Result {
    let stalls = |world: &World, plan: MitmPlan| plan.stalls_after_retry(world, MIDDLE);
    let [require, prefer] = outcomes(impatient(), None, stalls).await?;
    assert_eq!(require, "refused: unknown-handshake");
    assert_eq!(prefer, "refused: unknown-handshake");
    Ok(())
}

#[tokio::test]
async fn stall_after_a_retry_request_past_the_deadline_downgrades_nobody() -> Result {
    let stalls = |world: &World, plan: MitmPlan| plan.stalls_after_retry(world, LONG);
    let [require, prefer] = outcomes(impatient(), Some(SHORT), stalls).await?;
    assert_eq!(require, TOO_LATE);
    assert_eq!(prefer, "refused: side-silent");
    Ok(())
}

/// A server with few waiting places, all of which are taken.
async fn flooded(world: &World) -> Result<(Server, Flood)> {
    let setup = Setup::new(Policy::Require).registry(|limits| {
        limits.waits = 8;
        limits.waits_per_peer = 4;
    });
    // The slots stay taken until the end of the test.
    let setup = setup.tune(|settings| settings.early_wait(Duration::from_secs(600)));
    let server = world.serve(setup).await?;
    let sources = [world.ip(101), world.ip(102)];
    let flood = Flood::start(server.address(), &sources, 6).await?;
    let full = || server.registry.waits() == 8;
    mtls_lab::eventually("every waiting place is taken", full).await?;
    Ok((server, flood))
}

#[tokio::test]
async fn full_waiting_places_downgrade_nobody() -> Result {
    let world = World::new()?;
    let (server, _flood) = flooded(&world).await?;
    // The flood comes from the victim's own address, too: no place is left for it there.
    let _own = Flood::start(server.address(), &["127.0.0.1".parse()?], 6).await?;
    let plan = MitmPlan::rogue_ca(&world, &server)?;
    let mitm = Mitm::start(world.host(66, &server), plan.delays_hello(MIDDLE)).await?;
    let victim = world.victim(&server)?.primary_to(mitm.address());
    for policy in [Policy::Require, Policy::Prefer] {
        let outcome = victim.outcome(policy).await?;
        assert_eq!(outcome, "refused: unknown-handshake", "{policy}");
        mitm.captured().expect_no_plaintext().await?;
    }
    Ok(())
}

#[tokio::test]
async fn full_waiting_places_keep_nobody_from_verifying() -> Result {
    let world = World::new()?;
    let (server, _flood) = flooded(&world).await?;
    let victim = world.victim(&server)?;
    for _ in 0..5 {
        assert_eq!(victim.outcome(Policy::Require).await?, "verified");
    }
    Ok(())
}
