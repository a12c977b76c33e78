//! The tasks of one machine: heartbeats, and messages of the other machines.

use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::engine::{Engine, EngineEvent};
use super::message::{Body, Holds, Message};
use super::meter::Metered;
use super::shared::{Counts, Shared};
use crate::registry::memory::local::{Held, Recent};
use crate::registry::{PendingRegistry, RegistryKey};

/// Records that are written again at a time after a reconnection.
const REWRITES: usize = 64;

/// Spawns the tasks for each engine. They end when the registry is dropped.
pub(super) fn start<E: Engine>(shared: &Arc<Shared<E>>) {
    for at in &shared.engines {
        let (sender, events) = mpsc::channel(shared.settings.max_messages);
        at.engine.start(shared.settings.machine, sender);
        tokio::spawn(handle_events(
            Arc::downgrade(shared),
            Arc::clone(at),
            events,
        ));
        tokio::spawn(send_heartbeats(Arc::downgrade(shared), Arc::clone(at)));
    }
}

async fn handle_events<E: Engine>(
    shared: Weak<Shared<E>>,
    at: Arc<Metered<E>>,
    mut events: mpsc::Receiver<EngineEvent>,
) {
    let Some(mut alive) = shared.upgrade().map(|shared| shared.connected.subscribe()) else {
        return;
    };
    let mut rewriting = JoinSet::new();
    // The registry is held only while an event is handled.
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            change = alive.changed() => match change {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let (Some(event), Some(shared)) = (event, shared.upgrade()) else {
            return;
        };
        match event {
            EngineEvent::Connected => {
                // An earlier one ends: this one writes everything again.
                rewriting.shutdown().await;
                rewriting.spawn(reconnect(shared, Arc::clone(&at)));
            }
            EngineEvent::Message(sealed) => handle_sealed(&shared, &sealed),
        }
    }
}

async fn send_heartbeats<E: Engine>(shared: Weak<Shared<E>>, at: Arc<Metered<E>>) {
    let Some(period) = shared.upgrade().map(|shared| shared.settings.heartbeat) else {
        return;
    };
    let mut beats = interval(period);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if at.engine.connected() {
            let _ = shared.beat(&at).await;
        }
    }
}

/// After a connection the engine may be empty: this machine joins, writes its records again, reads
/// what was kept for it, and lets its look-ups ask again.
async fn reconnect<E: Engine>(shared: Arc<Shared<E>>, at: Arc<Metered<E>>) {
    let _ = shared.beat(&at).await;
    shared.connected.send_replace(());
    let recent = shared.local.recent(shared.settings.record_life);
    tracing::debug!(records = recent.len(), "engine connected");
    stream::iter(recent)
        .for_each_concurrent(REWRITES, |recent| rewrite(&shared, &at, recent))
        .await;
}

async fn rewrite<E: Engine>(shared: &Arc<Shared<E>>, at: &Metered<E>, recent: Recent) {
    let Recent {
        key,
        found,
        flushed,
        confirmed,
    } = recent;
    let Some(record) = shared.seal_record(&key, &found) else {
        return;
    };
    let life = shared.settings.record_life;
    let Ok(mut put) = at.run(at.engine.put(key, record.clone(), life)).await else {
        return;
    };
    let id = found.registration;
    let reserved = |record| shared.reserved_by(&key, record) == Some(id);
    if put.existing.as_deref().is_some_and(reserved)
        && let Ok(waiting) = at.run(at.engine.replace(key, record, life)).await
    {
        put.waiting = waiting;
    }
    if !put.waiting.is_empty() {
        shared.local.mark_opened(&key, found.registration);
    }
    // Before the flush, a machine that waits finds the record when it asks.
    if flushed {
        for machine in put.waiting {
            shared.notify(machine, Body::Flushed(key, found.clone()));
        }
    }
    if !confirmed {
        read_kept(shared, key).await;
    }
}

/// Reads the confirmations that were kept for a handshake of this machine.
pub(super) async fn read_kept<E: Engine>(shared: &Arc<Shared<E>>, key: RegistryKey) {
    for at in shared.reachable() {
        let kept = at.run(at.engine.kept(key)).await.unwrap_or_default();
        for sealed in kept {
            handle_sealed(shared, &sealed);
        }
    }
}

fn handle_sealed<E: Engine>(shared: &Arc<Shared<E>>, sealed: &[u8]) {
    let me = shared.settings.machine;
    match Message::open(&shared.settings.keys, me, sealed) {
        Some(message) if message.from != me => handle(shared, message),
        Some(_) => {}
        None => {
            Counts::add(&shared.counts.not_sealed);
            tracing::debug!("message that no key of the fleet opens");
        }
    }
}

fn handle<E: Engine>(shared: &Arc<Shared<E>>, message: Message) {
    let Message { from, body } = message;
    match body {
        Body::Who(question, key) => {
            shared.hear(from);
            let holds = match shared.local.held(&key) {
                Held::Found(found) => Holds::Found(found),
                Held::Full => Holds::Full,
                Held::Nothing => Holds::Nothing,
            };
            shared.notify(from, Body::Answer(question, holds));
        }
        Body::Answer(question, holds) => shared.polls().answer(&question, from, holds),
        Body::Flushed(key, found) => shared.local.deliver(&key, &found),
        Body::Opened(key, id) => shared.local.mark_opened(&key, id),
        Body::Confirmed(service, side) => {
            let key = RegistryKey {
                service,
                association: side.confirmation.association,
            };
            // It comes by each engine, and is kept besides.
            if !shared.local.has_confirmation(&key, &side) {
                shared.local.confirm(service, side);
            }
        }
        Body::Disputed(service, dispute) => shared.local.dispute(service, dispute),
        Body::Left(incarnation) => shared.members().handle_left(from, incarnation),
    }
}
