//! The commands. Keys of one handshake are in one hash slot, by the part in braces.

use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Pipeline, RedisError, Value, pipe};

use crate::registry::fleet::{Beat, EngineError, MAX_KEPT, MachineId};
use crate::registry::{RegistryKey, ServiceId};

/// The life of the key whose age is the engine's memory: longer than an engine runs.
const EPOCH_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The names of a fleet's keys and channels.
#[derive(Debug)]
pub(super) struct Keys {
    fleet: String,
}

impl Keys {
    pub(super) fn new(fleet: ServiceId) -> Self {
        Self {
            fleet: hex(fleet.as_bytes()),
        }
    }

    pub(super) fn channels(&self, machine: MachineId) -> [String; 2] {
        [self.inbox(Some(machine)), self.inbox(None)]
    }

    fn inbox(&self, to: Option<MachineId>) -> String {
        let to = to.map_or_else(|| "all".to_owned(), |machine| machine.to_string());
        format!("mtls:{}:in:{to}", self.fleet)
    }

    fn members(&self) -> String {
        format!("mtls:{{{}}}:m", self.fleet)
    }

    fn member(&self, machine: MachineId) -> String {
        format!("mtls:{{{}}}:m:{machine}", self.fleet)
    }

    fn epoch(&self) -> String {
        format!("mtls:{{{}}}:epoch", self.fleet)
    }

    /// `e` is the record, `w` the machines that wait, `c` what was kept.
    fn of(&self, kind: char, key: &RegistryKey) -> String {
        let service = hex(key.service.as_bytes());
        format!(
            "mtls:{}:{kind}:{{{service}{}}}",
            self.fleet, key.association
        )
    }

    /// Writes before it reads, so that of two machines at least one sees the other.
    pub(super) fn put(&self, key: &RegistryKey, record: &[u8], life: Duration) -> Pipeline {
        let mut pipe = pipe();
        pipe.cmd("SET").arg(self.of('e', key)).arg(record);
        pipe.arg("NX").arg("GET").arg("PX").arg(millis(life));
        pipe.cmd("SMEMBERS").arg(self.of('w', key));
        pipe
    }

    /// Writes before it reads, as [`put`](Self::put) does.
    pub(super) fn replace(&self, key: &RegistryKey, record: &[u8], life: Duration) -> Pipeline {
        let mut pipe = pipe();
        pipe.cmd("SET").arg(self.of('e', key)).arg(record);
        pipe.arg("PX").arg(millis(life)).ignore();
        pipe.cmd("SMEMBERS").arg(self.of('w', key));
        pipe
    }

    /// Writes before it reads: a read-only replica and a full engine fail.
    pub(super) fn ask(&self, key: &RegistryKey, machine: MachineId, life: Duration) -> Pipeline {
        let waiting = self.of('w', key);
        let mut pipe = pipe();
        pipe.cmd("SADD").arg(&waiting).arg(machine.0).ignore();
        pipe.cmd("PEXPIRE").arg(&waiting).arg(millis(life)).ignore();
        pipe.cmd("GET").arg(self.of('e', key));
        pipe
    }

    pub(super) fn publish(&self, to: Option<MachineId>, message: &[u8]) -> Pipeline {
        let mut pipe = pipe();
        pipe.cmd("PUBLISH")
            .arg(self.inbox(to))
            .arg(message)
            .ignore();
        pipe
    }

    pub(super) fn keep(&self, key: &RegistryKey, message: &[u8], life: Duration) -> Pipeline {
        let kept = self.of('c', key);
        let mut pipe = pipe();
        pipe.cmd("RPUSH").arg(&kept).arg(message).ignore();
        pipe.cmd("LTRIM")
            .arg(&kept)
            .arg(0)
            .arg(MAX_KEPT - 1)
            .ignore();
        pipe.cmd("PEXPIRE").arg(&kept).arg(millis(life)).ignore();
        pipe
    }

    pub(super) fn kept(&self, key: &RegistryKey) -> Pipeline {
        let mut pipe = pipe();
        let kept = self.of('c', key);
        pipe.cmd("LRANGE").arg(kept).arg(0).arg(MAX_KEPT - 1);
        pipe
    }

