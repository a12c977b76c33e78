//! An attacker on the side path alone: they can deny a verification, and never forge one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mtls_core::Policy;
use mtls_core::proto::binding::{Binding, Value};
use mtls_core::proto::frame::{FrameBody, GREETING};
use mtls_lab::attacker::{SideAttack, SideAttacker, Tamper, frames};
use mtls_lab::{Result, Server, Setup, Victim, World, describe};
use tokio::task::JoinSet;

/// The length of the server's greeting and one Proof, in bytes.
const SERVER_BYTES: usize = GREETING.len() + 3 + 16 + 32 + 1 + 32;

/// Limits waits that cannot succeed.
const SHORT: Duration = Duration::from_millis(1_000);
/// The result where the machine stalls until that deadline: a refusal too.
const TOO_LATE: &str =
    "primary path: TLS was not complete at the verification's deadline; nothing was sent";

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

    /// A victim with this attacker on its side path, at host number `host`.
    async fn victim(&self, host: u8, attack: SideAttack) -> Result<(Victim, SideAttacker)> {
        let address = self.world.host(host, &self.server);
        let side = SideAttacker::start(address, self.server.address(), attack).await?;
        Ok((
            self.world.victim(&self.server)?.side_to(side.address()),
            side,
        ))
    }

    /// The result for a victim of this tampering, with an attacker of its own.
    async fn at(&self, place: usize, tamper: Tamper) -> Result<(usize, String)> {
        // Only what ends in silence needs a deadline that is short.
        let may_fall_silent = match tamper {
            Tamper::Flip { bit } => (8..27).contains(&(bit / 8)),
            Tamper::Truncate { .. } => false,
            Tamper::Insert { .. } => true,
        };
        let attack = SideAttack::Bytes(tamper);
        let address = SocketAddr::new(self.world.ip(77), 0);
        let side = SideAttacker::start(address, self.server.address(), attack).await?;
        let victim = self.world.victim(&self.server)?.side_to(side.address());
        let outcome = match may_fall_silent {
            true => {
                victim
                    .outcome_with(Policy::Require, |settings| settings.deadline(SHORT))
                    .await?
            }
            false => victim.outcome(Policy::Require).await?,
        };
        Ok((place, outcome))
    }

    /// The result for a victim under `Prefer`.
    async fn outcome(&self, attack: SideAttack) -> Result<String> {
        let (victim, _side) = self.victim(77, attack).await?;
        victim.outcome(Policy::Prefer).await
    }
}

#[tokio::test]
async fn attacker_who_only_looks_on_changes_nothing() -> Result {
    let scene = Scene::new().await?;
    let (victim, side) = scene.victim(77, SideAttack::Watch).await?;
    assert_eq!(victim.outcome(Policy::Require).await?, "verified");
    mtls_lab::eventually("the Confirm has passed", || {
        let confirms = |(_, frame): &(_, mtls_core::proto::frame::Frame)| {
            matches!(frame.body, FrameBody::Confirm { .. })
        };
        side.record().frames().iter().any(confirms)
    })
    .await
}

#[tokio::test]
async fn reflected_frames_are_refused() -> Result {
    let scene = Scene::new().await?;
    assert_eq!(
        scene.outcome(frames::reflect()).await?,
        "refused: side-misbehaved"
    );
    Ok(())
}

#[tokio::test]
async fn proof_made_of_the_clients_own_words_is_refused() -> Result {
    let scene = Scene::new().await?;
    assert_eq!(
        scene.outcome(frames::reflect_as_proof()).await?,
        "refused: wrong-value"
    );
    Ok(())
}

#[tokio::test]
async fn proof_of_an_earlier_session_is_refused() -> Result {
    let scene = Scene::new().await?;
    let (victim, earlier) = scene.victim(78, SideAttack::Watch).await?;
    assert_eq!(victim.outcome(Policy::Require).await?, "verified");
    let replay = frames::replay(earlier.record());
    assert_eq!(scene.outcome(replay).await?, "refused: wrong-value");
    Ok(())
}

#[tokio::test]
async fn proofs_swapped_between_two_sessions_are_refused() -> Result {
    let scene = Scene::new().await?;
    let armed = Arc::new(AtomicBool::new(false));
    let (victim, _side) = scene.victim(77, frames::swap_proofs(&armed)).await?;
    let connector = victim.connector(Policy::Require)?.build()?;
    let target = victim.target();
    // The first opens the side connection that the two then share.
    assert_eq!(describe(&connector.connect(&target).await), "verified");
    armed.store(true, Ordering::SeqCst);
    let (one, other) = tokio::join!(connector.connect(&target), connector.connect(&target));
    assert_eq!(describe(&one), "refused: wrong-value");
    assert_eq!(describe(&other), "refused: wrong-value");
    Ok(())
}

