//! Handshakes that side connections of this machine ask for.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::engine::{Engine, MachineId};
use super::message::{Body, Holds, QuestionId, Record, open_record};
use super::polls::Poll;
use super::shared::{Counts, Shared, owner_of};
use crate::registry::{Found, LookupReply, RegistryKey};

type Local = BoxFuture<'static, LookupReply>;

/// After an Open: waits for the flush, here or on another machine.
pub(super) async fn wait_until_flushed<E: Engine>(
    shared: Arc<Shared<E>>,
    key: RegistryKey,
    mut local: Local,
) -> LookupReply {
    if let Some(reply) = (&mut local).now_or_never() {
        return reply;
    }
    let mut connected = shared.connected.subscribe();
    loop {
        tokio::select! {
            reply = &mut local => return reply,
            found = shared.ask(key) => if let Some(found) = found {
                return LookupReply::Found(found);
            },
        }
        // The owner sends the record after its flush. An engine that comes back has forgotten that
        // this machine waits.
        tokio::select! {
            reply = &mut local => return reply,
            _ = connected.changed() => {}
        }
    }
}

/// After a Done: the handshake is registered somewhere, or nowhere.
pub(super) async fn look_up_now<E: Engine>(
    shared: Arc<Shared<E>>,
    key: RegistryKey,
    local: Local,
) -> LookupReply {
    let local = local.await;
    if matches!(local, LookupReply::Found(_)) {
        return local;
    }
    if let Some(found) = shared.ask(key).await {
        return LookupReply::Found(found);
    }
    match shared.poll_until_certain(key).await {
        // This machine itself may have turned the handshake away.
        LookupReply::Unknown => local,
        reply => reply,
    }
}

impl<E: Engine> Shared<E> {
    /// The record of another machine, from the first engine that has it.
    pub(super) async fn ask(self: &Arc<Self>, key: RegistryKey) -> Option<Found> {
        let me = self.settings.machine;
        let life = self.settings.note_life;
        let mut asked: FuturesUnordered<_> = self
            .reachable()
            .map(|at| at.run(at.engine.ask(key, me, life)))
            .collect();
        while let Some(answer) = asked.next().await {
            let Ok(Some(record)) = answer else { continue };
            match open_record(&self.settings.keys, &key, &record) {
                // This machine's own table decides about its own.
                Some(record) if owner_of(record.registration()) == me => {}
                Some(Record::Registered(found)) => {
                    self.notify_opened(key, &found);
                    return Some(found);
                }
                // Its owner reads that this machine waits when it writes the secrets.
                Some(Record::Reserved(_)) => {}
                None => Counts::add(&self.counts.not_sealed),
            }
        }
        None
    }

    /// The owner of a handshake holds its client's first bytes once a side connection has asked.
    fn notify_opened(self: &Arc<Self>, key: RegistryKey, found: &Found) {
        let id = found.registration;
        self.notify(owner_of(id), Body::Opened(key, id));
    }

    /// Asks all machines, again while one of them or all engines do not answer.
    async fn poll_until_certain(self: &Arc<Self>, key: RegistryKey) -> LookupReply {
        let Ok(_permit) = self.polling.try_acquire() else {
            return LookupReply::Busy;
        };
        let end = Instant::now() + self.settings.ride_out;
        let mut connected = self.connected.subscribe();
        loop {
            let asked = Instant::now();
            let reply = self.poll(key).await.conclude();
            if matches!(reply, LookupReply::Unknown) {
                Counts::add(&self.counts.unknown);
            }
            if !matches!(reply, LookupReply::Unavailable) || Instant::now() >= end {
                return reply;
            }
            let next = end.min(asked + self.settings.poll_wait);
            let _ = timeout_at(next, connected.changed()).await;
        }
    }

    /// One question to all machines. The list of machines is read after the question arose: what
    /// a machine registered before, it registered as a member.
    pub(super) async fn poll(self: &Arc<Self>, key: RegistryKey) -> Poll {
        Counts::add(&self.counts.polls);
        let lists = self.beat_everywhere().await;
        let now = Instant::now().into_std();
        let mut poll = {
            let members = self.members();
            // Another machine may hold its lease by any one engine.
            let complete = lists.len() == self.engines.len()
                && lists.iter().all(|list| members.is_complete(list));
            let others: Vec<_> = members.others(now).collect();
            Poll::new(others, complete)
        };
        if !poll.is_over() {
            // On time-out the missing answers remain missing.
            let wait = self.settings.poll_wait;
            let _ = timeout(wait, self.collect(key, &mut poll)).await;
        }
        poll
    }

    async fn collect(self: &Arc<Self>, key: RegistryKey, poll: &mut Poll) {
        let Some(question) = self.new_question() else {
            return;
        };
        let mut open = self.open_question(question);
        let Some(message) = self.seal(None, Body::Who(question, key)) else {
            return;
        };
        self.publish(None, &message).await;
        while !poll.is_over() {
            let Some((from, holds)) = open.answers.recv().await else {
                return;
            };
            poll.handle_answer(from, holds);
        }
    }

    fn open_question(self: &Arc<Self>, question: QuestionId) -> OpenQuestion<E> {
        OpenQuestion {
            answers: self.polls().insert(question),
            shared: Arc::clone(self),
            question,
        }
    }
}

/// A question that waits for answers; closed on drop.
struct OpenQuestion<E: Engine> {
    shared: Arc<Shared<E>>,
    question: QuestionId,
    answers: mpsc::Receiver<(MachineId, Holds)>,
}

impl<E: Engine> Drop for OpenQuestion<E> {
    fn drop(&mut self) {
        self.shared.polls().remove(&self.question);
    }
}
