//! The model checker's registry follows the real one: both take the same random walks, and say the
//! same at every step.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::poll;
use mtls_core::proto::binding::{
    Association, Binding, Bindings, HelloHash, SideContext, SideSecrets,
};
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode, RegistrationId};
use mtls_core::registry::{
    ConfirmedSide, LookupReply, LookupRequester, MemoryRegistry, MemoryRegistryLimits,
    PendingRegistry, Registration, RegistryKey, ServiceId,
};
use mtls_model::registry::{self as model, Answer, Pending, Registry, RegistryLimits};

const ASSOCIATIONS: u64 = 3;
const CONNECTIONS: u64 = 3;
const TOMBSTONE: Duration = Duration::from_secs(10);

/// Both registries, and what is under way in them.
struct Pair {
    real: MemoryRegistry,
    model: Registry,
    /// Every registration that was tried; the index is the model's number.
    primaries: Vec<Primary>,
    lookups: Vec<Lookup>,
}

struct Primary {
    association: Association,
    id: Option<RegistrationId>,
    held: Option<Box<dyn Registration>>,
}

struct Lookup {
    connection: usize,
    association: Association,
    real: BoxFuture<'static, LookupReply>,
    model: Pending,
}

#[tokio::test(start_paused = true)]
async fn the_models_registry_follows_the_real_one() {
    let mut seed = 0x2545_f491_4f6c_dd1d;
    for _ in 0..400 {
        let mut pair = Pair::new();
        for _ in 0..40 {
            pair.step(&mut seed).await;
            pair.compare().await;
        }
    }
}

impl Pair {
    fn new() -> Self {
        let mut limits = MemoryRegistryLimits::default();
        limits.handshakes = 2;
        limits.tombstone = TOMBSTONE;
        limits.waits = 2;
        limits.waits_per_peer = 2;
        Self {
            real: MemoryRegistry::new(limits),
            model: Registry::new(RegistryLimits {
                handshakes: 2,
                waits: 2,
                waits_per_peer: 2,
            }),
            primaries: Vec::new(),
            lookups: Vec::new(),
        }
    }

    async fn step(&mut self, seed: &mut u64) {
        let byte = u8::try_from(random(seed, ASSOCIATIONS)).expect("a few");
        let association = Association([byte; Association::LEN]);
        let connection = usize::try_from(random(seed, CONNECTIONS)).expect("a few");
        match random(seed, 8) {
            0 | 1 => self.register(association).await,
            2 => self.look_up(association, connection, LookupMode::Immediate, seed),
            3 | 4 => self.look_up(association, connection, LookupMode::UntilFlushed, seed),
            5 => self.flush_or_end(seed),
            6 => self.confirm(seed).await,
            _ if random(seed, 3) == 0 => self.expire().await,
            _ => self.leave(association, connection),
        }
    }

    async fn register(&mut self, association: Association) {
        let number = u8::try_from(self.primaries.len()).expect("a short walk");
        let keys = HandshakeKeys::Tls13(SideSecrets::from_hello(&HelloHash([number; 32])));
        let held = self.real.register(key(association), keys).await.ok();
        assert_eq!(self.model.register(association, number), held.is_some());
        let id = match held {
            Some(_) => Some(self.id(association).await),
            None => None,
        };
        self.primaries.push(Primary {
            association,
            id,
            held,
        });
    }

    async fn id(&self, association: Association) -> RegistrationId {
        let requester = requester(0, false);
        match self
            .real
            .look_up(key(association), LookupMode::Immediate, requester)
            .await
        {
            LookupReply::Found(found) => found.registration,
            other => panic!("registered, yet {other:?}"),
        }
    }

    fn look_up(
        &mut self,
        association: Association,
        connection: usize,
        mode: LookupMode,
        seed: &mut u64,
    ) {
        self.leave(association, connection);
        let known = random(seed, 3) == 0;
        let real = self
            .real
            .look_up(key(association), mode, requester(connection, known));
        let who = model::LookupRequester { connection, known };
        let (pending, evicted) = self.model.look_up(association, mode, who);
        if let Some(woken) = evicted {
            self.wake(woken);
        }
        self.lookups.push(Lookup {
            connection,
            association,
            real,
            model: pending,
        });
    }

    fn leave(&mut self, association: Association, connection: usize) {
        self.lookups
            .retain(|lookup| (lookup.association, lookup.connection) != (association, connection));
        self.model.leave(connection, association);
    }

