//! The contract of [`PendingRegistry`] as checks, for tests of implementations.
//!
//! ```
//! use std::sync::Arc;
//!
//! use mtls_core::registry::MemoryRegistry;
//! use mtls_core::registry::contract::{Machines, check};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! check(async || {
//!     // In memory, the two machines of the service are one.
//!     let registry = Arc::new(MemoryRegistry::default());
//!     Machines::new(registry.clone(), registry)
//! })
//! .await;
//! # }
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, poll};
use tokio::time::{sleep, timeout};

use super::{
    ConfirmedSide, Found, LookupReply, LookupRequester, MAX_CONFIRMATIONS, PendingRegistry,
    RegisterError, Registration, RegistryKey, Reservation, ServiceId,
};
use crate::proto::binding::{Association, Binding, Bindings, SideContext, SideSecret, SideSecrets};
use crate::proto::server::{Confirmation, HandshakeKeys, LookupMode, RegistrationId};

/// Two machines of one service.
#[derive(Clone, Debug)]
pub struct Machines {
    here: Arc<dyn PendingRegistry>,
    there: Arc<dyn PendingRegistry>,
}

impl Machines {
    /// The machine that makes the handshakes, and the one that side connections reach.
    pub fn new(here: Arc<dyn PendingRegistry>, there: Arc<dyn PendingRegistry>) -> Self {
        Self { here, there }
    }
}

/// Runs every check on new machines.
///
/// # Panics
/// A violation of the registry's contract; the message begins with the name of the check.
pub async fn check(mut machines: impl AsyncFnMut() -> Machines) {
    for (name, check) in CHECKS {
        let machines = machines().await;
        let outcome = timeout(LONG, check(machines)).await;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => panic!("{name}: {broken}"),
            Err(_) => panic!("{name}: not over after {LONG:?}"),
        }
    }
}

/// More than a check takes.
const LONG: Duration = Duration::from_secs(60);

type Check = fn(Machines) -> BoxFuture<'static, Result<(), String>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        const CHECKS: &[(&str, Check)] = &[$((stringify!($name), |machines| $name(machines).boxed())),*];
    };
}

checks![
    a_registered_handshake_is_found_with_its_secrets,
    a_handshake_of_an_older_version_is_found_as_such,
    a_handshake_that_no_machine_holds_is_unknown_after_done,
    an_open_waits_for_the_flush,
    an_open_after_the_flush_is_answered,
    dropped_look_ups_hold_no_waiting_places,
    an_association_is_registered_once,
    a_reserved_handshake_is_found_after_its_registration,
    a_reserved_association_is_registered_once,
    a_reservation_that_is_given_up_is_not_found,
    a_dropped_registration_leaves_a_tombstone,
    a_dropped_register_answers_nothing_wrong,
    a_look_up_marks_its_own_handshake_as_opened,
    a_confirmation_reaches_the_registration_that_it_names,
    a_confirmation_of_another_registration_is_ignored,
    a_dispute_reaches_the_registration_that_it_names,
    confirmations_are_bounded,
    services_do_not_see_one_another,
];

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

async fn a_registered_handshake_is_found_with_its_secrets(m: Machines) -> Result<(), String> {
    let _entry = m.register(key(1), keys()).await?;
    let found = m.found(key(1)).await?;
    let HandshakeKeys::Tls13(secrets) = &*found.keys else {
        return Err("the keys of another version".to_owned());
    };
    let context = context(key(1));
    for binding in [Binding::Exporter, Binding::Hello] {
        let (HandshakeKeys::Tls13(mine), found) = (keys(), secrets.values(binding, &context))
        else {
            return Err("no keys".to_owned());
        };
        ensure!(
            found == mine.values(binding, &context),
            "other values for {binding}"
        );
    }
    Ok(())
}

async fn a_handshake_of_an_older_version_is_found_as_such(m: Machines) -> Result<(), String> {
    let _entry = m.register(key(1), HandshakeKeys::Older).await?;
    let found = m.found(key(1)).await?;
    ensure!(
        matches!(*found.keys, HandshakeKeys::Older),
        "the keys of TLS 1.3"
    );
    Ok(())
}

async fn a_handshake_that_no_machine_holds_is_unknown_after_done(
    m: Machines,
) -> Result<(), String> {
    let _other = m.register(key(2), keys()).await?;
    let reply = m
        .there
        .look_up(key(1), LookupMode::Immediate, requester())
        .await;
    ensure!(matches!(reply, LookupReply::Unknown), "{reply:?}");
    Ok(())
}

async fn an_open_waits_for_the_flush(m: Machines) -> Result<(), String> {
    let mut early = m
        .there
        .look_up(key(1), LookupMode::UntilFlushed, requester());
    ensure!(
        m.is_pending(&mut early).await,
        "answered before it was registered"
    );
    let entry = m.register(key(1), keys()).await?;
    eventually("the early Open counts", || entry.status().opened).await?;
    entry.flushed();
    let reply = early.await;
    ensure!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
    Ok(())
}

