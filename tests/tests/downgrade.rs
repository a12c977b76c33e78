//! TLS 1.2 instead of TLS 1.3: its hellos do not carry the key exchange, so it cannot be verified.

use mtls_core::Policy;
use mtls_lab::attacker::{EarlyConnection, Mitm, MitmPlan};
use mtls_lab::{Result, Setup, World, fetch, provider};

/// The result of each policy of the client with this man in the middle, which plain TLS accepts.
async fn outcomes(plan: impl FnOnce(&World, MitmPlan) -> Result<MitmPlan>) -> Result<[String; 3]> {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Observe)).await?;
    let plan = plan(&world, MitmPlan::rogue_ca(&world, &server)?)?;
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let victim = world.victim(&server)?.primary_to(mitm.address());
    victim.fetch_plain().await?;
    mitm.captured().expect_both_secrets().await?;
    let require = victim.outcome(Policy::Require).await?;
    mitm.captured().expect_no_plaintext().await?;
    let prefer = victim.outcome(Policy::Prefer).await?;
    mitm.captured().expect_no_plaintext().await?;
    Ok([require, prefer, victim.outcome(Policy::Observe).await?])
}

#[tokio::test]
async fn downgraded_victim_learns_that_the_server_never_saw_it() -> Result {
    let outcomes = outcomes(|world, plan| plan.downgrades_victim(world)).await?;
    let reason = "unknown-handshake";
    assert_eq!(
        outcomes[..2],
        [(); 2].map(|()| format!("refused: {reason}"))
    );
    assert_eq!(outcomes[2], format!("intercepted: {reason}"));
    Ok(())
}

#[tokio::test]
async fn downgraded_victim_whose_random_is_copied_learns_of_the_downgrade() -> Result {
    let outcomes = outcomes(|world, plan| {
        let plan = plan
            .copies_random()
            .early_connection(EarlyConnection::Connects);
        plan.downgrades_victim(world)
    })
    .await?;
    assert_eq!(
        outcomes[..2],
        [(); 2].map(|()| "refused: downgrade".to_owned())
    );
    assert_eq!(outcomes[2], "intercepted: downgrade");
    Ok(())
}

#[tokio::test]
async fn downgrade_of_both_handshakes_is_refused() -> Result {
    let outcomes = outcomes(|world, plan| {
        let plan = plan
            .copies_random()
            .early_connection(EarlyConnection::Connects);
        plan.downgrades_server().downgrades_victim(world)
    })
    .await?;
    let refused = "refused: rejected-not-tls13";
    assert_eq!(outcomes[..2], [(); 2].map(|()| refused.to_owned()));
    assert_eq!(outcomes[2], "unverified: rejected-not-tls13");
    Ok(())
}

#[tokio::test]
async fn downgrade_of_the_servers_handshake_alone_is_detected() -> Result {
    let outcomes = outcomes(|_, plan| {
        let plan = plan
            .copies_random()
            .early_connection(EarlyConnection::Connects);
        Ok(plan.downgrades_server())
    })
    .await?;
    let refused = "refused: downgrade";
    assert_eq!(outcomes[..2], [(); 2].map(|()| refused.to_owned()));
    assert_eq!(outcomes[2], "intercepted: downgrade");
    Ok(())
}

#[tokio::test]
async fn honest_server_of_tls_1_2_is_no_interception_and_not_verified() -> Result {
    let world = World::new()?;
    let tls = world.server_tls(&world.pki.server, provider(), &[&rustls::version::TLS12])?;
    let server = world.serve(Setup::new(Policy::Prefer).tls(tls)).await?;
    let victim = world.victim(&server)?;
    victim.fetch_plain().await?;
    for policy in [Policy::Require, Policy::Prefer] {
        let outcome = victim.outcome(policy).await?;
        assert_eq!(outcome, "refused: rejected-not-tls13", "{policy}");
    }
    let stream = victim.connect(Policy::Observe).await?;
    assert_eq!(stream.verdict().tls.version.as_deref(), Some("TLSv1.2"));
    assert_eq!(fetch(stream).await?, mtls_lab::PAGE_SECRET);
    Ok(())
}
