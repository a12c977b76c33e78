//! The limits of multipath TLS: the attackers are strong enough to win where the design
//! says that they win.

use mtls_core::proto::binding::Binding;
use mtls_core::{Outcome, Policy};
use mtls_lab::attacker::{Mitm, MitmPlan, SideAttack, SideAttacker};
use mtls_lab::{Result, Setup, World, fetch};

#[tokio::test]
async fn attackers_on_every_path_who_talk_are_not_found() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Observe)).await?;
    let plan = MitmPlan::rogue_ca(&world, &server)?.shares_secrets()?;
    let talk = SideAttack::AnswerForMitm(
        plan.side_acceptor()
            .ok_or("the attacker shares no secrets")?,
    );
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let side = SideAttacker::start(world.host(77, &server), server.address(), talk).await?;
    let victim = world
        .victim(&server)?
        .primary_to(mitm.address())
        .side_to(side.address());
    for binding in [Binding::Exporter, Binding::Hello] {
        let connector = victim
            .connector_with(victim.settings(Policy::Require).bindings(binding))?
            .build()?;
        let stream = connector.connect(&victim.target()).await?;
        assert!(matches!(stream.verdict().outcome, Outcome::Verified(_)));
        fetch(stream).await?;
        mitm.captured().expect_both_secrets().await?;
    }
    Ok(())
}

#[tokio::test]
async fn attackers_on_every_path_who_do_not_talk_are_found() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Observe)).await?;
    let (plan, other) = (
        MitmPlan::rogue_ca(&world, &server)?.shares_secrets()?,
        MitmPlan::rogue_ca(&world, &server)?.shares_secrets()?,
    );
    // As strong, but without the shared secrets.
    let alone = SideAttack::AnswerForMitm(
        other
            .side_acceptor()
            .ok_or("the attacker shares no secrets")?,
    );
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let side = SideAttacker::start(world.host(77, &server), server.address(), alone).await?;
    let victim = world
        .victim(&server)?
        .primary_to(mitm.address())
        .side_to(side.address());
    victim.fetch_plain().await?;
    mitm.captured().expect_both_secrets().await?;
    for policy in [Policy::Require, Policy::Prefer] {
        assert_eq!(victim.outcome(policy).await?, "refused: unknown-handshake");
        mitm.captured().expect_no_plaintext().await?;
    }
    Ok(())
}
