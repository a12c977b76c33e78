//! The time by which entries expire.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The difference between the clocks that is not a jump, in seconds.
const TOLERANCE: u64 = 3600;

/// The longest identifier of a boot.
const MAX_BOOT_ID: usize = 64;

/// Both clocks at one moment.
#[derive(Clone, Debug)]
pub(in crate::known_hosts) struct Reading {
    /// The system's clock, in seconds since 1970-01-01 UTC.
    pub(in crate::known_hosts) wall: u64,
    /// Names this boot of the machine; empty if unknown.
    pub(in crate::known_hosts) boot: String,
    /// The time since boot, in seconds, suspension included.
    pub(in crate::known_hosts) since_boot: u64,
}

/// The clocks at the time of the last write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Anchor {
    unix: u64,
    boot: String,
    since_boot: u64,
}

/// A jump of the system's clock against the store. Entries last longer because of it, never shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockJump {
    /// Forward, or back.
    pub forward: bool,
    /// By this much.
    pub by: Duration,
}

/// Reads the clocks of this machine.
pub(super) fn read_clocks() -> Reading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Reading {
        wall: wall.map_or(0, |wall| wall.as_secs()),
        boot: boot.trim().chars().take(MAX_BOOT_ID).collect(),
        since_boot: since_boot.as_secs(),
    }
}

impl Reading {
    /// The time now, and the jump that it disregards. Within one boot the time since then is known,
    /// whatever happens to the system's clock.
    pub(super) fn against(&self, anchor: Option<&Anchor>) -> (u64, Option<ClockJump>) {
        let Some(anchor) = anchor else {
            return (self.wall, None);
        };
        let same_boot = !self.boot.is_empty() && self.boot == anchor.boot;
        let elapsed = self.since_boot.checked_sub(anchor.since_boot);
        let expected = match elapsed.filter(|_| same_boot) {
            Some(elapsed) => anchor.unix.saturating_add(elapsed),
            // After another boot only a clock that went back is noticed.
            None => anchor.unix.max(self.wall),
        };
        let jump = |forward: bool| {
            let by = self.wall.abs_diff(expected);
            (by > TOLERANCE).then_some(ClockJump {
                forward,
                by: Duration::from_secs(by),
            })
        };
        // The earlier of both: entries last longer.
        (self.wall.min(expected), jump(self.wall > expected))
    }

    pub(super) fn anchored_at(&self, now: u64) -> Anchor {
        Anchor {
            unix: now,
            boot: self.boot.clone(),
            since_boot: self.since_boot,
        }
    }
}

impl Anchor {
    #[cfg(test)]
    pub(super) fn new(boot: String, unix: u64, since_boot: u64) -> Self {
        Self {
            unix,
            boot,
            since_boot,
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.boot.len() <= MAX_BOOT_ID
    }
}

impl fmt::Display for ClockJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.forward { "forward" } else { "back" };
        write!(
            f,
            "the system's clock jumped {direction} by {} hours; known hosts do not expire by that",
            self.by.as_secs() / 3600
        )
    }
}
