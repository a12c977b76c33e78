//! Handshakes that are reserved before their keys exist.

use std::time::Duration;

use mtls_core::proto::server::LookupMode;
use mtls_core::registry::fleet::MachineId;
use mtls_core::registry::{LookupReply, PendingRegistry, RegisterError, RegistryKey, Reservation};
use tokio::time::{sleep, timeout};

use crate::world::{Fleet, SECRET, keys, requester, settings};

const SECOND: Duration = Duration::from_secs(1);

/// A reservation that the engines have taken.
async fn reserve(fleet: &Fleet, machine: usize, key: RegistryKey) -> Box<dyn Reservation> {
    let reservation = fleet.machines[machine].reserve(key).expect("a lease");
    sleep(SECOND / 100).await;
    reservation
}

#[tokio::test(start_paused = true)]
async fn a_reserved_handshake_is_found_when_it_has_its_keys() {
    for engines in [1, 2] {
        let fleet = Fleet::new(2, engines).await;
        let key = fleet.key(1);
        let reservation = reserve(&fleet, 0, key).await;
        for store in &fleet.stores {
            assert_eq!(store.contents().len(), 1);
        }
        let there = &fleet.machines[1];
        let mut open = there.look_up(key, LookupMode::UntilFlushed, requester());
        assert!(timeout(SECOND, &mut open).await.is_err());
        let entry = reservation.register(keys()).await.expect("a lease");
        assert!(timeout(SECOND, &mut open).await.is_err(), "not flushed");
        assert!(entry.status().opened);
        entry.flushed();
        let reply = timeout(SECOND, open).await.expect("an answer");
        assert!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
        assert_eq!(there.status().polls, 0);
    }
}

/// The secrets reach the engines while the server's flight leaves.
#[tokio::test(start_paused = true)]
async fn a_look_up_between_the_flush_and_the_secrets_asks_the_machines() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let reservation = reserve(&fleet, 0, key).await;
    fleet.stores[0].set_full(true);
    let entry = reservation.register(keys()).await.expect("a lease");
    entry.flushed();
    sleep(SECOND).await;
    fleet.assert_found(1, key).await;
    assert_eq!(fleet.machines[1].status().polls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_takes_the_association_on_every_machine() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let first = reserve(&fleet, 0, key).await;
    for machine in [0, 1] {
        let second = reserve(&fleet, machine, key).await;
        let refused = second.register(keys()).await.err();
        assert_eq!(refused, Some(RegisterError::Taken), "machine {machine}");
        let refused = fleet.machines[machine].register(key, keys()).await.err();
        assert_eq!(refused, Some(RegisterError::Taken), "machine {machine}");
    }
    let entry = first.register(keys()).await.expect("the first");
    entry.flushed();
    fleet.assert_found(1, key).await;
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_is_given_up_is_unknown_and_expires() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    drop(reserve(&fleet, 0, key).await);
    for machine in [0, 1] {
        fleet.assert_unknown(machine, key).await;
    }
    sleep(settings(0).record_life).await;
    let _entry = fleet.register(1, key).await.expect("free again");
}

#[tokio::test(start_paused = true)]
async fn a_reservation_without_secrets_is_replaced_after_a_reconnection() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let reservation = reserve(&fleet, 0, key).await;
    fleet.stores[0].cut(MachineId(0));
    let entry = reservation.register(keys()).await.expect("a lease");
    entry.flushed();
    sleep(SECOND).await;
    fleet.stores[0].mend(MachineId(0));
    sleep(SECOND).await;
    fleet.assert_found(1, key).await;
    assert_eq!(fleet.machines[1].status().polls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_its_lease_reserves_and_registers_nothing() {
    let fleet = Fleet::new(2, 1).await;
    let reservation = reserve(&fleet, 0, fleet.key(1)).await;
    fleet.stores[0].stop();
    sleep(settings(0).lease).await;
    assert!(fleet.machines[0].reserve(fleet.key(2)).is_none());
    let refused = reservation.register(keys()).await.err();
    assert_eq!(refused, Some(RegisterError::Isolated));
}

#[tokio::test(start_paused = true)]
async fn engines_see_no_secret_of_a_reservation() {
    let fleet = Fleet::new(2, 1).await;
    let reservation = reserve(&fleet, 0, fleet.key(1)).await;
    let reserved = fleet.stores[0].contents();
    let _entry = reservation.register(keys()).await.expect("a lease");
    sleep(SECOND).await;
    let registered = fleet.stores[0].contents();
    assert!(reserved[0].len() < SECRET.len() + registered[0].len() - 2 * SECRET.len());
    for record in reserved.iter().chain(&registered) {
        assert!(!record.windows(SECRET.len()).any(|bytes| bytes == SECRET));
    }
}
