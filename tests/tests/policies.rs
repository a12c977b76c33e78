//! Every policy at both ends, and clients that know nothing of multipath TLS.

use std::time::Duration;

use mtls_core::{Policy, Reason};
use mtls_lab::attacker::{Mitm, MitmPlan, SideAttack, SideAttacker, Tamper, frames};
use mtls_lab::{PAGE_SECRET, Result, Server, Setup, World, fetch};

const ALL: [Policy; 3] = [Policy::Require, Policy::Prefer, Policy::Observe];

/// How long a server waits for a Confirm that does not arrive.
const SHORT: Duration = Duration::from_millis(500);

async fn impatient(world: &World, policy: Policy) -> Result<Server> {
    let setup = Setup::new(policy).tune(|settings| settings.deadline(SHORT));
    world.serve(setup).await
}

/// The server's verdict on its last connection: a reason, or `None` for a verified one.
fn last(server: &Server) -> Option<&'static str> {
    let verdicts = server.verdicts();
    let last = verdicts.last().expect("a connection was served");
    last.outcome.reason()
}

#[tokio::test]
async fn honest_ends_verify_under_every_pair_of_policies() -> Result {
    let world = World::new()?;
    for server_policy in ALL {
        let server = world.serve(Setup::new(server_policy)).await?;
        let victim = world.victim(&server)?;
        for policy in ALL {
            let stream = victim.connect(policy).await?;
            assert!(
                stream.verdict().verified().is_some(),
                "{policy} {server_policy}"
            );
            assert_eq!(fetch(stream).await?, PAGE_SECRET);
            mtls_lab::eventually("the server has the Confirm", || last(&server).is_none()).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn client_of_plain_tls_is_served_but_by_a_server_that_requires() -> Result {
    let world = World::new()?;
    for policy in [Policy::Prefer, Policy::Observe] {
        let server = impatient(&world, policy).await?;
        assert_eq!(world.victim(&server)?.fetch_plain().await?, PAGE_SECRET);
        assert_eq!(last(&server), Some(Reason::NoSideConnection.as_str()));
    }
    let server = impatient(&world, Policy::Require).await?;
    assert!(world.victim(&server)?.fetch_plain().await.is_err());
    assert_eq!(server.bytes(), 0);
    assert!(
        server.verdicts().is_empty(),
        "the application never sees it"
    );
    Ok(())
}

#[tokio::test]
async fn server_holds_the_application_until_the_confirm_as_its_policy_says() -> Result {
    let world = World::new()?;
    for policy in ALL {
        let server = impatient(&world, policy).await?;
        // The client cannot confirm what it gets: it holds the Proof for a wrong one.
        let bad = frames::change_proof(|body| match body {
            mtls_core::proto::frame::FrameBody::Proof {
                nonce_s, binding, ..
            } => {
                let value = mtls_core::proto::binding::Value([0; 32]);
                mtls_core::proto::frame::FrameBody::Proof {
                    nonce_s,
                    binding,
                    value,
                }
            }
            other => other,
        });
        let side = SideAttacker::start(world.host(77, &server), server.address(), bad).await?;
        let victim = world.victim(&server)?.side_to(side.address());
        let stream = victim.connect(Policy::Observe).await?;
        assert_eq!(stream.verdict().outcome.reason(), Some("wrong-value"));
        let page = fetch(stream).await;
        match policy {
            Policy::Require => {
                assert!(page.is_err());
                assert_eq!(server.bytes(), 0);
                assert!(server.verdicts().is_empty());
            }
            Policy::Prefer | Policy::Observe => {
                assert_eq!(page?, PAGE_SECRET);
                assert_eq!(last(&server), Some("not-confirmed"));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn requiring_server_refuses_a_client_whose_side_never_arrives() -> Result {
    let world = World::new()?;
    let server = impatient(&world, Policy::Require).await?;
    let attack = SideAttack::Bytes(Tamper::Truncate { at: 0 });
    let side = SideAttacker::start(world.host(77, &server), server.address(), attack).await?;
    let victim = world.victim(&server)?.side_to(side.address());
    let stream = victim.connect(Policy::Prefer).await?;
    assert_eq!(stream.verdict().outcome.reason(), Some("no-greeting"));
    assert!(fetch(stream).await.is_err());
    assert_eq!(server.bytes(), 0);
    Ok(())
}

#[tokio::test]
async fn man_in_the_middle_is_refused_whatever_the_server_says() -> Result {
    let world = World::new()?;
    for server_policy in ALL {
        let server = impatient(&world, server_policy).await?;
        let plan = MitmPlan::rogue_ca(&world, &server)?.forges("forged");
        let mitm = Mitm::start(world.host(66, &server), plan).await?;
        let victim = world.victim(&server)?.primary_to(mitm.address());
        assert_eq!(victim.fetch_plain().await?, "forged");
        mitm.captured().wait_until_closed().await?;
        assert!(mitm.captured().has_request_secret());
        mitm.captured().clear();
        for policy in [Policy::Require, Policy::Prefer] {
            let outcome = victim.outcome(policy).await?;
            assert_eq!(
                outcome, "refused: unknown-handshake",
                "{policy} {server_policy}"
            );
            mitm.captured().expect_no_plaintext().await?;
        }
        let outcome = victim.outcome(Policy::Observe).await?;
        assert_eq!(outcome, "intercepted: unknown-handshake", "{server_policy}");
    }
    Ok(())
}

#[tokio::test]
async fn paths_that_are_not_independent_are_refused_where_that_is_demanded() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Require)).await?;
    let victim = world
        .victim(&server)?
        .side_from(world.ip(2), server.address());
    for (policy, expected) in [
        (Policy::Require, "refused: not-independent"),
        (Policy::Prefer, "refused: not-independent"),
        (Policy::Observe, "unverified: not-independent"),
    ] {
        let outcome = victim
            .outcome_with(policy, |settings| settings.require_independent(true))
            .await?;
        assert_eq!(outcome, expected);
    }
    assert_eq!(victim.outcome(Policy::Require).await?, "verified");
    Ok(())
}