async fn an_open_after_the_flush_is_answered(m: Machines) -> Result<(), String> {
    let entry = m.register(key(1), keys()).await?;
    entry.flushed();
    let reply = m
        .there
        .look_up(key(1), LookupMode::UntilFlushed, requester())
        .await;
    ensure!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
    Ok(())
}

async fn dropped_look_ups_hold_no_waiting_places(m: Machines) -> Result<(), String> {
    for _ in 0..100 {
        let mut dropped = m
            .there
            .look_up(key(1), LookupMode::UntilFlushed, requester());
        ensure!(
            poll!(&mut dropped).is_pending(),
            "answered before it was registered"
        );
    }
    let mut waiting = m
        .there
        .look_up(key(1), LookupMode::UntilFlushed, requester());
    ensure!(
        m.is_pending(&mut waiting).await,
        "no place after others were given up"
    );
    let entry = m.register(key(1), keys()).await?;
    entry.flushed();
    let reply = waiting.await;
    ensure!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
    Ok(())
}

async fn an_association_is_registered_once(m: Machines) -> Result<(), String> {
    let _entry = m.register(key(1), keys()).await?;
    for machine in [&m.here, &m.there] {
        let second = machine.register(key(1), keys()).await.err();
        ensure!(second == Some(RegisterError::Taken), "{second:?}");
    }
    m.found(key(1)).await?;
    Ok(())
}

async fn a_reserved_handshake_is_found_after_its_registration(m: Machines) -> Result<(), String> {
    let mut early = m
        .there
        .look_up(key(1), LookupMode::UntilFlushed, requester());
    let reservation = m.here.reserve(key(1));
    ensure!(m.is_pending(&mut early).await, "answered without keys");
    let entry = m.register_reserved(reservation, key(1)).await?;
    ensure!(
        m.is_pending(&mut early).await,
        "answered before it was flushed"
    );
    entry.flushed();
    let reply = early.await;
    ensure!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
    m.found(key(1)).await?;
    Ok(())
}

async fn a_reserved_association_is_registered_once(m: Machines) -> Result<(), String> {
    let reservation = m.here.reserve(key(1));
    sleep(SHORT).await;
    let entry = m.register_reserved(reservation, key(1)).await?;
    for machine in [&m.here, &m.there] {
        let second = match machine.reserve(key(1)) {
            Some(second) => second.register(keys()).await.err(),
            None => machine.register(key(1), keys()).await.err(),
        };
        ensure!(second == Some(RegisterError::Taken), "{second:?}");
    }
    entry.flushed();
    m.found(key(1)).await?;
    Ok(())
}

async fn a_reservation_that_is_given_up_is_not_found(m: Machines) -> Result<(), String> {
    drop(m.here.reserve(key(1)));
    drop({
        let reservation = m.here.reserve(key(2));
        sleep(SHORT).await;
        reservation
    });
    for number in [1, 2] {
        let reply = m
            .there
            .look_up(key(number), LookupMode::Immediate, requester())
            .await;
        ensure!(matches!(reply, LookupReply::Unknown), "{number}: {reply:?}");
    }
    Ok(())
}

async fn a_dropped_registration_leaves_a_tombstone(m: Machines) -> Result<(), String> {
    let entry = m.register(key(1), keys()).await?;
    entry.flushed();
    drop(entry);
    m.found(key(1)).await?;
    let second = m.here.register(key(1), keys()).await.err();
    ensure!(second == Some(RegisterError::Taken), "{second:?}");
    Ok(())
}

async fn a_dropped_register_answers_nothing_wrong(m: Machines) -> Result<(), String> {
    {
        let mut dropped = m.here.register(key(1), keys());
        let _ = poll!(&mut dropped);
    }
    let reply = m
        .there
        .look_up(key(1), LookupMode::Immediate, requester())
        .await;
    ensure!(
        matches!(reply, LookupReply::Found(_) | LookupReply::Unknown),
        "{reply:?}"
    );
    let other = m.register(key(2), keys()).await?;
    other.flushed();
    m.found(key(2)).await?;
    Ok(())
}

async fn a_look_up_marks_its_own_handshake_as_opened(m: Machines) -> Result<(), String> {
    let entry = m.register(key(1), keys()).await?;
    let other = m.register(key(2), keys()).await?;
    entry.flushed();
    other.flushed();
    m.there
        .look_up(key(1), LookupMode::UntilFlushed, requester())
        .await;
    eventually("the handshake counts as opened", || entry.status().opened).await?;
    ensure!(!other.status().opened, "another handshake counts as opened");
    Ok(())
}

async fn a_confirmation_reaches_the_registration_that_it_names(m: Machines) -> Result<(), String> {
    let entry = m.register(key(1), keys()).await?;
    entry.flushed();
    let mut waiting = entry.confirmed();
    ensure!(
        poll!(&mut waiting).is_pending(),
        "confirmed without a confirmation"
    );
    let side = confirmed(key(1), m.found(key(1)).await?.registration);
    m.there.confirm(key(1).service, side);
    waiting.await;
    ensure!(
        entry.status().confirmations == [side],
        "{:?}",
        entry.status()
    );
    entry.confirmed().await;
    Ok(())
}

