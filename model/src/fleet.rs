//! A model of a fleet's registry under faults: may a machine answer *unknown* for a handshake that
//! another machine holds?
//!
//! The decisions are the library's own: [`Members`] says whether a machine holds its lease and
//! whether its list of machines is complete, and [`Poll`] what the answers prove. Abstract are the
//! engines, the network and time, whose unit is half a lease. Two machines use the same engines:
//! the *owner* registers a handshake, and the *asker* looks it up after Done. The asker has heard of
//! no machine before: what it knows from earlier heartbeats can only add machines that it asks.
//!
//! A fault restarts an engine empty, replaces it by a replica that lacks the writes of less than
//! half a lease, or cuts or mends one machine's connection to it. Heartbeats, records and messages
//! may be lost at every step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_core::proto::server::{HandshakeKeys, RegistrationId};
use mtls_core::registry::fleet::{Beat, MachineId, MemberTimes, Members, Membership, Poll};
use mtls_core::registry::{Found, LookupReply};
use stateright::{Model, Property};

/// An honest client's handshake is never unknown.
pub const NEVER_UNKNOWN: &str = "a handshake that a machine holds is never unknown";
/// The fast way.
pub const FOUND: &str = "a handshake is found";
/// The slow way: no engine has the record.
pub const FOUND_BY_ASKING: &str = "a handshake is found by asking its machine";
/// Detection works.
pub const INTERCEPTED: &str = "a handshake that no machine holds is unknown";

const UNIT: Duration = Duration::from_secs(1);
const LEASE: u8 = 2;
const LIFE: u8 = 6;
/// For how long a client verifies at most: what a life leaves after two leases.
const VERIFICATION: u8 = LIFE - 2 * LEASE;

const OWNER: usize = 0;
const ASKER: usize = 1;

/// The bounds of an exploration.
#[derive(Clone, Debug)]
pub struct FleetModel {
    /// Independent engines.
    pub engines: usize,
    /// How many faults there are at most.
    pub faults: u8,
    /// How many units of time pass at most.
    pub horizon: u8,
    /// A fault of the implementation.
    pub mutant: Option<FleetMutant>,
    start: Instant,
}

/// An implementation that gets one decision wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetMutant {
    /// A record that is missing on an engine means *unknown*.
    TrustsTheRecord,
    /// The list of machines of any engine is complete, also after a restart.
    TrustsTheList,
    /// A machine completes handshakes without its lease.
    IgnoresTheLease,
    /// A machine completes handshakes from its first heartbeat on.
    StartsAtOnce,
    /// A machine that does not answer does not count.
    IgnoresSilence,
    /// A client verifies for a life less one lease.
    VerifiesForLong,
    /// The list of machines of one engine suffices, whatever the others are.
    TrustsOneEngine,
}

/// Everything at one time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FleetState {
    now: u8,
    faults: u8,
    engines: Vec<Engine>,
    machines: [Machine; 2],
    /// When the owner registered its handshake.
    registered: Option<u8>,
    reply: Option<Reply>,
}

