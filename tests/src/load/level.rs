//! The resources of a process.

use std::fs;
use std::net::SocketAddr;

use serde::Serialize;
use serde_json::Value;

use crate::redis::redis_cli;
use crate::{Result, status_page};

/// Memory that a process may hold beyond its level before: the allocator keeps pages of a peak.
const MEMORY_SLACK_KB: u64 = 16 * 1024;

/// Ends of empty pipes that a relay keeps for later, at most: those of 16 pipes.
const SPARE_PIPE_ENDS: u64 = 32;

/// The keys of an engine that hold handshakes, and what waits for them.
const HANDSHAKES: &str = "mtls:*:[ewc]:*";

/// The source of the counts that the kernel does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counts {
    None,
    StatusPage(SocketAddr),
    Engine(SocketAddr),
}

/// The resources of a process at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Level {
    /// Open descriptors, without those of pipes.
    pub(crate) descriptors: u64,
    pub(crate) pipe_ends: u64,
    pub(crate) threads: u64,
    pub(crate) memory_kb: u64,
    /// Handshakes in the registry, and Opens that wait for theirs; the records of an engine.
    pub(crate) pending: u64,
    /// Open connections, by the process's own count, and open side connections.
    pub(crate) connections: u64,
    pub(crate) sides: u64,
}

impl Level {
    /// That of a process, with these counts.
    pub(crate) async fn of(pid: u32, counts: Counts) -> Result<Self> {
        let mut level = Self::of_process(pid)?;
        match counts {
            Counts::None => {}
            Counts::StatusPage(address) => level.read_page(address).await?,
            Counts::Engine(address) => level.pending = records(address).await?,
        }
        Ok(level)
    }

    async fn read_page(&mut self, address: SocketAddr) -> Result {
        let status: Value = serde_json::from_str(&status_page::get(address, "/status").await?)?;
        let count = |pointer| {
            let number = status.pointer(pointer).and_then(Value::as_u64);
            number.ok_or_else(|| format!("{address}/status has no {pointer}"))
        };
        self.pending = count("/pending_handshakes")? + count("/waiting_opens")?;
        self.connections = count("/connections/open")?;
        self.sides = count("/side/open")?;
        Ok(())
    }

    /// That of a process, without its connections.
    pub(crate) fn of_process(pid: u32) -> Result<Self> {
        let proc_status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = proc_status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|rest| rest.split_whitespace().next());
            Ok(value.ok_or("a field of /proc is missing")?.parse()?)
        };
        // A descriptor may be closed meanwhile.
        let open = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            Some(target.to_string_lossy().starts_with("pipe:"))
        });
        let (pipes, others): (Vec<_>, Vec<_>) = open.partition(|is_pipe| *is_pipe);
        Ok(Self {
            descriptors: others.len() as u64,
            pipe_ends: pipes.len() as u64,
            threads: field("Threads:")?,
            memory_kb: field("VmRSS:")?,
            ..Self::default()
        })
    }

    /// The greater one of each resource.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            descriptors: self.descriptors.max(other.descriptors),
            pipe_ends: self.pipe_ends.max(other.pipe_ends),
            threads: self.threads.max(other.threads),
            memory_kb: self.memory_kb.max(other.memory_kb),
            pending: self.pending.max(other.pending),
            connections: self.connections.max(other.connections),
            sides: self.sides.max(other.sides),
        }
    }

    /// Whether no connection is left, but side connections that a pool keeps.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending == 0 && self.connections == 0
    }

    /// Whether a process holds no more than it did `before`.
    pub(crate) fn is_back_at(&self, before: &Self) -> bool {
        self.is_idle()
            && self.descriptors <= before.descriptors
            && self.pipe_ends <= before.pipe_ends.max(SPARE_PIPE_ENDS)
            && self.threads <= before.threads
            && self.sides <= before.sides
            && self.memory_kb <= before.memory_kb + before.memory_kb / 4 + MEMORY_SLACK_KB
    }
}

/// The number of records that an engine holds.
async fn records(engine: SocketAddr) -> Result<u64> {
    let command = redis_cli(engine, &["--scan", "--pattern", HANDSHAKES]);
    let output = tokio::process::Command::from(command).output().await?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?.lines().count() as u64),
        false => Err(format!("redis-cli failed: {output:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_that_is_not_returned_is_a_leak() {
        let before = Level {
            descriptors: 12,
            pipe_ends: 4,
            threads: 3,
            memory_kb: 8_192,
            pending: 0,
            connections: 0,
            sides: 1,
        };
        assert!(before.is_back_at(&before));
        let leaks = [
            Level {
                descriptors: 13,
                ..before
            },
            Level {
                pipe_ends: SPARE_PIPE_ENDS + 2,
                ..before
            },
            Level {
                threads: 4,
                ..before
            },
            Level {
                memory_kb: 40_000,
                ..before
            },
            Level {
                pending: 1,
                ..before
            },
            Level {
                connections: 1,
                ..before
            },
            Level { sides: 2, ..before },
        ];
        for leak in leaks {
            assert!(!leak.is_back_at(&before), "{leak:?}");
        }
    }
}
