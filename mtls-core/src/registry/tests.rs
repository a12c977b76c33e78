//! What the registry in memory promises.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::{FutureExt, poll};

use super::*;
use crate::proto::binding::{Binding, Bindings, HelloHash, SideContext, SideSecrets};

fn key(byte: u8) -> RegistryKey {
    RegistryKey {
        service: ServiceId::default(),
        association: Association([byte; 16]),
    }
}

fn keys() -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets::from_hello(&HelloHash([0; 32])))
}

fn asker(last: u8) -> Asker {
    Asker {
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
    match registry.look_up(key, Patience::AtOnce, asker(1)).await {
        LookupReply::Found(found) => Some(found),
        LookupReply::Unknown => None,
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn an_open_waits_for_the_flush_and_done_does_not() {
    let registry = MemoryRegistry::default();
    let mut early = registry.look_up(key(1), Patience::UntilFlushed, asker(1));
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
        .map(|_| registry.look_up(key(1), Patience::UntilFlushed, asker(1)))
        .collect();
    assert_eq!(registry.waits(), 4);
    let fifth = registry.look_up(key(1), Patience::UntilFlushed, asker(1));
    assert!(
        matches!(fifth.await, LookupReply::Busy),
        "one peer, one handshake"
    );
    drop(waiting);
    assert_eq!(registry.waits(), 0);
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
    registry.confirm(service, confirmed(key(1), stale)).await;
    assert!(new.status().confirmations.is_empty());
    assert!(new.confirmed().now_or_never().is_none());
    let current = found(&registry, key(1)).await.expect("there").registration;
    registry.confirm(service, confirmed(key(1), current)).await;
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
    registry
        .confirm(service, confirmed(key(1), registration))
        .await;
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
    let first = registry.look_up(key(1), Patience::UntilFlushed, asker(1));
    let mut second = registry.look_up(key(2), Patience::UntilFlushed, asker(2));
    let known = Asker {
        confirmed_before: true,
        ..asker(3)
    };
    let mut third = registry.look_up(key(3), Patience::UntilFlushed, known);
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
    let reply = registry.look_up(key(2), Patience::AtOnce, asker(1)).await;
    assert!(matches!(reply, LookupReply::Busy));
}
