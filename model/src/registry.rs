//! The rules of [`mtls_core::registry::MemoryRegistry`] as plain data, so that a state can be
//! copied, compared and hashed. `tests/registry_model.rs` holds the two together.

use mtls_core::proto::binding::Association;
use mtls_core::proto::server::LookupMode;

use super::Mutant;

/// The registered handshakes and the waiting lookups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registry {
    limits: RegistryLimits,
    /// In the order of their associations.
    entries: Vec<Entry>,
    /// In the order of their coming.
    waits: Vec<Wait>,
}

/// The bounds of a [`Registry`], named as those of the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistryLimits {
    /// Handshakes, tombstones included.
    pub handshakes: usize,
    /// Opens that wait, in all.
    pub waits: usize,
    /// Opens that wait, for one peer. Here every connection is a peer of its own: an attacker has
    /// as many addresses as connections.
    pub waits_per_peer: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    association: Association,
    registration: u8,
    flushed: bool,
    tombstone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wait {
    connection: usize,
    association: Association,
    known: bool,
}

/// The requester of a lookup.
#[derive(Clone, Copy, Debug)]
pub struct LookupRequester {
    /// The side connection, which determines the peer.
    pub connection: usize,
    /// Has it confirmed anything before?
    pub known: bool,
}

/// A look-up under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pending {
    /// Waits for the handshake.
    Waiting,
    /// The answer is there; the driver has not taken it yet.
    Ready(Answer),
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// This registration.
    Found(u8),
    /// No such handshake.
    Unknown,
    /// No waiting place, or evicted from it.
    Busy,
}

/// A wait that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// On which connection.
    pub connection: usize,
    /// For which handshake.
    pub association: Association,
    /// With which answer.
    pub answer: Answer,
}

impl Registry {
    /// An empty one.
    pub fn new(limits: RegistryLimits) -> Self {
        Self {
            limits,
            entries: Vec::new(),
            waits: Vec::new(),
        }
    }

    /// Registers a handshake; `false` where its association is taken or all places are.
    pub fn register(&mut self, association: Association, registration: u8) -> bool {
        if self.entries.len() >= self.limits.handshakes {
            return false;
        }
        match self.position(association) {
            Ok(_) => false,
            Err(place) => {
                let entry = Entry {
                    association,
                    registration,
                    flushed: false,
                    tombstone: false,
                };
                self.entries.insert(place, entry);
                true
            }
        }
    }

    /// Looks a handshake up; the second is the evicted requester.
    pub fn look_up(
        &mut self,
        association: Association,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> (Pending, Option<Woken>) {
        if let Ok(place) = self.position(association) {
            let entry = &self.entries[place];
            if entry.flushed || mode == LookupMode::Immediate {
                return (Pending::Ready(Answer::Found(entry.registration)), None);
            }
        }
        if mode == LookupMode::Immediate {
            let answer = match self.entries.len() < self.limits.handshakes {
                true => Answer::Unknown,
                false => Answer::Busy,
            };
            return (Pending::Ready(answer), None);
        }
        self.wait(association, requester)
    }

    fn wait(
        &mut self,
        association: Association,
        requester: LookupRequester,
    ) -> (Pending, Option<Woken>) {
        let LookupRequester { connection, known } = requester;
        let busy = (Pending::Ready(Answer::Busy), None);
        let of_peer = |wait: &&Wait| wait.connection == connection;
        if self.waits.iter().filter(of_peer).count() >= self.limits.waits_per_peer {
            return busy;
        }
        let mut evicted = None;
        if self.waits.len() >= self.limits.waits {
            let Some(oldest) = self.waits.iter().position(|wait| !wait.known) else {
                return busy;
            };
            let gone = self.waits.remove(oldest);
            evicted = Some(Woken {
                connection: gone.connection,
                association: gone.association,
                answer: Answer::Busy,
            });
        }
        self.waits.push(Wait {
            connection,
            association,
            known,
        });
        (Pending::Waiting, evicted)
    }

    /// A look-up is dropped.
    pub fn leave(&mut self, connection: usize, association: Association) {
        self.waits
            .retain(|wait| (wait.connection, wait.association) != (connection, association));
    }

    /// The first flight of a registration has left, and the requesters that wait for it are answered.
    pub fn flushed(&mut self, association: Association) -> Vec<Woken> {
        let Ok(place) = self.position(association) else {
            return Vec::new();
        };
        let entry = &mut self.entries[place];
        entry.flushed = true;
        let answer = Answer::Found(entry.registration);
        let (woken, stay) = std::mem::take(&mut self.waits)
            .into_iter()
            .partition::<Vec<_>, _>(|wait| wait.association == association);
        self.waits = stay;
        woken
            .into_iter()
            .map(|wait| Woken {
                connection: wait.connection,
                association,
                answer,
            })
            .collect()
    }

    /// A confirmation of `registration`: which one it counts for, if any.
    pub fn confirm(
        &mut self,
        association: Association,
        registration: u8,
        mutant: Option<Mutant>,
    ) -> Option<u8> {
        let place = self.position(association).ok()?;
        let there = self.entries[place].registration;
        if there != registration && mutant != Some(Mutant::LooseConfirmation) {
            return None;
        }
        self.leave_tombstone(association, mutant);
        Some(there)
    }

    /// The primary has ended, or is verified: a tombstone stays.
    pub fn leave_tombstone(&mut self, association: Association, mutant: Option<Mutant>) {
        if let Ok(place) = self.position(association) {
            self.entries[place].tombstone = true;
            if mutant == Some(Mutant::ForgetfulTombstones) {
                self.entries.remove(place);
            }
        }
    }

    /// Is there a tombstone, whose time may be over?
    pub fn is_tombstone(&self, association: Association) -> bool {
        self.position(association)
            .is_ok_and(|place| self.entries[place].tombstone)
    }

    /// A tombstone's time is over.
    pub fn expire(&mut self, association: Association) {
        self.entries
            .retain(|entry| entry.association != association || !entry.tombstone);
    }

    /// Does this registration still have its entry?
    pub fn holds(&self, association: Association, registration: u8) -> bool {
        self.position(association)
            .is_ok_and(|place| self.entries[place].registration == registration)
    }

    /// The registration that owns the entry of this handshake.
    pub fn registration(&self, association: Association) -> Option<u8> {
        let place = self.position(association).ok()?;
        Some(self.entries[place].registration)
    }

    /// Does an Open wait for this handshake?
    pub fn waits_for(&self, association: Association) -> bool {
        let same = |wait: &Wait| wait.association == association;
        self.waits.iter().any(same)
    }

    /// Has every table kept to its bound?
    pub fn is_within_bounds(&self) -> bool {
        self.entries.len() <= self.limits.handshakes && self.waits.len() <= self.limits.waits
    }

    /// How many wait.
    pub fn waits(&self) -> usize {
        self.waits.len()
    }

    /// How many handshakes are kept.
    pub fn handshakes(&self) -> usize {
        self.entries.len()
    }

    fn position(&self, association: Association) -> Result<usize, usize> {
        self.entries
            .binary_search_by_key(&association, |entry| entry.association)
    }
}
