//! The registry in memory against a model of it that scans lists: sequences of operations, in virtual
//! time.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Builder;

use super::*;
use crate::proto::binding::{Binding, Bindings, HelloHash, SideContext, SideSecrets, Value};

/// Small, so that each of them is reached.
const LIMITS: MemoryRegistryLimits = MemoryRegistryLimits {
    handshakes: 4,
    tombstone: Duration::from_secs(10),
    waits: 4,
    waits_per_peer: 3,
    waits_per_handshake_and_peer: 2,
};

/// More handshakes and peers than there is room for.
pub(super) const KEYS: u8 = 6;
pub(super) const PEERS: u8 = 3;
/// Fewer than there are bytes, of which each registration has one.
const MAX_OPERATIONS: usize = 200;

/// An operation.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Register {
        key: u8,
    },
    /// The numbers of registrations and look-ups count from the first one, and wrap around.
    Flush {
        registration: usize,
    },
    Drop {
        registration: usize,
    },
    Confirm {
        registration: usize,
    },
    Dispute {
        registration: usize,
    },
    LookUp {
        key: u8,
        immediate: bool,
        peer: u8,
        known: bool,
    },
    GiveUp {
        look_up: usize,
    },
    Wait {
        millis: u64,
    },
}

impl Operation {
    fn of_bytes(bytes: &[u8]) -> Self {
        let [kind, key, flags, number] = [bytes[0], bytes[1] % KEYS, bytes[2], bytes[3]];
        let registration = usize::from(number);
        match kind % 8 {
            0 => Self::Register { key },
            1 => Self::Flush { registration },
            2 => Self::Drop { registration },
            3 => Self::Confirm { registration },
            4 => Self::Dispute { registration },
            5 => Self::LookUp {
                key,
                immediate: flags & 1 != 0,
                known: flags & 2 != 0,
                peer: number % PEERS,
            },
            6 => Self::GiveUp {
                look_up: registration,
            },
            _ => Self::Wait {
                millis: u64::from(number) * 24,
            },
        }
    }
}

/// The number of a registration, in the order of their making.
type Number = usize;

/// An answer, with the number of the registration in place of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Pending,
    Found(Number),
    Unknown,
    Busy,
}

#[derive(Debug)]
struct ModelEntry {
    key: u8,
    number: Number,
    flushed: bool,
    /// The time of the end of a tombstone.
    end: Option<u64>,
}

#[derive(Debug)]
struct ModelWait {
    look_up: usize,
    key: u8,
    peer: u8,
    known: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelStatus {
    opened: bool,
    disputed: bool,
    confirmations: usize,
}

/// A registry as `docs/protocol.md`, section 3, describes it.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    entries: Vec<ModelEntry>,
    /// The oldest first.
    waits: Vec<ModelWait>,
    statuses: Vec<ModelStatus>,
    answers: Vec<Answer>,
    refused: Option<u64>,
}

fn key(byte: u8) -> RegistryKey {
    RegistryKey {
        service: ServiceId::default(),
        association: Association([byte; Association::LEN]),
    }
}

fn confirmed(key: RegistryKey, registration: RegistrationId) -> ConfirmedSide {
    let nonce = [0; 32];
    let (association, binding) = (key.association, Binding::Hello);
    let context = SideContext::new(&association, &nonce, Bindings::ALL, &nonce, binding);
    let confirmation = Confirmation {
        association,
        registration,
        binding,
        context,
    };
    ConfirmedSide::new(confirmation, ([192, 0, 2, 1], 443).into())
}

fn tombstone() -> u64 {
    u64::try_from(LIMITS.tombstone.as_millis()).expect("a short time")
}

impl Model {
    fn wait(&mut self, millis: u64) {
        self.now += millis;
        let now = self.now;
        self.entries
            .retain(|entry| entry.end.is_none_or(|end| end > now));
    }

    fn register(&mut self, key: u8) -> Result<Number, RegisterError> {
        if self.entries.len() >= LIMITS.handshakes {
            self.refused = Some(self.now);
            return Err(RegisterError::Full {
                limit: LIMITS.handshakes,
            });
        }
        if self.entries.iter().any(|entry| entry.key == key) {
            return Err(RegisterError::Taken);
        }
        let number = self.statuses.len();
        self.statuses.push(ModelStatus {
            opened: self.waits.iter().any(|wait| wait.key == key),
            ..ModelStatus::default()
        });
        self.entries.push(ModelEntry {
            key,
            number,
            flushed: false,
            end: None,
        });
        Ok(number)
    }