async fn a_confirmation_of_another_registration_is_ignored(m: Machines) -> Result<(), String> {
    let entry = m.register(key(1), keys()).await?;
    let id = m.found(key(1)).await?.registration;
    let stale = confirmed(key(1), RegistrationId(id.0 ^ 1));
    m.there.confirm(key(1).service, stale);
    m.there.dispute(key(1).service, stale.confirmation);
    let other_service = ServiceId::from_name("another");
    m.there.confirm(other_service, confirmed(key(1), id));
    // A later message overtakes none: its arrival shows that the others had time to arrive.
    m.there.confirm(key(1).service, confirmed(key(1), id));
    entry.confirmed().await;
    let status = entry.status();
    ensure!(
        status.confirmations.len() == 1 && !status.disputed,
        "{status:?}"
    );
    Ok(())
}

async fn a_dispute_reaches_the_registration_that_it_names(m: Machines) -> Result<(), String> {
    let entry = m.register(key(1), keys()).await?;
    let id = m.found(key(1)).await?.registration;
    m.there
        .dispute(key(1).service, confirmed(key(1), id).confirmation);
    eventually("the dispute arrives", || entry.status().disputed).await?;
    ensure!(
        entry.confirmed().now_or_never().is_none(),
        "a dispute confirms"
    );
    m.found(key(1)).await?;
    Ok(())
}

async fn confirmations_are_bounded(m: Machines) -> Result<(), String> {
    let entry = m.register(key(1), keys()).await?;
    let id = m.found(key(1)).await?.registration;
    for port in 1..=2 * MAX_CONFIRMATIONS {
        let mut side = confirmed(key(1), id);
        side.peer.set_port(u16::try_from(port).unwrap_or_default());
        m.there.confirm(key(1).service, side);
    }
    let full = || entry.status().confirmations.len() == MAX_CONFIRMATIONS;
    eventually("as many confirmations as are kept", full).await?;
    sleep(SHORT).await;
    ensure!(
        full(),
        "{} confirmations",
        entry.status().confirmations.len()
    );
    Ok(())
}

async fn services_do_not_see_one_another(m: Machines) -> Result<(), String> {
    let _entry = m.register(key(1), keys()).await?;
    let elsewhere = RegistryKey {
        service: ServiceId::from_name("another"),
        ..key(1)
    };
    let reply = m
        .there
        .look_up(elsewhere, LookupMode::Immediate, requester())
        .await;
    ensure!(matches!(reply, LookupReply::Unknown), "{reply:?}");
    m.register(elsewhere, keys()).await?;
    Ok(())
}

impl Machines {
    async fn register(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
    ) -> Result<Box<dyn Registration>, String> {
        let registered = self.here.register(key, keys).await;
        registered.map_err(|error| format!("not registered: {error}"))
    }

    /// Registers as a server does: by the reservation, if there is one.
    async fn register_reserved(
        &self,
        reservation: Option<Box<dyn Reservation>>,
        key: RegistryKey,
    ) -> Result<Box<dyn Registration>, String> {
        match reservation {
            Some(reservation) => reservation
                .register(keys())
                .await
                .map_err(|error| format!("not registered: {error}")),
            None => self.register(key, keys()).await,
        }
    }

    async fn found(&self, key: RegistryKey) -> Result<Found, String> {
        match self
            .there
            .look_up(key, LookupMode::Immediate, requester())
            .await
        {
            LookupReply::Found(found) => Ok(found),
            other => Err(format!("expected the handshake, got {other:?}")),
        }
    }

    /// Has a look-up no answer, when its question has had time to reach a store?
    async fn is_pending(&self, look_up: &mut BoxFuture<'static, LookupReply>) -> bool {
        timeout(SHORT, look_up).await.is_err()
    }
}

/// Enough for a store on this host.
const SHORT: Duration = Duration::from_millis(100);

async fn eventually(what: &str, holds: impl Fn() -> bool) -> Result<(), String> {
    for _ in 0..2_000 {
        if holds() {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Err(format!("expected that {what}"))
}

fn key(byte: u8) -> RegistryKey {
    RegistryKey {
        service: ServiceId::default(),
        association: Association([byte; 16]),
    }
}

fn keys() -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(SideSecret::new([1; 32])),
        hello: Some(SideSecret::new([2; 32])),
    })
}

fn requester() -> LookupRequester {
    LookupRequester::new(IpAddr::from([192, 0, 2, 1]), false)
}

fn context(key: RegistryKey) -> SideContext {
    let nonce = [0; 32];
    SideContext::new(
        &key.association,
        &nonce,
        Bindings::ALL,
        &nonce,
        Binding::Hello,
    )
}

fn confirmed(key: RegistryKey, registration: RegistrationId) -> ConfirmedSide {
    let confirmation = Confirmation {
        association: key.association,
        registration,
        binding: Binding::Hello,
        context: context(key),
    };
    ConfirmedSide::new(confirmation, ([192, 0, 2, 1], 443).into())
}
