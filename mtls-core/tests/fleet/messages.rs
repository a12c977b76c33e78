//! The engine sees no secret, and an attacker who writes to it can only deny service.

use std::time::Duration;

use mtls_core::proto::server::LookupMode;
use mtls_core::registry::fleet::{
    Engine, FleetError, FleetKeys, FleetRegistry, FleetSettings, MAX_KEPT, MachineId,
};
use mtls_core::registry::{LookupReply, MemoryRegistryLimits, PendingRegistry};
use tokio::time::sleep;

use crate::world::{Fleet, SECRET, confirmed, keys, requester, settings};

#[tokio::test(start_paused = true)]
async fn the_engine_sees_no_secret() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    let id = fleet.assert_found(1, key).await;
    fleet.machines[1].confirm(key.service, confirmed(key, id));
    sleep(Duration::from_secs(1)).await;
    let contents = fleet.stores[0].contents();
    assert_eq!(contents.len(), 2, "a record and a confirmation");
    for bytes in contents {
        assert!(!bytes.windows(8).any(|window| window == &SECRET[..8]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_planted_record_answers_nothing() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].poison_records();
    let found = fleet.assert_found(1, key).await;
    assert_eq!(found, fleet.assert_found(0, key).await, "the owner's own");
    assert!(fleet.machines[1].status().not_sealed > 0);
    // In the way of a handshake, it does not pass for a copied random.
    let other = fleet.key(2);
    let store = fleet.stores[0].engine();
    let stranger = FleetRegistry::start(vec![store], stranger(9)).expect("settings in order");
    sleep(settings(0).member_life).await;
    let _planted = stranger.register(other, keys()).await;
    let _entry = fleet
        .register(0, other)
        .await
        .expect("the record is not the fleet's");
    fleet.assert_found(0, other).await;
}

/// A fleet of the same engine and name whose key is another.
fn stranger(machine: u16) -> FleetSettings {
    let keys = FleetKeys::new(&[8; FleetKeys::KEY_LEN]);
    FleetSettings::new(MachineId(machine), keys)
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_stranger_confirms_nothing() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let entry = fleet.register(0, key).await.expect("a lease");
    let id = fleet.assert_found(1, key).await;
    let engines = vec![fleet.stores[0].engine()];
    let stranger = FleetRegistry::start(engines, stranger(9)).expect("settings in order");
    sleep(Duration::from_secs(1)).await;
    stranger.confirm(key.service, confirmed(key, id));
    sleep(Duration::from_secs(1)).await;
    assert!(entry.status().confirmations.is_empty());
    // The same message of a machine of the fleet does.
    fleet.machines[1].confirm(key.service, confirmed(key, id));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(entry.status().confirmations.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_table_of_any_machine_is_busy_and_not_unknown() {
    let fleet = Fleet::with(2, 1, |settings| {
        let mut limits = MemoryRegistryLimits::default();
        limits.handshakes = 1;
        settings.limits = limits;
    })
    .await;
    let _entry = fleet.register(0, fleet.key(1)).await.expect("a lease");
    assert!(fleet.register(0, fleet.key(2)).await.is_err());
    for machine in [0, 1] {
        let reply = fleet.look_up(machine, fleet.key(2)).await;
        assert!(matches!(reply, LookupReply::Busy), "{machine}: {reply:?}");
    }
}

/// The handshake was turned away while the table was full, and is asked for when it is not.
#[tokio::test(start_paused = true)]
async fn a_table_of_any_machine_that_was_full_is_busy_and_not_unknown() {
    let fleet = Fleet::with(2, 1, |settings| {
        let mut limits = MemoryRegistryLimits::default();
        limits.handshakes = 1;
        settings.limits = limits;
    })
    .await;
    let tombstone = MemoryRegistryLimits::default().tombstone;
    let second = Duration::from_secs(1);
    drop(fleet.register(0, fleet.key(1)).await.expect("a lease"));
    sleep(tombstone - second).await;
    assert!(fleet.register(0, fleet.key(2)).await.is_err());
    sleep(2 * second).await;
    for machine in [0, 1] {
        let reply = fleet.look_up(machine, fleet.key(2)).await;
        assert!(matches!(reply, LookupReply::Busy), "{machine}: {reply:?}");
    }
    sleep(tombstone).await;
    for machine in [0, 1] {
        fleet.assert_unknown(machine, fleet.key(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_about_a_handshake_is_bounded() {
    let fleet = Fleet::new(1, 1).await;
    let engine = fleet.stores[0].engine();
    let (sender, _events) = tokio::sync::mpsc::channel(8);
    engine.start(MachineId(9), sender);
    for _ in 0..2 * MAX_KEPT {
        let life = Duration::from_secs(9);
        let kept = engine.keep(fleet.key(1), vec![1], life).await;
        kept.expect("connected");
    }
    let kept = engine.kept(fleet.key(1)).await.expect("connected");
    assert_eq!(kept.len(), MAX_KEPT);
    assert_eq!(fleet.stores[0].contents().len(), MAX_KEPT);
}

/// A side connection of another machine asks, and one of this machine.
#[tokio::test(start_paused = true)]
async fn every_change_of_a_status_changes_its_revision() {
    let fleet = Fleet::new(2, 1).await;
    for machine in [0, 1] {
        let key = fleet.key(machine as u8);
        let entry = fleet.register(0, key).await.expect("a lease");
        assert_eq!(entry.revision(), 0);
        let id = fleet.assert_found(machine, key).await;
        sleep(Duration::from_secs(1)).await;
        assert!(entry.status().opened);
        assert_eq!(entry.revision(), 1, "machine {machine}");
        fleet.machines[machine].confirm(key.service, confirmed(key, id));
        entry.confirmed().await;
        assert_eq!(entry.revision(), 2, "machine {machine}");
    }
    // Found by asking all machines: the engine has lost the record.
    let key = fleet.key(9);
    let entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].evict_records();
    fleet.assert_found(1, key).await;
    assert_eq!(entry.revision(), 1);
}

#[tokio::test(start_paused = true)]
async fn questions_to_all_machines_are_bounded() {
    let fleet = Fleet::with(2, 1, |settings| settings.max_polls = 2).await;
    fleet.stores[0].set_lossy(true);
    let machine = &fleet.machines[1];
    let ask = |byte| machine.look_up(fleet.key(byte), LookupMode::Immediate, requester());
    let replies = futures_util::future::join_all((0..5).map(ask)).await;
    let busy = |reply: &&LookupReply| matches!(reply, LookupReply::Busy);
    assert_eq!(replies.iter().filter(busy).count(), 3, "{replies:?}");
}

#[tokio::test(start_paused = true)]
async fn the_registry_ends_its_tasks_with_its_last_clone() {
    let fleet = Fleet::new(2, 1).await;
    let Fleet { stores, machines } = fleet;
    drop(machines);
    sleep(settings(0).member_life + Duration::from_secs(1)).await;
    let engine = stores[0].engine();
    let (sender, _events) = tokio::sync::mpsc::channel(8);
    engine.start(MachineId(9), sender);
    let beat = mtls_core::registry::fleet::Beat {
        incarnation: 1,
        count: 1,
    };
    let life = Duration::from_secs(1);
    let membership = engine
        .join(MachineId(9), beat, life)
        .await
        .expect("connected");
    assert_eq!(membership.members.len(), 1, "no other heartbeats");
}

#[test]
fn settings_out_of_order_are_refused() {
    let mut long = settings(0);
    long.lease = long.member_life;
    let started = FleetRegistry::start(
        vec![mtls_core::registry::fleet::double::MemoryStore::default().engine()],
        long,
    );
    assert!(matches!(
        started.err(),
        Some(FleetError::TooLong { name: "lease", .. })
    ));
}