    fn entry(&mut self, number: Number) -> Option<&mut ModelEntry> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }

    fn flush(&mut self, number: Number) {
        let Some(entry) = self.entry(number) else {
            return;
        };
        entry.flushed = true;
        let key = entry.key;
        for wait in self.waits.extract_if(.., |wait| wait.key == key) {
            self.answers[wait.look_up] = Answer::Found(number);
        }
    }

    fn leave_tombstone(&mut self, number: Number) {
        let end = self.now + tombstone();
        if let Some(entry) = self.entry(number) {
            entry.end.get_or_insert(end);
        }
    }

    fn confirm(&mut self, number: Number) {
        if self.entry(number).is_some() {
            let confirmations = &mut self.statuses[number].confirmations;
            *confirmations = MAX_CONFIRMATIONS.min(*confirmations + 1);
            self.leave_tombstone(number);
        }
    }

    fn dispute(&mut self, number: Number) {
        if self.entry(number).is_some() {
            self.statuses[number].disputed = true;
        }
    }

    fn look_up(&mut self, key: u8, immediate: bool, peer: u8, known: bool) {
        let answer = match self.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => {
                self.statuses[entry.number].opened = true;
                (entry.flushed || immediate).then_some(Answer::Found(entry.number))
            }
            None => None,
        };
        let answer = match answer {
            Some(found) => found,
            None if immediate && self.may_have_refused() => Answer::Busy,
            None if immediate => Answer::Unknown,
            None => self.enter(key, peer, known),
        };
        self.answers.push(answer);
    }

    fn may_have_refused(&self) -> bool {
        let lately = |at: u64| self.now - at < tombstone();
        self.entries.len() >= LIMITS.handshakes || self.refused.is_some_and(lately)
    }

    fn enter(&mut self, key: u8, peer: u8, known: bool) -> Answer {
        let of_peer = || self.waits.iter().filter(|wait| wait.peer == peer);
        if of_peer().count() >= LIMITS.waits_per_peer
            || of_peer().filter(|wait| wait.key == key).count()
                >= LIMITS.waits_per_handshake_and_peer
        {
            return Answer::Busy;
        }
        if self.waits.len() >= LIMITS.waits {
            let Some(oldest) = self.waits.iter().position(|wait| !wait.known) else {
                return Answer::Busy;
            };
            let evicted = self.waits.remove(oldest);
            self.answers[evicted.look_up] = Answer::Busy;
        }
        self.waits.push(ModelWait {
            look_up: self.answers.len(),
            key,
            peer,
            known,
        });
        Answer::Pending
    }

    fn give_up(&mut self, look_up: usize) {
        self.waits.retain(|wait| wait.look_up != look_up);
    }
}

/// The registry, and everything that was asked of it.
#[derive(Default)]
struct Real {
    registry: Option<MemoryRegistry>,
    registrations: Vec<Option<Box<dyn Registration>>>,
    keys: Vec<u8>,
    /// The ids, as far as a look-up has shown them.
    ids: Vec<Option<RegistrationId>>,
    /// A value of each registration's keys.
    values: Vec<Value>,
    look_ups: Vec<Option<BoxFuture<'static, LookupReply>>>,
    answers: Vec<Answer>,
}

impl Real {
    fn registry(&self) -> &MemoryRegistry {
        self.registry.as_ref().expect("a registry")
    }

    async fn register(&mut self, byte: u8) -> Result<Number, RegisterError> {
        let keys = keys_of(self.ids.len());
        let value = value_of(&keys);
        let registered = self.registry().register(key(byte), keys).await?;
        self.values.push(value);
        self.registrations.push(Some(registered));
        self.keys.push(byte);
        self.ids.push(None);
        Ok(self.ids.len() - 1)
    }

    /// A confirmation of a registration whose id is known.
    fn side(&self, number: Number) -> Option<ConfirmedSide> {
        let id = (*self.ids.get(number)?)?;
        Some(confirmed(key(self.keys[number]), id))
    }

    fn look_up(&mut self, byte: u8, immediate: bool, peer: u8, known: bool) {
        let mode = match immediate {
            true => LookupMode::Immediate,
            false => LookupMode::UntilFlushed,
        };
        let requester = LookupRequester::new([192, 0, 2, peer].into(), known);
        let look_up = self.registry().look_up(key(byte), mode, requester);
        self.look_ups.push(Some(look_up));
        self.answers.push(Answer::Pending);
    }

    /// Takes the answers that are there.
    fn poll(&mut self) {
        for (index, slot) in self.look_ups.iter_mut().enumerate() {
            let Some(reply) = slot.as_mut().and_then(FutureExt::now_or_never) else {
                continue;
            };
            *slot = None;
            self.answers[index] = match reply {
                LookupReply::Found(found) => {
                    let value = value_of(&found.keys);
                    let number = self.values.iter().position(|known| *known == value);
                    let number = number.expect("keys of a registration");
                    self.ids[number] = Some(found.registration);
                    Answer::Found(number)
                }
                LookupReply::Unknown => Answer::Unknown,
                LookupReply::Busy => Answer::Busy,
                LookupReply::Unavailable => panic!("a registry in memory answers"),
            };
        }
    }