#[tokio::test]
async fn second_proof_changes_no_verdict() -> Result {
    let scene = Scene::new().await?;
    let outcome = scene.outcome(frames::double()).await?;
    // If both arrive before TLS is complete the second one shows; afterwards the connection is not read.
    assert!(
        ["verified", "refused: side-misbehaved"].contains(&&*outcome),
        "{outcome}"
    );
    Ok(())
}

#[tokio::test]
async fn other_values_nonces_and_bindings_are_refused() -> Result {
    let changed = |change: fn(&mut [u8; 32], &mut Binding, &mut Value)| {
        frames::change_proof(move |body| match body {
            FrameBody::Proof {
                mut nonce_s,
                mut binding,
                mut value,
            } => {
                change(&mut nonce_s, &mut binding, &mut value);
                FrameBody::Proof {
                    nonce_s,
                    binding,
                    value,
                }
            }
            other => other,
        })
    };
    for attack in [
        changed(|nonce_s, _, _| *nonce_s = [0; 32]),
        changed(|_, binding, _| *binding = Binding::Hello),
        changed(|_, _, value| *value = Value([0; 32])),
        changed(|nonce_s, _, value| std::mem::swap(nonce_s, &mut value.0)),
    ] {
        let scene = Scene::new().await?;
        assert_eq!(scene.outcome(attack).await?, "refused: wrong-value");
    }
    Ok(())
}

#[tokio::test]
async fn binding_that_was_not_offered_is_refused() -> Result {
    let scene = Scene::new().await?;
    let attack = frames::change_proof(|body| match body {
        FrameBody::Proof { nonce_s, value, .. } => FrameBody::Proof {
            nonce_s,
            value,
            binding: Binding::Hello,
        },
        other => other,
    });
    let (victim, _side) = scene.victim(77, attack).await?;
    let outcome = victim
        .outcome_with(Policy::Require, |settings| {
            settings.bindings(Binding::Exporter)
        })
        .await?;
    assert_eq!(outcome, "refused: side-misbehaved");
    Ok(())
}

/// Runs a tampering at each place, some at a time; gives back what came of each.
async fn at_each(
    places: impl Iterator<Item = usize>,
    tamper: fn(usize) -> Tamper,
) -> Result<Vec<(usize, String)>> {
    const AT_A_TIME: usize = 32;
    let scene = Arc::new(Scene::new().await?);
    let (mut running, mut outcomes) = (JoinSet::new(), Vec::new());
    for place in places {
        if running.len() == AT_A_TIME
            && let Some(done) = running.join_next().await
        {
            outcomes.push(done??);
        }
        let scene = Arc::clone(&scene);
        running.spawn(async move { scene.at(place, tamper(place)).await });
    }
    while let Some(done) = running.join_next().await {
        outcomes.push(done??);
    }
    outcomes.sort();
    Ok(outcomes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bit_flipped_at_every_position_is_refused() -> Result {
    let outcomes = at_each(0..SERVER_BYTES * 8, |bit| Tamper::Flip { bit }).await?;
    assert_eq!(outcomes.len(), SERVER_BYTES * 8);
    for (bit, outcome) in outcomes {
        let expected: &[_] = match bit / 8 {
            0..8 => &["refused: no-greeting"],
            // Type, length and association: another frame, one that waits for more, or another's
            // business. On a machine under load the deadline can come before the greeting.
            8..27 => &[
                "refused: side-misbehaved",
                "refused: side-silent",
                "refused: no-greeting",
                "refused: side-unreachable",
                TOO_LATE,
            ],
            59 => &["refused: side-misbehaved"],
            _ => &["refused: wrong-value"],
        };
        assert!(expected.contains(&&*outcome), "bit {bit}: {outcome}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncation_at_every_position_is_refused() -> Result {
    for (at, outcome) in at_each(0..SERVER_BYTES, |at| Tamper::Truncate { at }).await? {
        let expected = if at < 8 {
            "refused: no-greeting"
        } else {
            "refused: side-closed"
        };
        assert_eq!(outcome, expected, "after {at} bytes");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn byte_inserted_at_every_position_before_the_end_is_refused() -> Result {
    let insert = |at| Tamper::Insert {
        at,
        bytes: vec![0xa5],
    };
    for (at, outcome) in at_each(0..SERVER_BYTES, insert).await? {
        assert!(
            outcome.starts_with("refused: ") || outcome == TOO_LATE,
            "after {at} bytes: {outcome}"
        );
    }
    Ok(())
}
