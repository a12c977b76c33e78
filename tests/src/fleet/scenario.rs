//! The faults.

use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;

use super::processes::{Engine, Fleet, Registry};
use crate::Result;
use crate::redis::Process;

/// The delay of each direction to a slow engine: 100 ms for a command.
const SLOW: Duration = Duration::from_millis(50);

/// Overwrites every record, as an attacker with write access to an engine could.
const POISON: &str = "for _, key in ipairs(redis.call('KEYS', 'mtls:*:e:*')) do \
                      redis.call('SET', key, 'poison', 'XX', 'KEEPTTL') end";

/// A fault of a fleet, which begins and ends under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Scenario {
    /// None
    NoFault,
    /// One engine is stopped by SIGSTOP, and continues
    OneEngineStopped,
    /// Both engines are stopped by SIGSTOP, and continue
    EnginesStopped,
    /// One engine is killed, and restarts empty
    OneEngineKilled,
    /// Both engines are killed, and restart empty
    EnginesKilled,
    /// One engine answers after 100 ms
    OneEngineSlow,
    /// Both engines answer after 100 ms
    EnginesSlow,
    /// One engine is at maxmemory, without eviction
    OneEngineFull,
    /// Both engines are at maxmemory, without eviction
    EnginesFull,
    /// Both engines are at maxmemory, and evict
    EnginesEvict,
    /// One machine is killed, and starts again
    MachineKilled,
    /// An attacker overwrites all records on both engines, again and again
    RecordsPoisoned,
    /// Of a primary with a replica and three Sentinels, the primary is killed, and starts again
    SentinelPrimaryKilled,
    /// Three Sentinels make the replica the primary
    SentinelFailover,
}

/// A fault that has begun, with the processes of an attacker.
pub(super) struct Fault {
    _attacker: Vec<Process>,
}

impl Scenario {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::NoFault => "no fault",
            Self::OneEngineStopped => "one engine stopped (SIGSTOP)",
            Self::EnginesStopped => "both engines stopped (SIGSTOP)",
            Self::OneEngineKilled => "one engine killed, restarted empty",
            Self::EnginesKilled => "both engines killed, restarted empty",
            Self::OneEngineSlow => "one engine slow (100 ms)",
            Self::EnginesSlow => "both engines slow (100 ms)",
            Self::OneEngineFull => "one engine at maxmemory, noeviction",
            Self::EnginesFull => "both engines at maxmemory, noeviction",
            Self::EnginesEvict => "both engines at maxmemory, evicting",
            Self::MachineKilled => "one machine killed, started again",
            Self::RecordsPoisoned => "all records overwritten, again and again",
            Self::SentinelPrimaryKilled => "Sentinel: primary killed, started again",
            Self::SentinelFailover => "Sentinel: planned failover",
        }
    }

    /// The registry of the fleet that it is about.
    pub(super) fn registry(self) -> Registry {
        match self {
            Self::SentinelPrimaryKilled | Self::SentinelFailover => Registry::Sentinels,
            _ => Registry::TwoEngines,
        }
    }

    /// The engines that it affects.
    fn engines(self, fleet: &mut Fleet) -> &mut [Engine] {
        match self {
            Self::OneEngineStopped
            | Self::OneEngineKilled
            | Self::OneEngineSlow
            | Self::OneEngineFull
            | Self::SentinelPrimaryKilled => &mut fleet.engines[..1],
            _ => &mut fleet.engines,
        }
    }

    pub(super) async fn begin(self, fleet: &mut Fleet) -> Result<Fault> {
        let mut attacker = Vec::new();
        for engine in self.engines(fleet) {
            match self {
                Self::OneEngineStopped | Self::EnginesStopped => {
                    engine.server.process()?.signal(Signal::STOP)?
                }
                Self::OneEngineKilled | Self::EnginesKilled | Self::SentinelPrimaryKilled => {
                    engine.server.kill();
                }
                Self::OneEngineSlow | Self::EnginesSlow => engine.delay(SLOW),
                Self::OneEngineFull | Self::EnginesFull => engine.server.set("maxmemory", "1")?,
                Self::EnginesEvict => {
                    engine.server.set("maxmemory-policy", "allkeys-random")?;
                    engine.server.set("maxmemory", "1")?;
                }
                Self::RecordsPoisoned => {
                    attacker.push(engine.server.repeat(&["EVAL", POISON, "0"])?);
                }
                Self::NoFault | Self::MachineKilled | Self::SentinelFailover => {}
            }
        }
        if self == Self::MachineKilled {
            fleet.machines[0].kill();
        }
        if self == Self::SentinelFailover {
            let sentinel = fleet.sentinels.first().ok_or("no Sentinel")?;
            sentinel.fail_over().await?;
        }
        Ok(Fault {
            _attacker: attacker,
        })
    }

    pub(super) async fn end(self, fleet: &mut Fleet, fault: Fault) -> Result {
        drop(fault);
        if self == Self::MachineKilled {
            return fleet.run_machine(0);
        }
        for engine in self.engines(fleet) {
            match self {
                Self::OneEngineStopped | Self::EnginesStopped => {
                    engine.server.process()?.signal(Signal::CONT)?
                }
                Self::OneEngineKilled | Self::EnginesKilled | Self::SentinelPrimaryKilled => {
                    engine.server.run().await?;
                }
                Self::OneEngineSlow | Self::EnginesSlow => engine.delay(Duration::ZERO),
                Self::OneEngineFull | Self::EnginesFull | Self::EnginesEvict => {
                    engine.server.set("maxmemory", "0")?;
                    engine.server.set("maxmemory-policy", "noeviction")?;
                }
                Self::NoFault
                | Self::MachineKilled
                | Self::RecordsPoisoned
                | Self::SentinelFailover => {}
            }
        }
        Ok(())
    }
}
