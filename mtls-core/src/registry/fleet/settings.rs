//! The settings of a fleet's registry.

use std::fmt;
use std::time::Duration;

use super::engine::MachineId;
use super::members::MemberTimes;
use super::seal::FleetKeys;
use crate::registry::MemoryRegistryLimits;

/// The settings of a [`FleetRegistry`](super::FleetRegistry).
///
/// ```
/// use std::time::Duration;
///
/// use mtls_core::registry::fleet::{FleetKeys, FleetSettings, MachineId};
///
/// # fn main() -> Result<(), mtls_core::registry::fleet::FleetKeysError> {
/// let keys = FleetKeys::from_text(&"7f".repeat(FleetKeys::KEY_LEN))?;
/// let mut settings = FleetSettings::new(MachineId(1), keys);
/// settings.register_wait = Duration::from_millis(200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FleetSettings {
    /// The number of this machine, different for each machine of the fleet.
    pub machine: MachineId,
    /// The keys of the fleet, the same on every machine.
    pub keys: FleetKeys,
    /// The bounds of this machine's own table and of its waits.
    pub limits: MemoryRegistryLimits,
    /// The time that an engine keeps a record; after that its machine answers for it. Default: 15 s.
    pub record_life: Duration,
    /// The time that a machine without a heartbeat is still asked, and for which every engine must
    /// have forgotten nothing; until then handshakes that no machine holds are unavailable instead
    /// of unknown. Default: 30 s.
    pub member_life: Duration,
    /// The time that a machine without an engine continues to complete handshakes; at most a third
    /// of `member_life`. Default: 5 s.
    pub lease: Duration,
    /// The time between two heartbeats; at most a quarter of `lease`. Default: 1 s.
    pub heartbeat: Duration,
    /// The time that a question waits for the answers of all machines. Default: 300 ms.
    pub poll_wait: Duration,
    /// The time that a look-up after Done, which needs certainty, repeats its question while an engine
    /// or a machine does not answer. Keep it below the clients' deadline. Default: 1.5 s.
    pub ride_out: Duration,
    /// The time that a registration waits for an engine before the handshake goes on with this
    /// machine's own table alone. Default: 300 ms.
    pub register_wait: Duration,
    /// The time that a message about a confirmation is kept and repeated. Default: 10 s.
    pub note_life: Duration,
    /// Questions to all machines at a time; look-ups beyond are busy. Default: 1,024.
    pub max_polls: usize,
    /// Messages to other machines that are being sent at a time; more are dropped. Default: 4,096.
    pub max_notes: usize,
    /// Received messages of one engine that wait to be handled; more are dropped. Default: 4,096.
    pub max_messages: usize,
}

/// Reason why a [`FleetRegistry`](super::FleetRegistry) does not start.
///
/// ```
/// use mtls_core::registry::fleet::double::MemoryEngine;
/// use mtls_core::registry::fleet::{FleetError, FleetKeys, FleetRegistry, FleetSettings, MachineId};
///
/// let keys = FleetKeys::new(&[7; FleetKeys::KEY_LEN]);
/// let settings = FleetSettings::new(MachineId(1), keys);
/// let engines: Vec<MemoryEngine> = Vec::new();
/// let error = FleetRegistry::start(engines, settings).err();
/// assert_eq!(error, Some(FleetError::NoEngine));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetError {
    /// No engine.
    NoEngine,
    /// A setting of zero.
    Zero(&'static str),
    /// A time beyond what another setting allows.
    TooLong {
        /// The setting.
        name: &'static str,
        /// Its bound.
        bound: &'static str,
    },
    /// The system gives no random bytes.
    NoRandom,
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEngine => f.write_str("no engine: a fleet needs at least one"),
            Self::Zero(name) => write!(f, "`{name}` must be more than zero"),
            Self::TooLong { name, bound } => write!(f, "`{name}` must be at most `{bound}`"),
            Self::NoRandom => f.write_str("the system gives no random bytes"),
        }
    }
}

impl std::error::Error for FleetError {}

impl FleetSettings {
    /// The default settings for a machine of a fleet with these keys.
    pub fn new(machine: MachineId, keys: FleetKeys) -> Self {
        Self {
            machine,
            keys,
            limits: MemoryRegistryLimits::default(),
            record_life: Duration::from_secs(15),
            member_life: Duration::from_secs(30),
            lease: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            poll_wait: Duration::from_millis(300),
            ride_out: Duration::from_millis(1500),
            register_wait: Duration::from_millis(300),
            note_life: Duration::from_secs(10),
            max_polls: 1_024,
            max_notes: 4_096,
            max_messages: 4_096,
        }
    }

    pub(super) fn check(&self) -> Result<(), FleetError> {
        for (name, is_zero) in [
            ("record_life", self.record_life.is_zero()),
            ("member_life", self.member_life.is_zero()),
            ("lease", self.lease.is_zero()),
            ("heartbeat", self.heartbeat.is_zero()),
            ("poll_wait", self.poll_wait.is_zero()),
            ("ride_out", self.ride_out.is_zero()),
            ("register_wait", self.register_wait.is_zero()),
            ("note_life", self.note_life.is_zero()),
            ("max_polls", self.max_polls == 0),
            ("max_notes", self.max_notes == 0),
            ("max_messages", self.max_messages == 0),
        ] {
            if is_zero {
                return Err(FleetError::Zero(name));
            }
        }
        for (name, time, bound, limit) in [
            ("lease", self.lease, "member_life / 3", self.member_life / 3),
            ("heartbeat", self.heartbeat, "lease / 4", self.lease / 4),
        ] {
            if time > limit {
                return Err(FleetError::TooLong { name, bound });
            }
        }
        Ok(())
    }

    pub(super) fn member_times(&self) -> MemberTimes {
        MemberTimes {
            life: self.member_life,
            lease: self.lease,
        }
    }
}
