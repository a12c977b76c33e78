//! A side path that brings no verification about.

use std::time::Duration;

use mtls_core::Policy;
use mtls_core::proto::frame::{GREETING, RejectCode};
use mtls_lab::attacker::{BlackHole, ClosedPort, Mitm, MitmPlan, SideAttack, SideAttacker, frames};
use mtls_lab::{Result, Server, Setup, Victim, World};

const ALL: [Policy; 3] = [Policy::Require, Policy::Prefer, Policy::Observe];

/// Limits waits that cannot succeed. A greeting and TLS take less, even where the machine stalls.
const SHORT: Duration = Duration::from_secs(5);

/// A world, an attacker on the side path, and another on the primary path if need be.
struct Scene {
    world: World,
    server: Server,
}

impl Scene {
    async fn new() -> Result<Self> {
        let world = World::new()?;
        let server = world.serve(Setup::new(Policy::Observe)).await?;
        Ok(Self { world, server })
    }

    fn victim(&self) -> Result<Victim> {
        self.world.victim(&self.server)
    }

    async fn side(&self, attack: SideAttack) -> Result<SideAttacker> {
        let address = self.world.host(77, &self.server);
        SideAttacker::start(address, self.server.address(), attack).await
    }

    /// The result of every policy: `Require` refuses, `Prefer` continues and reports it, with an
    /// honest primary path and without.
    async fn only_require_resists(&self, victim: Victim, reason: &str) -> Result {
        let (refused, allowed) = (
            format!("refused: {reason}"),
            format!("unverified: {reason}"),
        );
        let expected = [&refused, &allowed, &allowed];
        assert_eq!(outcomes(&victim).await?.each_ref(), expected);
        let mitm = self.mitm().await?;
        let victim = victim.primary_to(mitm.address());
        assert_eq!(outcome(&victim, Policy::Require).await?, refused);
        mitm.captured().expect_no_plaintext().await?;
        // The price of `Prefer`: an attacker on both paths can prevent the verification.
        let connector = victim
            .connector_with(victim.settings(Policy::Prefer).deadline(SHORT))?
            .build()?;
        let stream = connector.connect(&victim.target()).await?;
        assert_eq!(stream.verdict().outcome.reason(), Some(reason));
        mtls_lab::fetch(stream).await?;
        mitm.captured().expect_both_secrets().await
    }

    /// The server has greeted, so `Prefer` is as strict as `Require`.
    async fn prefer_resists(&self, victim: Victim, reason: &str) -> Result {
        let (refused, allowed) = (
            format!("refused: {reason}"),
            format!("unverified: {reason}"),
        );
        let expected = [&refused, &refused, &allowed];
        assert_eq!(outcomes(&victim).await?.each_ref(), expected);
        let mitm = self.mitm().await?;
        let victim = victim.primary_to(mitm.address());
        for policy in [Policy::Require, Policy::Prefer] {
            assert_eq!(outcome(&victim, policy).await?, refused, "{policy}");
            mitm.captured().expect_no_plaintext().await?;
        }
        Ok(())
    }

    /// On the primary path, and accepted by plain TLS.
    async fn mitm(&self) -> Result<Mitm> {
        let plan = MitmPlan::rogue_ca(&self.world, &self.server)?;
        let mitm = Mitm::start(self.world.host(66, &self.server), plan).await?;
        let victim = self.victim()?.primary_to(mitm.address());
        victim.fetch_plain().await?;
        mitm.captured().expect_both_secrets().await?;
        Ok(mitm)
    }
}

/// The result of each policy, in the order of [`ALL`]. Together they wait as long as one of them.
async fn outcomes(victim: &Victim) -> Result<[String; 3]> {
    let [require, prefer, observe] = ALL.map(|policy| outcome(victim, policy));
    let (require, prefer, observe) = tokio::try_join!(require, prefer, observe)?;
    Ok([require, prefer, observe])
}

async fn outcome(victim: &Victim, policy: Policy) -> Result<String> {
    victim
        .outcome_with(policy, |settings| settings.deadline(SHORT))
        .await
}

#[tokio::test]
async fn blocked_side_is_unreachable() -> Result {
    let scene = Scene::new().await?;
    let closed = ClosedPort::new(scene.world.host(77, &scene.server))?;
    let victim = scene.victim()?.side_to(closed.address());
    scene.only_require_resists(victim, "side-unreachable").await
}

#[tokio::test]
async fn black_hole_is_unreachable() -> Result {
    let scene = Scene::new().await?;
    let hole = BlackHole::new(scene.world.host(77, &scene.server)).await?;
    let victim = scene.victim()?.side_to(hole.address());
    scene.only_require_resists(victim, "side-unreachable").await
}

#[tokio::test]
async fn reset_before_the_greeting_is_no_greeting() -> Result {
    let scene = Scene::new().await?;
    let side = scene.side(SideAttack::Reset).await?;
    let victim = scene.victim()?.side_to(side.address());
    // Whether the connection counts as made before it is reset is the kernels' affair.
    let refused = outcome(&victim, Policy::Require).await?;
    assert!(
        ["refused: no-greeting", "refused: side-unreachable"].contains(&&*refused),
        "{refused}"
    );
    let allowed = outcome(&victim, Policy::Prefer).await?;
    assert!(allowed.starts_with("unverified: "), "{allowed}");
    Ok(())
}