/// The contents of one engine, and those of its replica, which lag by a unit of time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Engine {
    data: Data,
    replica: Data,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Data {
    /// When it began to forget nothing; `None` long before the start.
    born: Option<u8>,
    record: bool,
    members: BTreeMap<MachineId, (Beat, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Machine {
    members: Members,
    /// When an engine last took its heartbeat.
    heartbeat: Option<u8>,
    /// Is it connected to each engine?
    links: Vec<bool>,
}

/// The reply of the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Found { by_asking: bool },
    Unknown { held: bool },
    Unavailable,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FleetAction {
    /// An engine takes a heartbeat of the owner.
    Beat(usize),
    /// The owner registers its handshake; the engines get the record or do not.
    Register {
        /// Do they?
        record: bool,
    },
    /// The asker looks the handshake up; the messages of its question are lost or not.
    Ask {
        /// Are they?
        lost: bool,
    },
    /// An engine restarts empty.
    Restart(usize),
    /// A replica that lacks the latest writes takes an engine's place.
    FailOver(usize),
    /// A machine loses an engine, or reaches it again.
    Toggle(usize, usize),
    /// Time passes.
    Tick,
}

impl FleetModel {
    /// The implementation as it is.
    #[must_use]
    pub fn new(engines: usize, faults: u8, horizon: u8) -> Self {
        Self {
            engines,
            faults,
            horizon,
            mutant: None,
            start: Instant::now(),
        }
    }

    /// The bounds, in words.
    #[must_use]
    pub fn bounds(&self) -> String {
        let Self {
            engines,
            faults,
            horizon,
            ..
        } = self;
        format!("{engines} engines, {faults} faults, {horizon} half leases")
    }

    /// The same with this fault.
    #[must_use]
    pub fn with_mutant(mut self, mutant: FleetMutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    fn at(&self, time: u8) -> Instant {
        self.start + UNIT * u32::from(time)
    }

    fn is(&self, mutant: FleetMutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn machine(&self, machine: usize) -> Machine {
        let times = MemberTimes {
            life: UNIT * u32::from(LIFE),
            lease: UNIT * u32::from(LEASE),
        };
        Machine {
            members: Members::new(id(machine), times),
            heartbeat: None,
            links: vec![true; self.engines],
        }
    }

    /// A heartbeat, and the list that comes back; `None` without a connection.
    fn beat(&self, state: &mut FleetState, machine: usize, engine: usize) -> Option<Membership> {
        let now = state.now;
        let sender = &mut state.machines[machine];
        if !sender.links[engine] {
            return None;
        }
        sender.heartbeat = Some(now);
        // Two heartbeats at one time are the same: the second one changes nothing.
        let beat = Beat {
            incarnation: machine as u64,
            count: u64::from(now) + 1,
        };
        let data = &mut state.engines[engine].data;
        data.members.retain(|_, (_, end)| *end > now);
        let previous = data.members.insert(id(machine), (beat, now + LIFE));
        let list = Membership {
            members: data
                .members
                .iter()
                .map(|(id, (beat, _))| (*id, *beat))
                .collect(),
            previous: previous.map(|(beat, _)| beat),
            memory: UNIT * u32::from(data.born.map_or(LIFE, |born| now - born)),
        };
        sender.members.handle_heartbeat(beat, &list, self.at(now));
        Some(list)
    }

    /// One question to all machines, for the handshake of the owner or for none.
    fn poll(&self, state: &mut FleetState, lost: bool, held: bool) -> Poll {
        let lists: Vec<_> = (0..self.engines)
            .filter_map(|engine| self.beat(state, ASKER, engine))
            .collect();
        let now = self.at(state.now);
        let members = &state.machines[ASKER].members;
        let trusts =
            |list: &Membership| self.is(FleetMutant::TrustsTheList) || members.is_complete(list);
        let complete = match self.is(FleetMutant::TrustsOneEngine) {
            true => lists.iter().any(trusts),
            false => lists.len() == self.engines && lists.iter().all(trusts),
        };
        let silent_count = !self.is(FleetMutant::IgnoresSilence);
        let others: Vec<_> = members
            .others(now)
            .filter(|_| silent_count || answers(state, lost))
            .collect();
        let mut poll = Poll::new(others, complete);
        if answers(state, lost) {
            match held {
                true => poll.handle_found(found()),
                false => poll.handle_nothing(id(OWNER), false),
            }
        }
        poll
    }

    fn ask(&self, state: &mut FleetState, lost: bool) -> Reply {
        let held = state.registered.is_some();
        let links = &state.machines[ASKER].links;
        let mut reached = state.engines.iter().zip(links).filter(|(_, link)| **link);
        if reached.clone().any(|(engine, _)| engine.data.record) {
            return Reply::Found { by_asking: false };
        }
        if self.is(FleetMutant::TrustsTheRecord) && reached.next().is_some() {
            return Reply::Unknown { held };
        }
        match self.poll(state, lost, held).conclude() {
            LookupReply::Found(_) => Reply::Found { by_asking: true },
            LookupReply::Unknown => Reply::Unknown { held },
            _ => Reply::Unavailable,
        }
    }

    fn may_register(&self, state: &FleetState) -> bool {
        let owner = &state.machines[OWNER];
        let beats = owner.heartbeat.is_some_and(|at| state.now - at < LEASE);
        owner.members.holds_lease(self.at(state.now))
            || self.is(FleetMutant::IgnoresTheLease)
            || self.is(FleetMutant::StartsAtOnce) && beats
    }
}

impl Model for FleetModel {
    type State = FleetState;
    type Action = FleetAction;

    fn init_states(&self) -> Vec<FleetState> {
        let data = Data {
            born: None,
            record: false,
            members: BTreeMap::new(),
        };
        let engine = Engine {
            replica: data.clone(),
            data,
        };
        vec![FleetState {
            now: 0,
            faults: self.faults,
            engines: vec![engine; self.engines],
            machines: [self.machine(OWNER), self.machine(ASKER)],
            registered: None,
            reply: None,
        }]
    }

    fn actions(&self, state: &FleetState, actions: &mut Vec<FleetAction>) {
        if state.reply.is_some() {
            return;
        }
        for machine in [OWNER, ASKER] {
            for (engine, link) in state.machines[machine].links.iter().enumerate() {
                if *link && machine == OWNER {
                    actions.push(FleetAction::Beat(engine));
                }
                if state.faults > 0 {
                    actions.push(FleetAction::Toggle(machine, engine));
                }
            }
        }
        if state.registered.is_none() && self.may_register(state) {
            actions.extend([true, false].map(|record| FleetAction::Register { record }));
        }
        let verification = match self.is(FleetMutant::VerifiesForLong) {
            true => LIFE - LEASE,
            false => VERIFICATION,
        };
        let in_time = |at| state.now <= at + verification;
        if state.registered.is_none_or(in_time) {
            actions.extend([true, false].map(|lost| FleetAction::Ask { lost }));
        }
        if state.faults > 0 {
            for engine in 0..self.engines {
                actions.extend([FleetAction::Restart(engine), FleetAction::FailOver(engine)]);
            }
        }
        if state.now < self.horizon {
            actions.push(FleetAction::Tick);
        }
    }

    fn next_state(&self, last: &FleetState, action: FleetAction) -> Option<FleetState> {
        let mut state = last.clone();
        match action {
            FleetAction::Beat(engine) => {
                self.beat(&mut state, OWNER, engine)?;
            }
            FleetAction::Register { record } => {
                state.registered = Some(state.now);
                let links = &state.machines[OWNER].links;
                for (engine, link) in state.engines.iter_mut().zip(links) {
                    engine.data.record |= record && *link;
                }
            }
            FleetAction::Ask { lost } => state.reply = Some(self.ask(&mut state, lost)),
            FleetAction::Restart(engine) => {
                state.faults -= 1;
                let data = Data {
                    born: Some(state.now),
                    record: false,
                    members: BTreeMap::new(),
                };
                state.engines[engine] = Engine {
                    replica: data.clone(),
                    data,
                };
            }
            FleetAction::FailOver(engine) => {
                state.faults -= 1;
                let engine = &mut state.engines[engine];
                engine.data = engine.replica.clone();
            }
            FleetAction::Toggle(machine, engine) => {
                state.faults -= 1;
                let link = &mut state.machines[machine].links[engine];
                *link = !*link;
            }
            FleetAction::Tick => {
                state.now += 1;
                // The replica lags less than a lease behind.
                for engine in &mut state.engines {
                    engine.replica.clone_from(&engine.data);
                }
            }
        }
        if state.faults == 0 {
            // Without a failover to come, replicas make no difference.
            for engine in &mut state.engines {
                engine.replica.clone_from(&engine.data);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NEVER_UNKNOWN, |_, state: &FleetState| {
                state.reply != Some(Reply::Unknown { held: true })
            }),
            Property::sometimes(FOUND, |_, state: &FleetState| {
                state.reply == Some(Reply::Found { by_asking: false })
            }),
            Property::sometimes(FOUND_BY_ASKING, |_, state: &FleetState| {
                state.reply == Some(Reply::Found { by_asking: true })
            }),
            Property::sometimes(INTERCEPTED, |_, state: &FleetState| {
                state.reply == Some(Reply::Unknown { held: false })
            }),
        ]
    }
}

fn id(machine: usize) -> MachineId {
    MachineId(if machine == OWNER { 0 } else { 1 })
}

/// Do a question of the asker and the answer of the owner pass?
fn answers(state: &FleetState, lost: bool) -> bool {
    let [owner, asker] = &state.machines;
    let mut links = owner.links.iter().zip(&asker.links);
    !lost && links.any(|(one, other)| *one && *other)
}

fn found() -> Found {
    Found::new(RegistrationId(1), Arc::new(HandshakeKeys::Older))
}
