//! No fault of an engine makes an honest client report an interception.

use std::time::Duration;

use mtls_core::proto::server::LookupMode;
use mtls_core::registry::fleet::double::MemoryStore;
use mtls_core::registry::fleet::{FleetRegistry, MachineId};
use mtls_core::registry::{LookupReply, PendingRegistry, RegisterError};
use tokio::time::{Instant, sleep};

use crate::world::{Fleet, confirmed, keys, requester, settings};

const SECOND: Duration = Duration::from_secs(1);

/// A registry that takes a missing record for the answer reports an interception here.
#[tokio::test(start_paused = true)]
async fn a_machine_that_alone_loses_the_engine_causes_no_unknown() {
    let fleet = Fleet::new(2, 1).await;
    fleet.stores[0].cut(MachineId(0));
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("its lease lasts");
    fleet.assert_unavailable(1, key).await;
    fleet.stores[0].mend(MachineId(0));
    sleep(SECOND).await;
    fleet.assert_found(1, key).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_refuses_handshakes_before_the_others_stop_asking_it() {
    let fleet = Fleet::new(2, 1).await;
    fleet.stores[0].cut(MachineId(0));
    let start = Instant::now();
    let mut byte = 0;
    // As long as it takes handshakes, the other machine says unknown of none of them.
    while let Ok(entry) = fleet.register(0, fleet.key(byte)).await {
        fleet.assert_unavailable(1, fleet.key(byte)).await;
        drop(entry);
        byte += 1;
        assert!(
            start.elapsed() < settings(0).lease + 2 * SECOND,
            "still takes handshakes"
        );
    }
    assert!(byte > 0);
    let refused = fleet.register(0, fleet.key(200)).await.err();
    assert_eq!(refused, Some(RegisterError::Isolated));
    // Its last handshake had its whole life to be verified.
    fleet.assert_unavailable(1, fleet.key(byte - 1)).await;
    sleep(settings(0).member_life).await;
    fleet.assert_unknown(1, fleet.key(byte)).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_takes_handshakes_again_when_it_is_back() {
    let fleet = Fleet::new(2, 1).await;
    fleet.stores[0].cut(MachineId(0));
    sleep(settings(0).lease + SECOND).await;
    assert!(fleet.register(0, fleet.key(1)).await.is_err());
    fleet.stores[0].mend(MachineId(0));
    fleet.machines[0].ready().await;
    let _entry = fleet.register(0, fleet.key(1)).await.expect("a lease");
    fleet.assert_found(1, fleet.key(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_outlives_an_engine_that_restarts_empty() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].stop();
    fleet.assert_unavailable(1, key).await;
    fleet.stores[0].restart_empty();
    fleet.assert_found(1, key).await;
    // The engine may have forgotten a machine: not certain until such a machine holds no lease.
    fleet.assert_unavailable(1, fleet.key(2)).await;
    sleep(settings(0).member_life).await;
    fleet.assert_unknown(1, fleet.key(2)).await;
}

/// The member list of the engine is lost with it.
#[tokio::test(start_paused = true)]
async fn a_machine_that_an_empty_engine_does_not_list_is_still_asked() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].cut(MachineId(0));
    fleet.stores[0].restart_empty();
    fleet.assert_unavailable(1, key).await;
}

/// It has no memory of the others, and the engine has none either.
#[tokio::test(start_paused = true)]
async fn a_new_machine_on_an_empty_engine_is_not_certain() {
    let fleet = Fleet::new(1, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].cut(MachineId(0));
    fleet.stores[0].restart_empty();
    let engines = vec![fleet.stores[0].engine()];
    let new = FleetRegistry::start(engines, settings(9)).expect("settings in order");
    new.ready().await;
    let look_up = |key| new.look_up(key, LookupMode::Immediate, requester());
    assert!(matches!(look_up(key).await, LookupReply::Unavailable));
    // The machine that is cut off refuses handshakes by then, and its old ones are over.
    sleep(settings(0).member_life + SECOND).await;
    assert!(matches!(look_up(fleet.key(2)).await, LookupReply::Unknown));
}

/// Its earlier process may have made the handshake, and the engine has forgotten it.
#[tokio::test(start_paused = true)]
async fn a_restarted_machine_proves_nothing_about_its_earlier_process() {
    let mut fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].restart_empty();
    fleet.stores[0].evict_records();
    let engines = vec![fleet.stores[0].engine()];
    fleet.machines[0] = FleetRegistry::start(engines, settings(0)).expect("settings in order");
    sleep(SECOND).await;
    fleet.stores[0].evict_records();
    fleet.assert_unavailable(1, key).await;
}

#[tokio::test(start_paused = true)]
async fn two_engines_that_fail_in_turn_cost_nothing() {
    let fleet = Fleet::new(2, 2).await;
    let mut byte = 0;
    for failing in [0, 1, 0, 1] {
        let before = fleet.register(0, fleet.key(byte)).await.expect("a lease");
        fleet.stores[failing].stop();
        let during = fleet
            .register(1, fleet.key(byte + 1))
            .await
            .expect("a lease");
        let started = Instant::now();
        for machine in [0, 1] {
            fleet.assert_found(machine, fleet.key(byte)).await;
            fleet.assert_found(machine, fleet.key(byte + 1)).await;
        }
        assert!(started.elapsed() < SECOND / 10, "{:?}", started.elapsed());
        fleet.assert_unavailable(1, fleet.key(250)).await;
        sleep(SECOND).await;
        fleet.stores[failing].restart_empty();
        sleep(SECOND).await;
        fleet.assert_found(1, fleet.key(byte)).await;
        drop((before, during));
        byte += 2;
    }
}

