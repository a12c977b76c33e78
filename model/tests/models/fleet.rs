//! A fleet's registry, checked exhaustively within bounds: every order of heartbeats, faults and
//! questions (`docs/threat-model.md`, "Fleets").

use mtls_model::fleet::{FleetModel, FleetMutant, NEVER_UNKNOWN};
use stateright::{Checker, Model};

fn check(model: FleetModel) {
    let bounds = model.bounds();
    let checker = model.checker().threads(2).spawn_bfs().join();
    eprintln!("{bounds}: {} states", checker.unique_state_count());
    checker.assert_properties();
}

fn caught(model: FleetModel) {
    let bounds = model.bounds();
    let checker = model.checker().threads(2).spawn_bfs().join();
    assert!(
        checker.discovery(NEVER_UNKNOWN).is_some(),
        "not caught within {bounds}"
    );
}

#[test]
fn two_faults_of_one_engine_make_no_held_handshake_unknown() {
    check(FleetModel::new(1, 2, 9));
}

#[test]
fn a_fault_of_one_of_two_engines_makes_no_held_handshake_unknown() {
    check(FleetModel::new(2, 1, 7));
}

#[test]
fn two_faults_of_two_engines_make_no_held_handshake_unknown() {
    check(FleetModel::new(2, 2, 5));
}

#[test]
fn an_implementation_that_trusts_a_missing_record_is_caught() {
    caught(FleetModel::new(1, 1, 5).with_mutant(FleetMutant::TrustsTheRecord));
}

/// It answers *unknown* after an engine has restarted empty.
#[test]
fn an_implementation_that_trusts_any_list_is_caught() {
    caught(FleetModel::new(1, 1, 5).with_mutant(FleetMutant::TrustsTheList));
}

#[test]
fn an_implementation_that_trusts_the_list_of_one_engine_is_caught() {
    caught(FleetModel::new(2, 1, 5).with_mutant(FleetMutant::TrustsOneEngine));
}

#[test]
fn an_implementation_without_a_lease_is_caught() {
    caught(FleetModel::new(1, 0, 5).with_mutant(FleetMutant::IgnoresTheLease));
}

/// It answers *unknown* after a failover that lost its first heartbeats.
#[test]
fn an_implementation_that_does_not_wait_for_a_lease_is_caught() {
    caught(FleetModel::new(1, 1, 5).with_mutant(FleetMutant::StartsAtOnce));
}

#[test]
fn an_implementation_that_ignores_silent_machines_is_caught() {
    caught(FleetModel::new(1, 0, 5).with_mutant(FleetMutant::IgnoresSilence));
}

/// It still verifies when its machine may have been forgotten.
#[test]
fn a_client_that_verifies_for_longer_than_a_life_less_two_leases_is_caught() {
    caught(FleetModel::new(1, 2, 7).with_mutant(FleetMutant::VerifiesForLong));
}
