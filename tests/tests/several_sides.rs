//! Several side paths: all of them must verify.

use std::time::Duration;

use mtls_core::proto::binding::Binding;
use mtls_core::proto::frame::GREETING;
use mtls_core::{Error, Policy};
use mtls_lab::attacker::{ClosedPort, Mitm, MitmPlan, SideAttack, SideAttacker, Tamper};
use mtls_lab::{Result, Server, Setup, Victim, World};

/// Limits a wait that cannot succeed. A greeting and TLS take less, even where the machine stalls.
const SHORT: Duration = Duration::from_secs(5);

/// The first bit of the Proof's value, after the greeting, header, association, nonce and binding.
const VALUE_BIT: usize = (8 + 3 + 16 + 32 + 1) * 8;

async fn scene() -> Result<(World, Server)> {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Observe)).await?;
    Ok((world, server))
}

/// A victim with three side paths, of which the second one leads to an attacker.
async fn one_bad(
    world: &World,
    server: &Server,
    attack: SideAttack,
) -> Result<(Victim, SideAttacker)> {
    let bad = SideAttacker::start(world.host(77, server), server.address(), attack).await?;
    let victim = world
        .victim(server)?
        .side_to(server.address())
        .side_to(bad.address())
        .side_from(world.ip(2), server.address());
    Ok((victim, bad))
}

async fn outcome(victim: &Victim, policy: Policy) -> Result<String> {
    victim
        .outcome_with(policy, |settings| settings.deadline(SHORT))
        .await
}

#[tokio::test]
async fn three_good_side_paths_verify_at_both_ends() -> Result {
    let (world, server) = scene().await?;
    let (victim, _watched) = one_bad(&world, &server, SideAttack::Watch).await?;
    for binding in [Binding::Exporter, Binding::Hello] {
        let connector = victim
            .connector_with(victim.settings(Policy::Require).bindings(binding))?
            .build()?;
        let stream = connector.connect(&victim.target()).await?;
        assert_eq!(
            stream.verdict().verified().map(|proof| proof.sides().len()),
            Some(3)
        );
        assert_eq!(stream.channel_bindings()?.len(), 3);
        mtls_lab::eventually("the server has all three confirmations", || {
            let verdicts = server.verdicts();
            let sides =
                |verdict: &mtls_core::Verdict| verdict.verified().map(|proof| proof.sides().len());
            verdicts.last().and_then(sides) == Some(3)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn wrong_value_on_one_wins_over_success_on_the_others() -> Result {
    let (world, server) = scene().await?;
    let flip = SideAttack::Bytes(Tamper::Flip { bit: VALUE_BIT });
    let (victim, _bad) = one_bad(&world, &server, flip).await?;
    assert_eq!(
        victim.outcome(Policy::Require).await?,
        "refused: wrong-value"
    );
    assert_eq!(
        victim.outcome(Policy::Prefer).await?,
        "refused: wrong-value"
    );
    assert_eq!(
        victim.outcome(Policy::Observe).await?,
        "intercepted: wrong-value"
    );
    Ok(())
}

#[tokio::test]
async fn silence_on_one_refuses_although_the_others_verified() -> Result {
    let (world, server) = scene().await?;
    let greet = SideAttack::Send(GREETING.to_vec());
    let (victim, _bad) = one_bad(&world, &server, greet).await?;
    let (require, prefer, observe) = tokio::try_join!(
        outcome(&victim, Policy::Require),
        outcome(&victim, Policy::Prefer),
        outcome(&victim, Policy::Observe)
    )?;
    assert_eq!(require, "refused: side-silent");
    assert_eq!(prefer, "refused: side-silent");
    assert_eq!(observe, "unverified: side-silent");
    Ok(())
}

#[tokio::test]
async fn error_names_the_side_path_that_is_to_blame() -> Result {
    let (world, server) = scene().await?;
    let closed = ClosedPort::new(world.host(77, &server))?;
    let victim = world
        .victim(&server)?
        .side_to(server.address())
        .side_to(closed.address());
    let refused = victim.connect(Policy::Require).await;
    let Err(Error::Unverified(unverified)) = refused else {
        return Err(format!("not refused: {refused:?}").into());
    };
    assert_eq!(unverified.side, Some(1));
    assert!(unverified.dial.is_some());
    let results: Vec<_> = unverified
        .verdict
        .paths
        .iter()
        .map(|path| path.result)
        .collect();
    assert_eq!(results, [None, Some("verified"), Some("side-unreachable")]);
    Ok(())
}

#[tokio::test]
async fn one_honest_side_path_is_enough_to_find_a_man_in_the_middle() -> Result {
    let (world, server) = scene().await?;
    let plan = MitmPlan::rogue_ca(&world, &server)?.shares_secrets()?;
    let talk = SideAttack::AnswerForMitm(
        plan.side_acceptor()
            .ok_or("the attacker shares no secrets")?,
    );
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let (victim, _bad) = one_bad(&world, &server, talk).await?;
    let victim = victim.primary_to(mitm.address());
    victim.fetch_plain().await?;
    mitm.captured().expect_both_secrets().await?;
    for policy in [Policy::Require, Policy::Prefer] {
        assert_eq!(victim.outcome(policy).await?, "refused: unknown-handshake");
        mitm.captured().expect_no_plaintext().await?;
    }
    Ok(())
}