#[tokio::test(start_paused = true)]
async fn machines_that_reach_different_engines_are_not_certain() {
    let fleet = Fleet::new(2, 2).await;
    fleet.stores[0].cut(MachineId(0));
    fleet.stores[1].cut(MachineId(1));
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.assert_unavailable(1, key).await;
    // Also when each has forgotten the other: both hold a lease by the engine that they reach.
    sleep(settings(0).member_life + SECOND).await;
    let key = fleet.key(2);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.assert_unavailable(1, key).await;
    fleet.stores[0].mend(MachineId(0));
    fleet.stores[1].mend(MachineId(1));
    sleep(SECOND).await;
    fleet.assert_found(1, key).await;
    fleet.assert_unknown(1, fleet.key(3)).await;
}

#[tokio::test(start_paused = true)]
async fn without_one_of_two_engines_a_machine_finds_handshakes_and_is_certain_of_none() {
    let fleet = Fleet::new(2, 2).await;
    fleet.stores[0].stop();
    fleet.assert_unavailable(1, fleet.key(1)).await;
    let _entry = fleet.register(0, fleet.key(2)).await.expect("a lease");
    fleet.assert_found(1, fleet.key(2)).await;
    fleet.stores[0].restart_empty();
    sleep(SECOND).await;
    fleet.assert_unavailable(1, fleet.key(1)).await;
    sleep(settings(0).member_life).await;
    fleet.assert_unknown(1, fleet.key(1)).await;
}

/// The model checker found this one: a machine that has not heard of the first one yet has a
/// complete list of one engine, and one of another that has just restarted empty.
#[tokio::test(start_paused = true)]
async fn a_complete_list_of_one_engine_does_not_make_up_for_an_empty_one() {
    let fleet = Fleet::new(1, 2).await;
    fleet.stores[1].cut(MachineId(0));
    sleep(settings(0).member_life + SECOND).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].cut(MachineId(0));
    fleet.stores[0].restart_empty();
    let engines = fleet.stores.iter().map(MemoryStore::engine).collect();
    let new = FleetRegistry::start(engines, settings(9)).expect("settings in order");
    sleep(SECOND).await;
    let reply = new.look_up(key, LookupMode::Immediate, requester()).await;
    assert!(matches!(reply, LookupReply::Unavailable), "{reply:?}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_full_makes_nothing_unknown() {
    let fleet = Fleet::new(2, 1).await;
    fleet.stores[0].set_full(true);
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("its lease lasts");
    // Messages pass, so what there is is found; what there is not is not certain.
    fleet.assert_found(1, key).await;
    fleet.assert_unavailable(1, fleet.key(2)).await;
    fleet.stores[0].set_full(false);
    sleep(2 * SECOND).await;
    fleet.assert_unknown(1, fleet.key(2)).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_within_the_bound_is_ridden_out() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].stop();
    let store = fleet.stores[0].clone();
    tokio::spawn(async move {
        sleep(SECOND).await;
        store.restart_empty();
    });
    fleet.assert_found(1, key).await;
}

#[tokio::test(start_paused = true)]
async fn an_early_open_outlives_an_outage() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let early = fleet.machines[1].look_up(key, LookupMode::UntilFlushed, requester());
    let early = tokio::spawn(early);
    sleep(SECOND).await;
    fleet.stores[0].stop();
    let entry = fleet.register(0, key).await.expect("its lease lasts");
    entry.flushed();
    sleep(SECOND).await;
    assert!(!early.is_finished());
    fleet.stores[0].restart_empty();
    let reply = early.await.expect("no panic");
    assert!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
    sleep(SECOND).await;
    assert!(entry.status().opened, "the owner knows of the Open");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_outlives_an_outage_and_lost_messages() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let entry = fleet.register(0, key).await.expect("a lease");
    let id = fleet.assert_found(1, key).await;
    fleet.stores[0].set_lossy(true);
    fleet.machines[1].confirm(key.service, confirmed(key, id));
    entry.confirmed().await;
    fleet.stores[0].set_lossy(false);

    let key = fleet.key(2);
    let entry = fleet.register(0, key).await.expect("a lease");
    let id = fleet.assert_found(1, key).await;
    fleet.stores[0].stop();
    fleet.machines[1].confirm(key.service, confirmed(key, id));
    sleep(SECOND).await;
    assert!(entry.status().confirmations.is_empty());
    fleet.stores[0].restart_empty();
    entry.confirmed().await;
    sleep(SECOND).await;
    assert_eq!(
        entry.status().confirmations.len(),
        1,
        "once, however often it came"
    );
}

#[tokio::test(start_paused = true)]
async fn lost_messages_make_a_look_up_unavailable_and_never_unknown() {
    let fleet = Fleet::new(2, 1).await;
    fleet.stores[0].set_lossy(true);
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].evict_records();
    fleet.assert_unavailable(1, key).await;
    fleet.stores[0].set_lossy(false);
    fleet.assert_found(1, key).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_leaves_is_not_waited_for() {
    let fleet = Fleet::new(2, 1).await;
    fleet.machines[0].leave().await;
    sleep(SECOND).await;
    assert_eq!(
        fleet.register(0, fleet.key(1)).await.err(),
        Some(RegisterError::Isolated)
    );
    fleet.stores[0].cut(MachineId(0));
    fleet.assert_unknown(1, fleet.key(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_number_that_two_processes_use_stops_both() {
    let fleet = Fleet::new(1, 1).await;
    let engines = vec![fleet.stores[0].engine()];
    let twin = FleetRegistry::start(engines, settings(0)).expect("settings in order");
    sleep(3 * SECOND).await;
    for machine in [&fleet.machines[0], &twin] {
        assert!(machine.status().conflict);
        let refused = machine.register(fleet.key(1), keys()).await.err();
        assert_eq!(refused, Some(RegisterError::Isolated));
    }
}
