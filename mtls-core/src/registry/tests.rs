//! The contract of the registry in memory.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::{FutureExt, poll};

use super::*;
use crate::proto::binding::{Binding, Bindings, HelloHash, SideContext, SideSecrets};

mod operations;

fn key(byte: u8) -> RegistryKey {
    RegistryKey {
        service: ServiceId::default(),
        association: Association([byte; 16]),
    }
}

fn keys() -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets::from_hello(&HelloHash([0; 32])))
}

fn requester(last: u8) -> LookupRequester {
    LookupRequester {
        peer: IpAddr::from([192, 0, 2, last]),
        confirmed_before: false,
    }
}

fn confirmed(key: RegistryKey, registration: RegistrationId) -> ConfirmedSide {
    let nonce = [0; 32];
    let context = SideContext::new(
        &key.association,
        &nonce,
        Bindings::ALL,
        &nonce,
        Binding::Hello,
    );
    ConfirmedSide {
        confirmation: Confirmation {
            association: key.association,
            registration,
            binding: Binding::Hello,
            context,
        },
        peer: ([192, 0, 2, 1], 443).into(),
    }
}

async fn found(registry: &MemoryRegistry, key: RegistryKey) -> Option<Found> {
    match registry
        .look_up(key, LookupMode::Immediate, requester(1))
        .await
    {
        LookupReply::Found(found) => Some(found),
        LookupReply::Unknown => None,
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn an_open_waits_for_the_flush_and_done_does_not() {
    let registry = MemoryRegistry::default();
    let mut early = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    assert!(poll!(&mut early).is_pending());
    let entry = registry.register(key(1), keys()).await.expect("a place");
    assert!(entry.status().opened, "the early one counts");
    assert!(poll!(&mut early).is_pending(), "not flushed yet");
    assert!(found(&registry, key(1)).await.is_some());
    entry.flushed();
    assert!(matches!(early.await, LookupReply::Found(_)));
    assert_eq!(registry.waits(), 0);
}

#[tokio::test]
async fn dropping_a_look_up_gives_its_place_up() {
    let registry = MemoryRegistry::default();
    let waiting: Vec<_> = (0..4)
        .map(|_| registry.look_up(key(1), LookupMode::UntilFlushed, requester(1)))
        .collect();
    assert_eq!(registry.waits(), 4);
    let fifth = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    assert!(
        matches!(fifth.await, LookupReply::Busy),
        "one peer, one handshake"
    );
    drop(waiting);
    assert_eq!(registry.waits(), 0);
    let mut again = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    assert!(poll!(&mut again).is_pending(), "its place is free");
}

#[tokio::test]
async fn a_copied_association_is_not_registered_twice() {
    let registry = MemoryRegistry::default();
    let first = registry.register(key(1), keys()).await.expect("a place");
    let second = registry.register(key(1), keys()).await;
    assert_eq!(second.err(), Some(RegisterError::Taken));
    drop(first);
    let third = registry.register(key(1), keys()).await;
    assert_eq!(
        third.err(),
        Some(RegisterError::Taken),
        "its tombstone stands"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_answers_and_is_swept_away_by_itself() {
    let registry = MemoryRegistry::default();
    let entry = registry.register(key(1), keys()).await.expect("a place");
    drop(entry);
    assert!(found(&registry, key(1)).await.is_some());
    let secret = {
        let found = found(&registry, key(1)).await.expect("still there");
        Arc::downgrade(&found.keys)
    };
    assert!(secret.upgrade().is_some());
    tokio::time::sleep(DEFAULT_TOMBSTONE + Duration::from_secs(1)).await;
    assert!(secret.upgrade().is_none(), "without another call");
    assert_eq!(registry.handshakes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_reaches_only_the_registration_that_it_names() {
    let registry = MemoryRegistry::default();
    let old = registry.register(key(1), keys()).await.expect("a place");
    let stale = found(&registry, key(1)).await.expect("there").registration;
    drop(old);
    tokio::time::sleep(DEFAULT_TOMBSTONE + Duration::from_secs(1)).await;

    let new = registry.register(key(1), keys()).await.expect("a place");
    let service = key(1).service;
    registry.confirm(service, confirmed(key(1), stale));
    assert!(new.status().confirmations.is_empty());
    assert!(new.confirmed().now_or_never().is_none());
    let current = found(&registry, key(1)).await.expect("there").registration;
    registry.confirm(service, confirmed(key(1), current));
    assert_eq!(new.status().confirmations.len(), 1);
    new.confirmed().await;
}

#[tokio::test]
async fn a_confirmation_wakes_who_waits() {
    let registry = MemoryRegistry::default();
    let entry = registry.register(key(1), keys()).await.expect("a place");
    let registration = found(&registry, key(1)).await.expect("there").registration;
    let mut waiting = entry.confirmed();
    assert!(poll!(&mut waiting).is_pending());
    let service = key(1).service;
    registry.confirm(service, confirmed(key(1), registration));
    assert!(poll!(&mut waiting).is_ready());
}

#[tokio::test]
async fn services_do_not_see_one_another() {
    let registry = MemoryRegistry::default();
    let _entry = registry.register(key(1), keys()).await.expect("a place");
    let elsewhere = RegistryKey {
        service: ServiceId::from_name("other"),
        ..key(1)
    };
    assert!(found(&registry, elsewhere).await.is_none());
    assert!(registry.register(elsewhere, keys()).await.is_ok());
}

#[tokio::test]
async fn a_full_registry_refuses_and_forgets_nobody() {
    let limits = MemoryRegistryLimits {
        handshakes: 1,
        ..MemoryRegistryLimits::default()
    };
    let registry = MemoryRegistry::new(limits);
    let _first = registry.register(key(1), keys()).await.expect("a place");
    let second = registry.register(key(2), keys()).await;
    assert_eq!(second.err(), Some(RegisterError::Full { limit: 1 }));
    assert!(found(&registry, key(1)).await.is_some());
}

#[tokio::test]
async fn a_stranger_makes_room_for_who_has_confirmed() {
    let limits = MemoryRegistryLimits {
        waits: 2,
        ..MemoryRegistryLimits::default()
    };
    let registry = MemoryRegistry::new(limits);
    let first = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    let mut second = registry.look_up(key(2), LookupMode::UntilFlushed, requester(2));
    let known = LookupRequester {
        confirmed_before: true,
        ..requester(3)
    };
    let mut third = registry.look_up(key(3), LookupMode::UntilFlushed, known);
    assert!(
        matches!(first.await, LookupReply::Busy),
        "the oldest stranger goes"
    );
    assert!(poll!(&mut second).is_pending());
    assert!(poll!(&mut third).is_pending());
    assert_eq!(registry.waits(), 2);
}

#[tokio::test]
async fn a_full_registry_does_not_claim_that_a_handshake_is_unknown() {
    let limits = MemoryRegistryLimits {
        handshakes: 1,
        ..MemoryRegistryLimits::default()
    };
    let registry = MemoryRegistry::new(limits);
    let _first = registry.register(key(1), keys()).await.expect("a place");
    let reply = registry
        .look_up(key(2), LookupMode::Immediate, requester(1))
        .await;
    assert!(matches!(reply, LookupReply::Busy));
}

/// The handshake was turned away while the registry was full, and is asked for when it is not.
#[tokio::test(start_paused = true)]
async fn a_registry_that_was_full_does_not_claim_that_a_handshake_is_unknown() {
    let limits = MemoryRegistryLimits {
        handshakes: 1,
        ..MemoryRegistryLimits::default()
    };
    let second = Duration::from_secs(1);
    let registry = MemoryRegistry::new(limits);
    drop(registry.register(key(1), keys()).await.expect("a place"));
    tokio::time::sleep(DEFAULT_TOMBSTONE - second).await;
    let refused = registry.register(key(2), keys()).await;
    assert_eq!(refused.err(), Some(RegisterError::Full { limit: 1 }));
    tokio::time::sleep(2 * second).await;
    assert_eq!(registry.handshakes(), 0);
    let look_up = || registry.look_up(key(2), LookupMode::Immediate, requester(1));
    assert!(matches!(look_up().await, LookupReply::Busy));
    // Longer than any client waits for its verification.
    tokio::time::sleep(DEFAULT_TOMBSTONE - 2 * second).await;
    assert!(matches!(look_up().await, LookupReply::Unknown));
}

/// A machine of a fleet forgets what it may not register after all.
#[cfg(feature = "fleet")]
#[tokio::test(start_paused = true)]
async fn the_end_of_a_forgotten_registration_spares_the_next_of_its_key() {
    let registry = MemoryRegistry::default();
    let [first, next] = [RegistrationId(1), RegistrationId(2)];
    let forgotten = registry
        .register_as(key(1), keys(), first)
        .expect("a place");
    registry.forget(&key(1), first);
    let entry = registry.register_as(key(1), keys(), next).expect("a place");
    forgotten.flushed();
    let mut early = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    assert!(poll!(&mut early).is_pending(), "its flight has not left");
    drop(forgotten);
    tokio::time::sleep(DEFAULT_TOMBSTONE + Duration::from_secs(1)).await;
    assert!(found(&registry, key(1)).await.is_some());
    // Nor does the tombstone of a forgotten registration.
    drop(entry);
    registry.forget(&key(1), next);
    let _entry = registry
        .register_as(key(1), keys(), first)
        .expect("a place");
    tokio::time::sleep(DEFAULT_TOMBSTONE + Duration::from_secs(1)).await;
    assert!(found(&registry, key(1)).await.is_some());
}

#[test]
fn the_default_bounds_are_the_documented_ones() {
    let limits = MemoryRegistryLimits::default();
    assert_eq!(limits.handshakes, 1_048_576);
    assert_eq!(limits.tombstone, Duration::from_secs(10));
    assert_eq!(limits.waits, 16_384);
    assert_eq!(limits.waits_per_peer, 1_024);
    assert_eq!(limits.waits_per_handshake_and_peer, 4);
}

#[tokio::test]
async fn a_handshake_is_opened_by_a_look_up_of_its_own_only() {
    let registry = MemoryRegistry::default();
    let _other = registry.look_up(key(2), LookupMode::UntilFlushed, requester(1));
    let entry = registry.register(key(1), keys()).await.expect("a place");
    assert!(!entry.status().opened);
    let _look_up = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    assert!(entry.status().opened);
}

#[tokio::test]
async fn an_evicted_open_no_longer_counts() {
    let limits = MemoryRegistryLimits {
        waits: 1,
        ..MemoryRegistryLimits::default()
    };
    let registry = MemoryRegistry::new(limits);
    let evicted = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    let _other = registry.look_up(key(2), LookupMode::UntilFlushed, requester(2));
    assert!(matches!(evicted.await, LookupReply::Busy));
    let entry = registry.register(key(1), keys()).await.expect("a place");
    assert!(!entry.status().opened);
}

#[tokio::test]
async fn the_waits_of_one_peer_for_a_handshake_do_not_bound_another_peer() {
    let registry = MemoryRegistry::default();
    let waiting: Vec<_> = (0..4)
        .map(|_| registry.look_up(key(1), LookupMode::UntilFlushed, requester(1)))
        .collect();
    let mut other = registry.look_up(key(1), LookupMode::UntilFlushed, requester(2));
    assert!(poll!(&mut other).is_pending());
    // One of several places is given up: the others are still answered.
    drop(waiting.into_iter().next());
    assert_eq!(registry.waits(), 1);
    let entry = registry.register(key(1), keys()).await.expect("a place");
    entry.flushed();
    assert!(matches!(other.await, LookupReply::Found(_)));
}

#[tokio::test]
async fn a_flushed_handshake_is_found_without_waiting() {
    let registry = MemoryRegistry::default();
    let entry = registry.register(key(1), keys()).await.expect("a place");
    entry.flushed();
    let reply = registry.look_up(key(1), LookupMode::UntilFlushed, requester(1));
    assert!(matches!(reply.await, LookupReply::Found(_)));
    assert_eq!(registry.handshakes(), 1);
}

#[tokio::test]
async fn a_dispute_reaches_the_registration_that_it_names_and_leaves_it_registered() {
    let registry = MemoryRegistry::default();
    let entry = registry.register(key(1), keys()).await.expect("a place");
    let registration = found(&registry, key(1)).await.expect("there").registration;
    let service = key(1).service;
    let about = |registration| confirmed(key(1), registration).confirmation;
    let other = RegistrationId(registration.0 + 1);
    registry.dispute(service, about(other));
    assert!(!entry.status().disputed);
    registry.dispute(service, about(registration));
    assert!(entry.status().disputed);
    assert!(entry.status().confirmations.is_empty());
    assert!(entry.confirmed().now_or_never().is_none());
}

#[tokio::test]
async fn the_confirmations_of_a_handshake_are_bounded() {
    let registry = MemoryRegistry::default();
    let entry = registry.register(key(1), keys()).await.expect("a place");
    let registration = found(&registry, key(1)).await.expect("there").registration;
    let service = key(1).service;
    for count in 1..=MAX_CONFIRMATIONS + 1 {
        let confirmed = confirmed(key(1), registration);
        registry.confirm(service, confirmed);
        let kept = entry.status().confirmations.len();
        assert_eq!(kept, count.min(MAX_CONFIRMATIONS));
    }
}

#[tokio::test]
async fn every_change_of_a_status_changes_its_revision() {
    let registry = MemoryRegistry::default();
    let entry = registry.register(key(1), keys()).await.expect("a place");
    assert_eq!(entry.revision(), 0);
    let registration = found(&registry, key(1)).await.expect("there").registration;
    assert_eq!(entry.revision(), 1, "opened");
    let about = confirmed(key(1), registration);
    registry.dispute(key(1).service, about.confirmation);
    assert_eq!(entry.revision(), 2, "disputed");
    for count in 1..=MAX_CONFIRMATIONS {
        registry.confirm(key(1).service, about);
        assert_eq!(entry.revision(), 2 + count);
        assert_eq!(entry.revision(), entry.status().revision());
    }
}

/// A confirmed handshake is kept for slower side paths, no longer than any tombstone.
#[tokio::test(start_paused = true)]
async fn a_confirmed_handshake_is_swept_away_though_its_connection_lives() {
    let registry = MemoryRegistry::default();
    let entry = registry.register(key(1), keys()).await.expect("a place");
    let registration = found(&registry, key(1)).await.expect("there").registration;
    registry.confirm(key(1).service, confirmed(key(1), registration));
    assert!(found(&registry, key(1)).await.is_some());
    tokio::time::sleep(DEFAULT_TOMBSTONE).await;
    assert_eq!(registry.handshakes(), 0);
    assert_eq!(entry.status().confirmations.len(), 1);
}

/// Each tombstone ends at its own time.
#[tokio::test(start_paused = true)]
async fn a_later_tombstone_outlives_an_earlier_one() {
    let registry = MemoryRegistry::default();
    let first = registry.register(key(1), keys()).await.expect("a place");
    let second = registry.register(key(2), keys()).await.expect("a place");
    drop(first);
    tokio::time::sleep(DEFAULT_TOMBSTONE / 2).await;
    drop(second);
    tokio::time::sleep(DEFAULT_TOMBSTONE / 2).await;
    assert!(found(&registry, key(1)).await.is_none());
    assert!(found(&registry, key(2)).await.is_some());
    tokio::time::sleep(DEFAULT_TOMBSTONE / 2).await;
    assert!(found(&registry, key(2)).await.is_none());
    assert_eq!(registry.handshakes(), 0);
}

#[test]
fn registrations_that_are_refused_name_the_reason_and_the_remedy() {
    let full = RegisterError::Full { limit: 7 }.to_string();
    assert!(
        full.contains("7 handshakes") && full.contains("raise its limit"),
        "{full}"
    );
    let taken = RegisterError::Taken.to_string();
    assert!(taken.contains("same client random"), "{taken}");
    let unavailable = RegisterError::Unavailable.to_string();
    assert_eq!(unavailable, "the registry did not answer");
    let isolated = RegisterError::Isolated.to_string();
    assert!(
        isolated.contains("check the registry's engine"),
        "{isolated}"
    );
}

/// The table of one machine of a fleet, as the other machines see it.
#[cfg(feature = "fleet")]
mod local {
    use super::super::memory::local::Held;
    use super::*;

    fn full() -> MemoryRegistry {
        MemoryRegistry::new(MemoryRegistryLimits {
            handshakes: 1,
            ..MemoryRegistryLimits::default()
        })
    }

    #[tokio::test]
    async fn a_machine_with_room_holds_nothing_that_it_was_not_given() {
        let registry = MemoryRegistry::default();
        assert!(matches!(registry.held(&key(1)), Held::Nothing));
        let entry = registry.register(key(1), keys()).await.expect("a place");
        assert!(matches!(registry.held(&key(1)), Held::Found(_)));
        assert!(entry.status().opened, "another machine has asked for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_was_full_may_have_turned_the_handshake_away() {
        let registry = full();
        let entry = registry.register(key(1), keys()).await.expect("a place");
        assert!(registry.register(key(2), keys()).await.is_err());
        assert!(matches!(registry.held(&key(2)), Held::Full));
        drop(entry);
        tokio::time::advance(MemoryRegistryLimits::default().tombstone).await;
        assert!(matches!(registry.held(&key(2)), Held::Nothing));
    }

    #[tokio::test]
    async fn a_message_opens_the_registration_that_it_names_and_no_other() {
        let registry = MemoryRegistry::default();
        let entry = registry.register(key(1), keys()).await.expect("a place");
        let id = found(&registry, key(1)).await.expect("it").registration;
        let another = registry.register(key(2), keys()).await.expect("a place");
        registry.mark_opened(&key(2), id);
        assert!(!another.status().opened, "the id is that of the first one");
        registry.mark_opened(&key(1), id);
        assert!(entry.status().opened);
    }

    #[tokio::test(start_paused = true)]
    async fn only_handshakes_within_the_time_are_recent_with_their_state() {
        const WITHIN: Duration = Duration::from_secs(10);
        let registry = MemoryRegistry::default();
        let state = |registry: &MemoryRegistry| {
            let recent = registry.recent(WITHIN).into_iter();
            let mut all: Vec<_> = recent.map(|one| (one.key, one.confirmed)).collect();
            all.sort_unstable_by_key(|(key, _)| key.association.0);
            all
        };
        let _first = registry.register(key(1), keys()).await.expect("a place");
        tokio::time::advance(WITHIN / 2).await;
        let _second = registry.register(key(2), keys()).await.expect("a place");
        let id = found(&registry, key(2)).await.expect("it").registration;
        registry.confirm(key(2).service, confirmed(key(2), id));
        assert_eq!(state(&registry), [(key(1), false), (key(2), true)]);
        tokio::time::advance(WITHIN / 2).await;
        assert_eq!(state(&registry), [(key(2), true)], "the first has the age");
        tokio::time::advance(WITHIN / 2).await;
        assert_eq!(state(&registry), []);
    }
}