    fn give_up(&mut self, look_up: usize) {
        self.look_ups[look_up] = None;
    }
}

/// The keys of this registration, unlike those of every other.
fn keys_of(number: Number) -> HandshakeKeys {
    let byte = u8::try_from(number).expect("few registrations");
    HandshakeKeys::Tls13(SideSecrets::from_hello(&HelloHash([byte; 32])))
}

fn value_of(keys: &HandshakeKeys) -> Value {
    let confirmed = confirmed(key(0), RegistrationId(0));
    match keys {
        HandshakeKeys::Tls13(secrets) => {
            let values = secrets.values(Binding::Hello, &confirmed.confirmation.context);
            values.expect("the binding").client
        }
        HandshakeKeys::Older => panic!("keys of TLS 1.3"),
    }
}

async fn apply(operation: &Operation, model: &mut Model, real: &mut Real) {
    let count = real.registrations.len();
    let nth = |number: usize| (count > 0).then(|| number % count);
    match *operation {
        Operation::Register { key } => {
            assert_eq!(real.register(key).await, model.register(key));
        }
        Operation::Flush { registration } => {
            if let Some((number, entry)) = nth(registration)
                .and_then(|number| Some((number, real.registrations[number].as_ref()?)))
            {
                entry.flushed();
                model.flush(number);
            }
        }
        Operation::Drop { registration } => {
            if let Some(number) = nth(registration)
                && real.registrations[number].take().is_some()
            {
                model.leave_tombstone(number);
            }
        }
        Operation::Confirm { registration } => {
            if let Some((number, side)) =
                nth(registration).and_then(|number| Some((number, real.side(number)?)))
            {
                real.registry().confirm(ServiceId::default(), side);
                model.confirm(number);
            }
        }
        Operation::Dispute { registration } => {
            if let Some((number, side)) =
                nth(registration).and_then(|number| Some((number, real.side(number)?)))
            {
                real.registry()
                    .dispute(ServiceId::default(), side.confirmation);
                model.dispute(number);
            }
        }
        Operation::LookUp {
            key,
            immediate,
            peer,
            known,
        } => {
            real.look_up(key, immediate, peer, known);
            model.look_up(key, immediate, peer, known);
        }
        Operation::GiveUp { look_up } => {
            let count = real.look_ups.len();
            if count > 0 {
                real.give_up(look_up % count);
                model.give_up(look_up % count);
            }
        }
        Operation::Wait { millis } => {
            tokio::time::advance(Duration::from_millis(millis)).await;
            model.wait(millis);
        }
    }
}

fn compare(model: &Model, real: &Real) {
    assert_eq!(real.answers, model.answers);
    assert_eq!(real.registry().handshakes(), model.entries.len());
    assert_eq!(real.registry().waits(), model.waits.len());
    for (entry, expected) in real.registrations.iter().zip(&model.statuses) {
        let Some(entry) = entry else { continue };
        let status = entry.status();
        let seen = ModelStatus {
            opened: status.opened,
            disputed: status.disputed,
            confirmations: status.confirmations.len(),
        };
        assert_eq!(&seen, expected);
        assert_eq!(entry.revision(), status.revision());
        let confirmed = entry.confirmed().now_or_never().is_some();
        assert_eq!(confirmed, expected.confirmations > 0);
    }
}

/// Applies the operations to both, and compares them after each.
pub(crate) fn run(operations: &[Operation]) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    // Answers that are there must be taken: otherwise the runtime withholds them after many in one turn.
    let all = tokio::task::unconstrained(run_all(operations));
    runtime.expect("a runtime").block_on(all);
}

/// Four bytes are an operation.
pub(crate) fn fuzz(data: &[u8]) {
    let operations = data.chunks_exact(4).take(MAX_OPERATIONS);
    let operations: Vec<Operation> = operations.map(Operation::of_bytes).collect();
    run(&operations);
}

async fn run_all(operations: &[Operation]) {
    let mut model = Model::default();
    let mut real = Real {
        registry: Some(MemoryRegistry::new(LIMITS)),
        ..Real::default()
    };
    for operation in operations {
        apply(operation, &mut model, &mut real).await;
        real.poll();
        compare(&model, &real);
    }
    real.registrations.clear();
    real.look_ups.clear();
    tokio::time::sleep(LIMITS.tombstone).await;
    assert_eq!(real.registry().handshakes(), 0, "all tombstones are gone");
    assert_eq!(real.registry().waits(), 0);
}