    fn flush_or_end(&mut self, seed: &mut u64) {
        let Some(number) = self.pick(seed) else {
            return;
        };
        let primary = &mut self.primaries[number];
        let association = primary.association;
        let registration = u8::try_from(number).expect("a short walk");
        if random(seed, 2) == 0 {
            primary.held = None;
            if self.model.holds(association, registration) {
                self.model.leave_tombstone(association, None);
            }
        } else if let Some(held) = &primary.held {
            held.flushed();
            for woken in self.model.flushed(association) {
                self.wake(woken);
            }
        }
    }

    /// One that still has its connection; as in the acceptor, that is over before its tombstone is.
    fn pick(&self, seed: &mut u64) -> Option<usize> {
        let held: Vec<_> = (0..self.primaries.len())
            .filter(|number| {
                let primary = &self.primaries[*number];
                let registration = u8::try_from(*number).expect("a short walk");
                primary.held.is_some() && self.model.holds(primary.association, registration)
            })
            .collect();
        let count = u64::try_from(held.len()).expect("a few");
        let nth = (count > 0).then(|| random(seed, count))?;
        held.get(usize::try_from(nth).expect("a few")).copied()
    }

    /// Any registration that ever was may be confirmed: only the one that is there counts.
    async fn confirm(&mut self, seed: &mut u64) {
        let count = u64::try_from(self.primaries.len()).expect("a few");
        if count == 0 {
            return;
        }
        let number = usize::try_from(random(seed, count)).expect("a few");
        let Primary {
            association,
            id: Some(registration),
            ..
        } = self.primaries[number]
        else {
            return;
        };
        let before = self.confirmations();
        let nonce = [0; 32];
        let context = SideContext::new(&association, &nonce, Bindings::ALL, &nonce, Binding::Hello);
        let confirmation = Confirmation {
            association,
            registration,
            binding: Binding::Hello,
            context,
        };
        let confirmed = ConfirmedSide::new(confirmation, ([192, 0, 2, 1], 443).into());
        let held = self.primaries[number].held.is_some();
        let full = self.primaries[number]
            .held
            .as_ref()
            .is_some_and(|held| held.status().confirmations.len() >= 8);
        self.real.confirm(ServiceId::default(), confirmed);
        let registration = u8::try_from(number).expect("a short walk");
        let counted = self.model.confirm(association, registration, None);
        if held && !full {
            assert_eq!(
                self.confirmations() - before,
                usize::from(counted.is_some())
            );
        }
    }

    fn confirmations(&self) -> usize {
        let held = self
            .primaries
            .iter()
            .filter_map(|primary| primary.held.as_ref());
        held.map(|held| held.status().confirmations.len()).sum()
    }

    async fn expire(&mut self) {
        tokio::time::advance(TOMBSTONE + Duration::from_secs(1)).await;
        for byte in 0..u8::try_from(ASSOCIATIONS).expect("a few") {
            self.model.expire(Association([byte; Association::LEN]));
        }
    }

    fn wake(&mut self, woken: model::Woken) {
        for lookup in &mut self.lookups {
            if (lookup.connection, lookup.association) == (woken.connection, woken.association) {
                lookup.model = Pending::Ready(woken.answer);
            }
        }
    }

    async fn compare(&mut self) {
        assert_eq!(self.real.handshakes(), self.model.handshakes());
        assert_eq!(self.real.waits(), self.model.waits());
        let mut open = Vec::new();
        for mut lookup in std::mem::take(&mut self.lookups) {
            match poll!(&mut lookup.real) {
                std::task::Poll::Pending => {
                    assert_eq!(lookup.model, Pending::Waiting);
                    open.push(lookup);
                }
                std::task::Poll::Ready(reply) => {
                    assert_eq!(lookup.model, Pending::Ready(self.answer(&reply)));
                }
            }
        }
        self.lookups = open;
    }

    fn answer(&self, reply: &LookupReply) -> Answer {
        match reply {
            LookupReply::Found(found) => {
                let id = Some(found.registration);
                let number = self.primaries.iter().position(|primary| primary.id == id);
                let number = number.expect("only what was registered is found");
                Answer::Found(u8::try_from(number).expect("a short walk"))
            }
            LookupReply::Unknown => Answer::Unknown,
            LookupReply::Busy => Answer::Busy,
            other => panic!("a registry in memory is always there: {other:?}"),
        }
    }
}

fn key(association: Association) -> RegistryKey {
    RegistryKey {
        service: ServiceId::default(),
        association,
    }
}

fn requester(connection: usize, confirmed_before: bool) -> LookupRequester {
    let last = u8::try_from(connection).expect("a few");
    LookupRequester::new(IpAddr::from([192, 0, 2, last]), confirmed_before)
}

/// xorshift64*: the walks are the same in every run.
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
}
