//! The properties that must hold, and the states that must be reachable, in each scenario.

use mtls_core::Policy;
use mtls_core::proto::binding::Binding;
use mtls_core::proto::client::{ClientOutcome, InterceptionReason, Peer, SideFailure, TlsVersion};
use stateright::Property;

use super::client::Judgement;
use super::scenario::{Access, Scenario};
use super::server::{Connection, Handshake};
use super::state::State;
use super::symbols::{Attacker, Holder};
use super::world::World;

/// Under no policy does the verdict say "verified" of an attacker's key.
pub const NEVER_VERIFIES_A_HELD_KEY: &str =
    "no verdict says verified where an attacker has the keys";
/// Under `Require` no application gets an attacker's key.
pub const REQUIRE_REFUSES: &str = "Require hands out no connection whose keys an attacker has";
/// Under `Prefer` neither, unless the side path is blocked.
pub const PREFER_REFUSES: &str =
    "Prefer hands out no connection whose keys an attacker has while no side path is blocked";
/// Falling back takes a side path that never greeted.
pub const FALLBACK_BEFORE_GREETING: &str = "Prefer falls back only where no greeting came";
/// The server's counters.
pub const COUNTS_THE_RIGHT_ONE: &str =
    "a confirmation counts only for the registration that it was computed for";
/// The content of a confirmation.
pub const COUNTS_WHAT_WAS_CONFIRMED: &str =
    "the server counts the client's handshake only after the client verified it";
/// Without an attacker, nothing fails.
pub const HONEST_NEVER_FAILS: &str = "a connection without an attacker never fails";
/// Under every flood.
pub const NEVER_DOWNGRADES: &str = "an attacker off the paths never makes Prefer fall back";

/// Without an attacker, the server's verdict is right.
pub const DECIDES_RIGHT: &str =
    "a server that prefers waits for the Confirm of every client that has verified";

type Condition = fn(&World, &State) -> bool;

/// The properties of a scenario.
pub fn of(scenario: &Scenario) -> Vec<Property<World>> {
    let mut properties = vec![
        always("a pending verification has a deadline", |_, state| {
            let sides = &state.client.sides;
            sides
                .iter()
                .all(|side| side.has_ended() || side.has_deadline())
        }),
        always("the deadline ends every verification", |_, state| {
            !state.deadline_passed || state.client.sides.iter().all(|side| side.has_ended())
        }),
        always("every table keeps to its bound", |_, state| {
            state.server.registry.is_within_bounds()
                && state
                    .server
                    .connections
                    .iter()
                    .all(Connection::is_within_bounds)
        }),
        always("an older TLS is never verified", |_, state| {
            !state.client.is_downgraded() || !says_verified(state)
        }),
        always(FALLBACK_BEFORE_GREETING, falls_back_only_before_greeting),
        always(COUNTS_THE_RIGHT_ONE, |_, state| !state.server.miscounted),
        sometimes("a client verifies", |_, state| {
            !holds_attackers_key(state) && says_verified(state)
        }),
    ];
    secrecy(scenario, &mut properties);
    if scenario.primary == Access::Active && scenario.rogue_ca {
        detections(scenario, &mut properties);
    }
    if counts_prove_the_client(scenario) {
        properties.push(always(COUNTS_WHAT_WAS_CONFIRMED, counts_what_was_confirmed));
    } else if a_reader_can_confirm(scenario) {
        let example = "with the hello binding, who reads the primary path can confirm too";
        properties.push(sometimes(example, |world, state| {
            !counts_what_was_confirmed(world, state)
        }));
    }
    if !scenario.is_attacked() {
        properties.push(always(DECIDES_RIGHT, decides_right));
        properties.push(always(NEVER_DOWNGRADES, |_, state| {
            state.client.judge(Policy::Prefer) != Some(Judgement::Unverified)
        }));
        properties.push(match scenario.may_fill_the_registry() {
            false => always(HONEST_NEVER_FAILS, honest_never_fails),
            true => sometimes("a full registry refuses", |_, state| {
                state.client.judge(Policy::Prefer) == Some(Judgement::Refused)
            }),
        });
    }
    properties
}

fn secrecy(scenario: &Scenario, properties: &mut Vec<Property<World>>) {
    let verified: Condition = |_, state| !(holds_attackers_key(state) && says_verified(state));
    let required: Condition = |_, state| !hands_out_attackers_key(state, Policy::Require);
    let preferred: Condition = |_, state| !hands_out_attackers_key(state, Policy::Prefer);
    if scenario.is_hopeless() {
        properties.push(sometimes("two who talk on all paths win", |_, state| {
            holds_attackers_key(state)
                && state.client.judge(Policy::Require) == Some(Judgement::Verified)
        }));
        return;
    }
    properties.push(always(NEVER_VERIFIES_A_HELD_KEY, verified));
    properties.push(always(REQUIRE_REFUSES, required));
    let every_side = scenario
        .sides
        .iter()
        .all(|access| *access == Access::Active);
    let strips = scenario.primary == Access::Active && scenario.rogue_ca && every_side;
    if strips {
        properties.push(sometimes(
            "blocking the side path strips Prefer",
            |_, state| hands_out_attackers_key(state, Policy::Prefer),
        ));
    } else {
        properties.push(always(PREFER_REFUSES, preferred));
    }
    if !scenario.rogue_ca {
        properties.push(always(
            "honest authorities: TLS alone keeps attackers out",
            |_, state| !holds_attackers_key(state),
        ));
    }
}

