//! The machines that a question must reach, and the permission of this machine to complete handshakes.
//!
//! "Unknown" needs the word of every machine that may hold the handshake, so the list of machines
//! must be complete, and a machine that the list may lack must not complete handshakes. No clock
//! and no I/O: times are arguments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::engine::{Beat, MachineId, Membership};

/// Time limits of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberTimes {
    /// The time that a machine without a heartbeat is still asked.
    pub life: Duration,
    /// The time that a machine without an engine continues to complete handshakes. The clients of
    /// these handshakes have the rest of `life` to verify, less a lease for the writes that an
    /// engine may lose in a failover.
    pub lease: Duration,
}

/// The machines that this machine knows.
///
/// The list is complete just after *every* engine has listed its members, when none of them has
/// forgotten anything for a life: such an engine lists every machine that holds a lease by it, and
/// a machine may hold its lease by any one engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Members {
    me: MachineId,
    times: MemberTimes,
    others: BTreeMap<MachineId, Seen>,
    /// Since when there was no gap as long as a lease.
    watching: Option<Instant>,
    /// The last time that an engine accepted the heartbeat.
    heartbeat: Option<Instant>,
    joined: bool,
    /// The time at which another process used this machine's number.
    conflict: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    beat: Option<Beat>,
    at: Instant,
}

impl Members {
    /// A machine that knows no other.
    pub fn new(me: MachineId, times: MemberTimes) -> Self {
        Self {
            me,
            times,
            others: BTreeMap::new(),
            watching: None,
            heartbeat: None,
            joined: false,
            conflict: None,
        }
    }

    /// An engine has taken a heartbeat that was sent at `sent`, and listed the members.
    pub fn handle_heartbeat(&mut self, mine: Beat, membership: &Membership, sent: Instant) {
        for &(machine, beat) in &membership.members {
            if machine != self.me {
                self.note(machine, Some(beat), sent);
            }
        }
        // The first heartbeat at an engine finds what an earlier process left.
        let another = |beat: Beat| beat.incarnation != mine.incarnation;
        if mine.count > 1 && membership.previous.is_some_and(another) {
            self.conflict = Some(sent);
        }
        self.watch(sent);
        self.others
            .retain(|_, seen| sent.saturating_duration_since(seen.at) < self.times.life);
    }

    /// A gap as long as a lease ends this machine's membership.
    fn watch(&mut self, sent: Instant) {
        let lease = self.times.lease;
        let long_ago = |at: Instant| sent.saturating_duration_since(at) >= lease;
        if self.heartbeat.is_none_or(long_ago) {
            self.watching = Some(sent);
            self.joined = false;
        }
        self.joined |= self.watching.is_some_and(long_ago);
        self.heartbeat = self.heartbeat.max(Some(sent));
    }

    /// A sealed message of another machine has come.
    pub fn handle_message(&mut self, from: MachineId, now: Instant) {
        if from != self.me {
            self.note(from, None, now);
        }
    }

    /// A machine has ended: its process with this beat holds no handshake any more.
    pub fn handle_left(&mut self, machine: MachineId, incarnation: u64) {
        let left = |seen: &Seen| {
            seen.beat
                .is_some_and(|beat| beat.incarnation == incarnation)
        };
        if self.others.get(&machine).is_some_and(left) {
            self.others.remove(&machine);
        }
    }

    fn note(&mut self, machine: MachineId, beat: Option<Beat>, at: Instant) {
        let seen = self.others.entry(machine).or_insert(Seen { beat, at });
        match beat {
            // An engine repeats the last beat of a machine that is gone until its life is over.
            Some(_) if seen.beat == beat => {}
            Some(_) => *seen = Seen { beat, at },
            None => seen.at = at,
        }
    }

    /// May this machine complete handshakes? Others ask it for a life after its last heartbeat.
    pub fn holds_lease(&self, now: Instant) -> bool {
        let fresh = self
            .heartbeat
            .is_some_and(|last| now.saturating_duration_since(last) < self.times.lease);
        self.joined && fresh && !self.conflict(now)
    }

    /// Does another process use this machine's number?
    pub fn conflict(&self, now: Instant) -> bool {
        self.conflict
            .is_some_and(|at| now.saturating_duration_since(at) < self.times.lease)
    }

    /// The other machines that may hold handshakes, as far as this machine knows.
    pub fn others(&self, now: Instant) -> impl Iterator<Item = MachineId> + '_ {
        self.others
            .iter()
            .filter(move |(_, seen)| now.saturating_duration_since(seen.at) < self.times.life)
            .map(|(machine, _)| *machine)
    }

    /// Does this list contain every machine that holds a lease by its engine?
    pub fn is_complete(&self, membership: &Membership) -> bool {
        membership.memory >= self.times.life
    }
}

#[cfg(test)]
mod tests;
