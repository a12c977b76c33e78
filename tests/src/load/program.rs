//! One process of a site.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::level::{Counts, Level};
use crate::redis::{Process, RedisServer, free_address, until_listening};
use crate::{Result, child, meter};

/// A program under test.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    counts: Counts,
    process: Process,
}

impl Program {
    /// Starts a program of `mtls-lab`, with an address to listen at.
    pub(super) async fn start(
        name: &'static str,
        arguments: Command,
        has_status: bool,
    ) -> Result<Self> {
        let mut command = arguments;
        let address = free_address()?;
        command.arg("--listen").arg(address.to_string());
        let mut counts = Counts::None;
        if has_status {
            let status = free_address()?;
            command.arg("--status").arg(status.to_string());
            counts = Counts::StatusPage(status);
        }
        let process = Process::start(command)?;
        let listening = until_listening(address).await;
        listening.map_err(|error| format!("{name}: {error}"))?;
        Ok(Self {
            name,
            address,
            counts,
            process,
        })
    }

    /// An engine of a fleet, which runs.
    pub(super) fn engine(name: &'static str, engine: RedisServer) -> Result<Self> {
        let address = engine.address();
        Ok(Self {
            name,
            address,
            counts: Counts::Engine(address),
            process: engine.into_process()?,
        })
    }

    pub(super) fn signal(&self, signal: Signal) -> Result {
        self.process.signal(signal)
    }

    /// The CPU time of the process so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        meter::of_process(self.process.id())
    }

    /// The level without the counts of the status page.
    pub(crate) fn process_level(&self) -> Result<Level> {
        Level::of_process(self.process.id())
    }

    pub(crate) async fn level(&self) -> Result<Level> {
        Level::of(self.process.id(), self.counts).await
    }
}

/// A server with the site's certificate, without its address.
pub(super) fn server(root: &Path, command: &str, policy: &str) -> Result<Command> {
    let mut server = child::tied(std::env::current_exe()?);
    server.args(["server", command, "--policy", policy]);
    server.arg("--cert").arg(root.join("pki/server.pem"));
    server.arg("--key").arg(root.join("pki/server.key"));
    Ok(server)
}
