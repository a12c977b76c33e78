//! Questions to all machines of a fleet.

use std::collections::{BTreeSet, HashMap};

use tokio::sync::mpsc;

use super::engine::MachineId;
use super::message::{Holds, QuestionId};
use crate::registry::{Found, LookupReply};

/// Answers that wait for the task of one question; more are lost, and the question is repeated.
const MAX_ANSWERS: usize = 256;

/// The questions that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Polls(HashMap<QuestionId, mpsc::Sender<(MachineId, Holds)>>);

impl Polls {
    pub(super) fn insert(&mut self, question: QuestionId) -> mpsc::Receiver<(MachineId, Holds)> {
        let (sender, receiver) = mpsc::channel(MAX_ANSWERS);
        self.0.insert(question, sender);
        receiver
    }

    pub(super) fn remove(&mut self, question: &QuestionId) {
        self.0.remove(question);
    }

    pub(super) fn answer(&self, question: &QuestionId, from: MachineId, holds: Holds) {
        if let Some(sender) = self.0.get(question) {
            // The question is repeated for an answer that is lost.
            let _ = sender.try_send((from, holds));
        }
    }
}

/// The answers to one question, and what follows from them. No clock and no I/O.
#[derive(Clone, Debug)]
pub struct Poll {
    missing: BTreeSet<MachineId>,
    complete: bool,
    found: Option<Found>,
    full: bool,
}

impl Poll {
    /// Asks these machines. `complete`: they are all that may hold the handshake.
    pub fn new(machines: impl IntoIterator<Item = MachineId>, complete: bool) -> Self {
        Self {
            missing: machines.into_iter().collect(),
            complete,
            found: None,
            full: false,
        }
    }

    /// A machine has found the handshake.
    pub fn handle_found(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// A machine does not hold the handshake. `full`: it may have turned it away.
    pub fn handle_nothing(&mut self, from: MachineId, full: bool) {
        self.missing.remove(&from);
        self.full |= full;
    }

    /// Is no answer missing that could change the conclusion?
    pub fn is_over(&self) -> bool {
        self.found.is_some() || self.missing.is_empty()
    }

    /// The conclusion from the answers so far. Without every machine's word, nothing is unknown.
    pub fn conclude(self) -> LookupReply {
        match self.found {
            Some(found) => LookupReply::Found(found),
            None if !self.missing.is_empty() || !self.complete => LookupReply::Unavailable,
            None if self.full => LookupReply::Busy,
            None => LookupReply::Unknown,
        }
    }
}

impl Poll {
    pub(super) fn handle_answer(&mut self, from: MachineId, holds: Holds) {
        match holds {
            Holds::Found(found) => self.handle_found(found),
            Holds::Nothing => self.handle_nothing(from, false),
            Holds::Full => self.handle_nothing(from, true),
        }
    }
}

#[cfg(test)]
mod tests;