    pub(super) fn join(&self, machine: MachineId, beat: Beat, life: Duration) -> Pipeline {
        let mut pipe = pipe();
        pipe.cmd("SET")
            .arg(self.member(machine))
            .arg(&beat.to_bytes());
        pipe.arg("PX").arg(millis(life)).arg("GET");
        pipe.cmd("SADD").arg(self.members()).arg(machine.0).ignore();
        pipe.cmd("SET").arg(self.epoch()).arg(1);
        pipe.arg("NX").arg("PX").arg(millis(EPOCH_LIFE)).ignore();
        pipe.cmd("SMEMBERS").arg(self.members());
        pipe
    }

    /// The latest beat of each member, if its life is not over; then the memory, which shows a loss
    /// before this or between the two.
    pub(super) fn list(&self, members: &[MachineId]) -> Pipeline {
        let mut pipe = pipe();
        pipe.cmd("MGET");
        for machine in members {
            pipe.arg(self.member(*machine));
        }
        pipe.cmd("PTTL").arg(self.epoch());
        pipe.cmd("INFO").arg("memory").arg("stats").arg("server");
        pipe
    }

    /// Commands that show that this user may write to this server.
    pub(super) fn check(&self) -> Pipeline {
        let mut pipe = pipe();
        let name = format!("mtls:{}:check", self.fleet);
        pipe.cmd("SET")
            .arg(name)
            .arg(1)
            .arg("PX")
            .arg(1_000)
            .ignore();
        pipe.cmd("INFO").arg("memory").arg("stats");
        pipe
    }

    pub(super) fn leave(&self, machine: MachineId) -> Pipeline {
        let mut pipe = pipe();
        pipe.cmd("DEL").arg(self.member(machine)).ignore();
        pipe.cmd("SREM").arg(self.members()).arg(machine.0).ignore();
        pipe
    }
}

/// The answers to [`Keys::list`].
pub(super) struct Listed {
    pub(super) beats: Vec<Option<Vec<u8>>>,
    pub(super) memory: Duration,
    pub(super) info: String,
}

impl FromRedisValue for Listed {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (beats, epoch, info) = <(Vec<Option<Vec<u8>>>, i64, String)>::from_redis_value(value)?;
        let left = Duration::from_millis(u64::try_from(epoch).unwrap_or(0));
        // Without the key there is no memory.
        let memory = match epoch > 0 {
            true => EPOCH_LIFE.saturating_sub(left),
            false => Duration::ZERO,
        };
        Ok(Self {
            beats,
            memory,
            info,
        })
    }
}

/// The fields of `INFO` that are read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) policy: String,
    pub(super) evicted: u64,
    /// The age of the process, at least.
    pub(super) uptime: Duration,
}

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or_default()
                .trim()
        };
        // The difference of two times in whole seconds: up to one second too much.
        let uptime = Duration::from_secs(field("uptime_in_seconds").parse().unwrap_or(0));
        Self {
            policy: field("maxmemory_policy").to_owned(),
            evicted: field("evicted_keys").parse().unwrap_or(0),
            uptime: uptime.saturating_sub(Duration::from_secs(1)),
        }
    }

    /// An engine that may drop entries at any time is refused.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        match self.policy.as_str() {
            "noeviction" => Ok(()),
            other => Err(EngineError::new(format!(
                "its maxmemory-policy is `{other}`, which drops entries; set it to `noeviction`"
            ))),
        }
    }
}

pub(super) fn machines(numbers: Vec<i64>) -> Vec<MachineId> {
    let machine = |number| u16::try_from(number).ok().map(MachineId);
    numbers.into_iter().filter_map(machine).collect()
}

pub(super) fn beat(bytes: &[u8]) -> Option<Beat> {
    bytes.try_into().ok().map(Beat::from_bytes)
}

/// Without the commands: they hold names of handshakes, and `AUTH` a password.
pub(super) fn engine_error(error: &RedisError) -> EngineError {
    EngineError::new(match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    })
}

fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
