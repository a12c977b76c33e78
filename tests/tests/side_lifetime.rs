//! Side connections that are kept, and that die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mtls_core::proto::frame::FrameBody;
use mtls_core::{MultipathConnector, Policy};
use mtls_lab::attacker::{End, SideAttack, SideAttacker, frames};
use mtls_lab::{Result, Server, Setup, Victim, World, describe, fetch};

struct Scene {
    server: Server,
    side: SideAttacker,
    victim: Victim,
}

impl Scene {
    async fn new(attack: SideAttack) -> Result<Self> {
        let world = World::new()?;
        let server = world.serve(Setup::new(Policy::Observe)).await?;
        let address = world.host(77, &server);
        let side = SideAttacker::start(address, server.address(), attack).await?;
        let victim = world.victim(&server)?.side_to(side.address());
        Ok(Self {
            server,
            side,
            victim,
        })
    }

    /// Connects under `Require`; says whether the side connection was there before.
    async fn reuses(&self, connector: &MultipathConnector) -> Result<bool> {
        let stream = connector.connect(&self.victim.target()).await?;
        let reused = stream.verdict().paths[1].reused;
        fetch(stream).await?;
        Ok(reused)
    }
}

#[tokio::test]
async fn side_connection_is_kept_and_reused() -> Result {
    let scene = Scene::new(SideAttack::Watch).await?;
    let connector = scene.victim.connector(Policy::Require)?.build()?;
    assert!(!scene.reuses(&connector).await?);
    for _ in 0..5 {
        assert!(scene.reuses(&connector).await?);
    }
    Ok(())
}

#[tokio::test]
async fn side_connection_is_not_kept_when_the_idle_timeout_is_zero() -> Result {
    let scene = Scene::new(SideAttack::Watch).await?;
    let settings = scene.victim.settings(Policy::Require);
    let settings = settings.side_idle_timeout(Duration::ZERO);
    let connector = scene.victim.connector_with(settings)?.build()?;
    for _ in 0..3 {
        assert!(!scene.reuses(&connector).await?);
    }
    Ok(())
}

#[tokio::test]
async fn side_connection_that_died_between_verifications_is_dialled_anew() -> Result {
    let scene = Scene::new(SideAttack::Watch).await?;
    let connector = scene.victim.connector(Policy::Require)?.build()?;
    scene.reuses(&connector).await?;
    for _ in 0..5 {
        // Whether the connector has noticed when it asks again is chance: both ways must do.
        scene.side.cut();
        scene.reuses(&connector).await?;
    }
    Ok(())
}

/// Cuts a side connection that has verified before, at the next frame of which `matches` says so.
async fn cut_during(matches: fn(End, &FrameBody) -> bool) -> Result {
    let armed = Arc::new(AtomicBool::new(false));
    let scene = Scene::new(frames::close_once(&armed, matches)).await?;
    let connector = scene.victim.connector(Policy::Require)?.build()?;
    for _ in 0..3 {
        // One that is there when the next verification begins.
        scene.reuses(&connector).await?;
        armed.store(true, Ordering::SeqCst);
        scene.reuses(&connector).await?;
        assert!(!armed.load(Ordering::SeqCst), "it was cut");
        assert!(scene.reuses(&connector).await?, "the new one is kept");
    }
    Ok(())
}

#[tokio::test]
async fn kept_side_connection_that_dies_at_the_open_is_replaced() -> Result {
    cut_during(|_, body| matches!(body, FrameBody::Open { .. })).await
}

#[tokio::test]
async fn kept_side_connection_that_dies_at_the_proof_is_replaced() -> Result {
    cut_during(|_, body| matches!(body, FrameBody::Proof { .. })).await
}

#[tokio::test]
async fn lost_confirm_leaves_the_client_verified_and_the_server_not() -> Result {
    let armed = Arc::new(AtomicBool::new(true));
    let confirm = |_, body: &FrameBody| matches!(body, FrameBody::Confirm { .. });
    let scene = Scene::new(frames::close_once(&armed, confirm)).await?;
    let stream = scene.victim.connect(Policy::Require).await?;
    assert!(stream.verdict().verified().is_some());
    mtls_lab::eventually("the Confirm is lost", || !armed.load(Ordering::SeqCst)).await?;
    fetch(stream).await?;
    let verdicts = scene.server.verdicts();
    assert_eq!(
        verdicts.last().and_then(|verdict| verdict.outcome.reason()),
        Some("not-confirmed")
    );
    Ok(())
}

#[tokio::test]
async fn fresh_side_connection_that_dies_after_the_greeting_refuses() -> Result {
    for matches in [
        |_, body: &FrameBody| matches!(body, FrameBody::Open { .. }),
        |_, body: &FrameBody| matches!(body, FrameBody::Proof { .. }),
    ] {
        for policy in [Policy::Require, Policy::Prefer] {
            let armed = Arc::new(AtomicBool::new(true));
            let scene = Scene::new(frames::close_once(&armed, matches)).await?;
            assert_eq!(scene.victim.outcome(policy).await?, "refused: side-closed");
        }
    }
    Ok(())
}

#[tokio::test]
async fn many_connections_share_a_side_connection() -> Result {
    let scene = Scene::new(SideAttack::Watch).await?;
    let connector = scene.victim.connector(Policy::Require)?.build()?;
    scene.reuses(&connector).await?;
    let target = scene.victim.target();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (connector, target) = (connector.clone(), target.clone());
        running.spawn(async move { describe(&connector.connect(&target).await) });
    }
    for outcome in running.join_all().await {
        assert_eq!(outcome, "verified");
    }
    Ok(())
}
