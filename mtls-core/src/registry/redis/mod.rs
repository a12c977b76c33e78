//! Redis or Valkey as an engine of a fleet ([`FleetRegistry`](super::fleet::FleetRegistry)).
//!
//! Use one engine, or two that are independent of each other, the same on all machines: what they
//! hold is written again after a restart, so they need neither replication nor a disk. Redis 7.0 or
//! later, with `maxmemory-policy noeviction`: the engine refuses another policy, because it drops
//! entries.

mod commands;
mod connection;
mod link;
mod sentinel;
mod settings;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::RegistryKey;
use super::fleet::{Beat, Engine, EngineError, EngineEvent, MachineId, Membership, Operation, Put};
use crate::sync::lock;
use commands::Keys;
use link::Link;

pub use settings::{RedisAddress, RedisAddressError, RedisHost, RedisLocation, RedisSettings};

/// One Redis or Valkey server, or a primary with replicas that Sentinels watch.
#[derive(Clone)]
pub struct RedisEngine {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RedisSettings,
    keys: Keys,
    state: Mutex<State>,
    /// A command has shown that the connection is of no use.
    broken: Notify,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    problem: Option<EngineError>,
    evictions: Evictions,
}

/// Evicted entries are lost.
#[derive(Default)]
struct Evictions {
    count: Option<u64>,
    last: Option<Instant>,
}

impl RedisEngine {
    /// An engine that connects when its registry starts.
    pub fn new(settings: RedisSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                keys: Keys::new(settings.fleet),
                settings,
                state: Mutex::default(),
                broken: Notify::new(),
            }),
        }
    }

    /// Connects once, and checks that a machine could use the engine: that it may write, and that
    /// the engine drops no entries. Joins no fleet.
    ///
    /// # Errors
    /// The reason why a machine could not use it.
    pub async fn check(&self) -> Result<(), EngineError> {
        let (events, _) = mpsc::channel(1);
        let link = Link::new(Arc::clone(&self.inner), MachineId(0), events);
        let info = link.check(self.inner.keys.check()).await?;
        commands::Info::parse(&info).check()
    }
}

impl Engine for RedisEngine {
    fn start(&self, machine: MachineId, events: mpsc::Sender<EngineEvent>) {
        tokio::spawn(Link::new(Arc::clone(&self.inner), machine, events).run());
    }

    fn connected(&self) -> bool {
        self.inner.lock().connection.is_some()
    }

    fn problem(&self) -> Option<EngineError> {
        self.inner.lock().problem.clone()
    }

    fn put(&self, key: RegistryKey, record: Vec<u8>, life: Duration) -> Operation<'_, Put> {
        let pipe = self.inner.keys.put(&key, &record, life);
        async move {
            let (existing, waiting) = self.inner.query(pipe).await?;
            Ok(Put {
                existing,
                waiting: commands::machines(waiting),
            })
        }
        .boxed()
    }

    fn replace(
        &self,
        key: RegistryKey,
        record: Vec<u8>,
        life: Duration,
    ) -> Operation<'_, Vec<MachineId>> {
        let pipe = self.inner.keys.replace(&key, &record, life);
        async move {
            let (waiting,) = self.inner.query(pipe).await?;
            Ok(commands::machines(waiting))
        }
        .boxed()
    }

    fn ask(
        &self,
        key: RegistryKey,
        machine: MachineId,
        life: Duration,
    ) -> Operation<'_, Option<Vec<u8>>> {
        let pipe = self.inner.keys.ask(&key, machine, life);
        async move {
            let (record,) = self.inner.query(pipe).await?;
            Ok(record)
        }
        .boxed()
    }

    fn publish(&self, to: Option<MachineId>, message: Vec<u8>) -> Operation<'_, ()> {
        let pipe = self.inner.keys.publish(to, &message);
        self.inner.query(pipe).boxed()
    }

    fn keep(&self, key: RegistryKey, message: Vec<u8>, life: Duration) -> Operation<'_, ()> {
        let pipe = self.inner.keys.keep(&key, &message, life);
        self.inner.query(pipe).boxed()
    }

    fn kept(&self, key: RegistryKey) -> Operation<'_, Vec<Vec<u8>>> {
        let pipe = self.inner.keys.kept(&key);
        async move {
            let (kept,) = self.inner.query(pipe).await?;
            Ok(kept)
        }
        .boxed()
    }

    fn join(&self, machine: MachineId, beat: Beat, life: Duration) -> Operation<'_, Membership> {
        self.inner.join(machine, beat, life).boxed()
    }

    fn leave(&self, machine: MachineId) -> Operation<'_, ()> {
        let pipe = self.inner.keys.leave(machine);
        self.inner.query(pipe).boxed()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Runs commands on the connection, if there is one; one that does not answer is given up.
    async fn query<T: FromRedisValue>(&self, pipe: redis::Pipeline) -> Result<T, EngineError> {
        let connection = self.lock().connection.clone();
        let mut connection = connection.ok_or_else(EngineError::disconnected)?;
        let answer = timeout(
            self.settings.response_timeout,
            pipe.query_async(&mut connection),
        );
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                // A replica that was the primary: the address may lead to another server now.
                if error.is_unrecoverable_error() || error.code() == Some("READONLY") {
                    self.broken.notify_one();
                }
                Err(commands::engine_error(&error))
            }
            Err(_) => {
                self.broken.notify_one();
                Err(EngineError::new("no answer in time"))
            }
        }
    }

    async fn join(
        &self,
        machine: MachineId,
        beat: Beat,
        life: Duration,
    ) -> Result<Membership, EngineError> {
        let joined = self.query(self.keys.join(machine, beat, life)).await?;
        let (previous, ids): (Option<Vec<u8>>, Vec<i64>) = joined;
        let ids = commands::machines(ids);
        let listed: commands::Listed = self.query(self.keys.list(&ids)).await?;
        let info = commands::Info::parse(&listed.info);
        info.check()?;
        let members = ids
            .into_iter()
            .zip(listed.beats)
            .filter_map(|(id, beat)| Some((id, commands::beat(&beat?)?)))
            .collect();
        // A snapshot on disk brings the key of an earlier process back, and not what that lost.
        let memory = listed.memory.min(info.uptime);
        let memory = self.lock().evictions.handle(info.evicted, memory);
        Ok(Membership {
            members,
            previous: previous.as_deref().and_then(commands::beat),
            memory,
        })
    }
}

impl Evictions {
    /// The time for which the engine has lost nothing, evictions included.
    fn handle(&mut self, evicted: u64, memory: Duration) -> Duration {
        let now = Instant::now();
        // The time of evictions before the first answer is not known. Another process of the
        // engine counts from zero; its memory is short besides.
        if self.count.replace(evicted).unwrap_or(0) != evicted {
            self.last = Some(now);
        }
        let since = |last: Instant| now.saturating_duration_since(last);
        self.last.map_or(memory, |last| memory.min(since(last)))
    }
}

impl fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEngine")
            .field("address", &self.inner.settings.address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_before_the_first_answer_count_as_new() {
        let life = Duration::from_secs(60);
        assert_eq!(Evictions::default().handle(0, life), life);
        let mut evictions = Evictions::default();
        assert!(evictions.handle(17, life) < life);
        assert!(evictions.handle(17, life) < life);
    }
}