fn detections(scenario: &Scenario, properties: &mut Vec<Property<World>>) {
    properties.push(sometimes(
        "a handshake unknown to the server is detected",
        |_, state| intercepted(state, InterceptionReason::UnknownHandshake),
    ));
    if scenario.moves[Attacker::Primary as usize].hellos > 0 {
        properties.push(sometimes("a wrong value is detected", |_, state| {
            intercepted(state, InterceptionReason::WrongValue)
        }));
        properties.push(sometimes("a downgrade is detected", |_, state| {
            intercepted(state, InterceptionReason::Downgrade)
        }));
    }
}

/// May anybody but the client compute the values of the client's handshake with the server? With
/// the hello binding, every reader of the primary path.
fn counts_prove_the_client(scenario: &Scenario) -> bool {
    !scenario.bindings.contains(Binding::Hello) || scenario.primary == Access::None
}

/// Whether an attacker who knows the hellos has a side connection, and the moves for an Open and a
/// Confirm?
fn a_reader_can_confirm(scenario: &Scenario) -> bool {
    scenario.bindings == Binding::Hello.into()
        && Attacker::ALL.iter().any(|attacker| {
            let connected = scenario.connections[*attacker as usize] > 0
                || (*attacker == Attacker::Side && scenario.attacks_side());
            connected
                && scenario.reads_primary(*attacker)
                && scenario.moves[*attacker as usize].to_server >= 2
        })
}

fn always(name: &'static str, condition: Condition) -> Property<World> {
    Property::always(name, condition)
}

fn sometimes(name: &'static str, condition: Condition) -> Property<World> {
    Property::sometimes(name, condition)
}

/// Does the client hold a handshake whose keys an attacker has too?
fn holds_attackers_key(state: &State) -> bool {
    state
        .client
        .tls
        .is_some_and(|transcript| transcript.is_held())
}

fn says_verified(state: &State) -> bool {
    [Policy::Require, Policy::Prefer, Policy::Observe]
        .iter()
        .any(|policy| state.client.judge(*policy) == Some(Judgement::Verified))
}

fn hands_out_attackers_key(state: &State, policy: Policy) -> bool {
    holds_attackers_key(state)
        && matches!(
            state.client.judge(policy),
            Some(Judgement::Verified | Judgement::Unverified)
        )
}

fn intercepted(state: &State, reason: InterceptionReason) -> bool {
    let outcome = ClientOutcome::Failed(SideFailure::Interception(reason));
    holds_attackers_key(state)
        && state
            .client
            .sides
            .iter()
            .any(|side| side.outcome() == outcome)
}

fn falls_back_only_before_greeting(_: &World, state: &State) -> bool {
    let sides = &state.client.sides;
    state.client.judge(Policy::Prefer) != Some(Judgement::Unverified)
        || sides.iter().any(|side| side.peer != Peer::Greeted)
}

fn counts_what_was_confirmed(_: &World, state: &State) -> bool {
    let verified = |binding| {
        state.client.sides.iter().any(|side| {
            matches!(side.outcome(), ClientOutcome::Verified(proof) if proof.binding() == binding)
        })
    };
    let verified = verified(Binding::Exporter) || verified(Binding::Hello);
    state
        .server
        .handshakes
        .iter()
        .filter(|handshake| handshake.confirmed && handshake.transcript.client == Holder::Honest)
        .all(|handshake| verified && state.client.tls == Some(handshake.transcript))
}

/// The first request of a client that has verified may arrive at any time from then on.
fn decides_right(_: &World, state: &State) -> bool {
    let may_send = [Policy::Require, Policy::Prefer]
        .iter()
        .any(|policy| state.client.judge(*policy) == Some(Judgement::Verified));
    !may_send
        || state
            .server
            .handshakes
            .iter()
            .filter(|handshake| Some(handshake.transcript) == state.client.tls)
            .all(Handshake::waits_for_confirm)
}

/// No side path fails; and when nothing is under way any more, the client has verified and the
/// server has counted it.
fn honest_never_fails(world: &World, state: &State) -> bool {
    let sides = &state.client.sides;
    let failed = sides
        .iter()
        .any(|side| matches!(side.outcome(), ClientOutcome::Failed(_)));
    let confirmed =
        || {
            state.server.handshakes.iter().any(|handshake| {
                Some(handshake.transcript) == state.client.tls && handshake.confirmed
            })
        };
    let right_version = |state: &State| {
        state
            .client
            .tls
            .is_some_and(|transcript| transcript.version == TlsVersion::Tls13)
    };
    !failed
        && (!world.is_quiet(state)
            || (state.client.is_resolved() && right_version(state) && confirmed()))
}