#[tokio::test]
async fn side_that_never_speaks_is_no_greeting() -> Result {
    let scene = Scene::new().await?;
    let side = scene.side(SideAttack::Swallow).await?;
    let victim = scene.victim()?.side_to(side.address());
    scene.only_require_resists(victim, "no-greeting").await
}

#[tokio::test]
async fn garbage_in_place_of_the_greeting_is_no_greeting() -> Result {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"MTLS/2\r\n",
        b"\x15\x03\x03\x00\x02\x02\x32",
    ] {
        let scene = Scene::new().await?;
        let side = scene.side(SideAttack::Send(garbage.to_vec())).await?;
        let victim = scene.victim()?.side_to(side.address());
        scene.only_require_resists(victim, "no-greeting").await?;
    }
    Ok(())
}

#[tokio::test]
async fn silence_after_the_greeting_downgrades_nobody() -> Result {
    let scene = Scene::new().await?;
    let side = scene.side(SideAttack::Send(GREETING.to_vec())).await?;
    let victim = scene.victim()?.side_to(side.address());
    scene.prefer_resists(victim, "side-silent").await
}

#[tokio::test]
async fn close_after_the_greeting_downgrades_nobody() -> Result {
    let scene = Scene::new().await?;
    let greets = |from, frame| match from {
        mtls_lab::attacker::End::Client => mtls_lab::attacker::Step::close(),
        from => mtls_lab::attacker::Step::pass(from, frame),
    };
    let side = scene
        .side(SideAttack::Frames(std::sync::Arc::new(greets)))
        .await?;
    let victim = scene.victim()?.side_to(side.address());
    scene.prefer_resists(victim, "side-closed").await
}

#[tokio::test]
async fn garbage_after_the_greeting_downgrades_nobody() -> Result {
    for garbage in [
        &b"\x00"[..],
        b"\x06\x00\x00",
        b"\x02\xff\xff",
        b"\x04\x00\x00",
        b"\x04\x00\x11aaaaaaaaaaaaaaaaa",
    ] {
        let scene = Scene::new().await?;
        let bytes = [&GREETING[..], garbage].concat();
        let side = scene.side(SideAttack::Send(bytes)).await?;
        let victim = scene.victim()?.side_to(side.address());
        scene.prefer_resists(victim, "side-misbehaved").await?;
    }
    Ok(())
}

#[tokio::test]
async fn forged_rejects_downgrade_nobody() -> Result {
    for (code, reason) in [
        (RejectCode::Busy, "rejected-busy"),
        (RejectCode::EarlyWaitExpired, "rejected-early-wait-expired"),
        (
            RejectCode::RegistryUnavailable,
            "rejected-registry-unavailable",
        ),
        (RejectCode::NoCommonBinding, "rejected-no-common-binding"),
        (RejectCode::Malformed, "rejected-malformed"),
        // The client's handshake is TLS 1.3, so this one says that there are two.
        (RejectCode::NotTls13, "downgrade"),
        (RejectCode::WrongValue, "rejected-wrong-value"),
        // Too early: the server cannot know that before the client has sent Done.
        (RejectCode::Unknown, "side-misbehaved"),
    ] {
        let scene = Scene::new().await?;
        let side = scene.side(frames::reject(code)).await?;
        let victim = scene.victim()?.side_to(side.address());
        let outcome = outcome(&victim, Policy::Prefer).await?;
        // One that comes after Done is an answer to it.
        let crossed = code == RejectCode::Unknown && outcome == "refused: unknown-handshake";
        assert!(
            crossed || outcome == format!("refused: {reason}"),
            "{code:?}: {outcome}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn slow_side_verifies_as_long_as_there_is_time() -> Result {
    let scene = Scene::new().await?;
    let side = scene
        .side(SideAttack::Slow(Duration::from_millis(1)))
        .await?;
    let victim = scene.victim()?.side_to(side.address());
    for policy in ALL {
        assert_eq!(victim.outcome(policy).await?, "verified", "{policy}");
    }
    Ok(())
}

#[tokio::test]
async fn side_slower_than_the_deadline_downgrades_nobody() -> Result {
    let scene = Scene::new().await?;
    // The greeting takes 8 of these, so that it comes in time; the client's Open takes 60 more, and the
    // Proof for it 84 more.
    let side = scene
        .side(SideAttack::Slow(Duration::from_millis(50)))
        .await?;
    let victim = scene.victim()?.side_to(side.address());
    scene.prefer_resists(victim, "side-silent").await
}

#[tokio::test]
async fn server_of_plain_tls_has_no_greeting() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::plain()).await?;
    let victim = world.victim(&server)?;
    assert_eq!(
        victim.outcome(Policy::Require).await?,
        "refused: no-greeting"
    );
    assert_eq!(
        victim.outcome(Policy::Observe).await?,
        "unverified: no-greeting"
    );
    let stream = victim.connect(Policy::Prefer).await?;
    assert_eq!(stream.verdict().outcome.reason(), Some("no-greeting"));
    assert_eq!(mtls_lab::fetch(stream).await?, mtls_lab::PAGE_SECRET);
    Ok(())
}
