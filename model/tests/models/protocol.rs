//! The side protocol, checked exhaustively within bounds: the real machines, every order of every
//! move of two attackers (`docs/threat-model.md`, "What the model checker shows").

use std::time::Instant;

use mtls_core::proto::binding::Binding;
use mtls_model::properties::{
    COUNTS_THE_RIGHT_ONE, COUNTS_WHAT_WAS_CONFIRMED, DECIDES_RIGHT, HONEST_NEVER_FAILS,
    PREFER_REFUSES, REQUIRE_REFUSES,
};
use mtls_model::{Access, Mutant, Scenario, World};
use stateright::{Checker, Model};

#[test]
fn nobody_attacks_and_nothing_fails() {
    both_bindings(Scenario::honest());
    let pooled = Scenario {
        pooled: true,
        ..Scenario::honest()
    };
    check(pooled.named("no attacker, the side connection is reused"));
    check(two_sides().named("no attacker, two side paths"));
}

#[test]
fn floods_from_elsewhere_starve_nobody_who_waits_and_downgrade_nobody() {
    both_bindings(Scenario::honest().with_waits_flooded());
    let pooled = Scenario {
        pooled: true,
        ..Scenario::honest()
    };
    let flooded = pooled.with_waits_flooded();
    check(flooded.named("waiting places flooded from elsewhere, reused"));
    both_bindings(Scenario::honest().with_registry_flooded());
}

#[test]
fn one_attacker_on_the_primary_path_is_told() {
    both_bindings(Scenario::honest().with_primary_attacker());
    both_bindings(replaying());
    let mut informed = Scenario::honest().with_primary_attacker();
    informed.sides = vec![Access::Passive];
    informed.talk = true;
    informed.moves[0].to_server = 2;
    both_bindings(informed.named("active on the primary path, in touch with a listener"));
}

#[test]
fn associations_that_change_hands_confirm_nothing() {
    let changing = Scenario::honest().with_changing_registrations();
    check(changing.with_binding(Binding::Exporter));
}

#[test]
fn one_attacker_on_the_side_path_can_only_refuse() {
    both_bindings(Scenario::honest().with_side_attacker());
    let mut informed = Scenario::honest().with_side_attacker();
    informed.primary = Access::Passive;
    informed.talk = true;
    informed.moves[1].to_server = 2;
    both_bindings(informed.named("active on the side path, in touch with a listener"));
}

#[test]
fn two_attackers_who_do_not_talk_are_told() {
    both_bindings(Scenario::honest().with_both_attackers(false));
}

#[test]
fn two_attackers_who_talk_win_against_rogue_authorities_only() {
    both_bindings(Scenario::honest().with_both_attackers(true));
    let mut honest = Scenario::honest().with_both_attackers(true);
    honest.rogue_ca = false;
    both_bindings(honest.named("active on both paths, in touch, honest authorities"));
}

#[test]
fn a_second_side_path_that_nobody_attacks_suffices() {
    both_bindings(two_of_three());
}

#[test]
fn mutant_unlabelled_roles_is_caught() {
    let scenario = Scenario::honest()
        .with_side_attacker()
        .with_binding(Binding::Exporter);
    caught(scenario, Mutant::UnlabelledRoles, COUNTS_WHAT_WAS_CONFIRMED);
}

#[test]
fn mutant_randoms_instead_of_the_transcript_is_caught() {
    let scenario = Scenario::honest().with_primary_attacker();
    caught(scenario, Mutant::RandomsOnly, REQUIRE_REFUSES);
}

#[test]
fn mutant_accept_before_verify_is_caught() {
    let scenario = Scenario::honest().with_primary_attacker();
    caught(scenario, Mutant::AcceptBeforeVerify, REQUIRE_REFUSES);
}

#[test]
fn mutant_soft_failure_is_caught() {
    let scenario = Scenario::honest().with_primary_attacker();
    caught(scenario, Mutant::SoftFailure, PREFER_REFUSES);
}

#[test]
fn mutant_fallback_on_reject_is_caught() {
    let scenario = Scenario::honest().with_primary_attacker();
    caught(scenario, Mutant::FallbackOnReject, PREFER_REFUSES);
}

#[test]
fn mutant_one_side_is_enough_is_caught() {
    caught(two_of_three(), Mutant::OneSideIsEnough, REQUIRE_REFUSES);
}

#[test]
fn mutant_tombstones_that_forget_is_caught() {
    let scenario = Scenario::honest();
    caught(scenario, Mutant::ForgetfulTombstones, HONEST_NEVER_FAILS);
}

#[test]
fn mutant_early_waits_that_answer_unknown_is_caught() {
    let scenario = Scenario::honest();
    caught(scenario, Mutant::EarlyUnknown, HONEST_NEVER_FAILS);
}

#[test]
fn mutant_confirmation_for_any_registration_is_caught() {
    let scenario = Scenario::honest().with_changing_registrations();
    caught(scenario, Mutant::LooseConfirmation, COUNTS_THE_RIGHT_ONE);
}

#[test]
fn mutant_decision_when_tls_completes_is_caught() {
    caught(Scenario::honest(), Mutant::EarlyDecision, DECIDES_RIGHT);
}

fn two_sides() -> Scenario {
    Scenario::honest().with_another_side()
}

/// Attackers who talk sit on the primary path and on one of two side paths.
fn two_of_three() -> Scenario {
    let mut scenario = two_sides().with_both_attackers(true);
    scenario.moves[0].hellos = 0;
    scenario.moves[1].to_server = 1;
    scenario.moves[1].to_client = 1;
    scenario.named("active on two of three paths, in touch")
}

/// The client's hello may reach the server twice.
fn replaying() -> Scenario {
    let mut scenario = Scenario::honest().with_primary_attacker();
    scenario.client_hellos = 2;
    scenario.connections[0] = 0;
    scenario.named("active on the primary path, replaying the hello")
}

fn both_bindings(scenario: Scenario) {
    check(scenario.clone().with_binding(Binding::Exporter));
    check(scenario.with_binding(Binding::Hello));
}

/// Explores a scenario to its end, reports its size, and holds it to its properties.
fn check(scenario: Scenario) {
    let started = Instant::now();
    let name = scenario.name;
    let bindings = scenario.bindings.0;
    let checker = World::new(scenario).checker().threads(2).spawn_bfs().join();
    println!(
        "{name} (bindings {bindings:#04x}): {} states, {} unique, depth {}, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f32(),
    );
    checker.assert_properties();
}

/// Finds a shortest way in which the mutant breaks the property, and prints it. Breadth-first
/// search alone does not give it, since it goes on to the end of a block of states.
fn caught(scenario: Scenario, mutant: Mutant, property: &'static str) {
    const MAX_DEPTH: usize = 24;
    let world = World::new(scenario.mutated(mutant));
    for depth in 2..=MAX_DEPTH {
        let search = world.clone().checker().target_max_depth(depth);
        let checker = search.spawn_bfs().join();
        if let Some(path) = checker.discovery(property) {
            println!("{mutant:?} breaks \"{property}\":");
            for action in path.into_actions() {
                println!("  {action:?}");
            }
            return;
        }
    }
    panic!("{mutant:?} is not caught: {property:?} holds to depth {MAX_DEPTH}");
}
