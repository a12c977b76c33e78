//! Two servers that share a registry on two engines, as `docs/deploy/fleet.md` recommends.

use std::fs;
use std::path::Path;

use super::program::{Program, server};
use crate::redis::RedisServer;
use crate::{Result, child};

/// The programs that it needs.
const PROGRAMS: [&str; 2] = ["redis-server", "redis-cli"];
/// The settings of an engine beyond those of every [`RedisServer`].
const SETTINGS: [&str; 4] = ["--maxmemory", "512mb", "--maxmemory-policy", "noeviction"];

/// Both machines and both engines.
pub(crate) struct Fleet {
    pub(crate) machines: [Program; 2],
    pub(super) engines: [Program; 2],
}

impl Fleet {
    /// A program that it needs and that is not installed.
    pub(crate) fn missing_program() -> Option<&'static str> {
        let mut programs = PROGRAMS.into_iter();
        programs.find(|program| !child::is_installed(program))
    }

    /// Starts all of them, in the directory of a site, and waits until they listen.
    pub(super) async fn start(root: &Path) -> Result<Self> {
        fs::write(root.join("registry.key"), "5a".repeat(32))?;
        let engines = [
            engine(root, "engine a").await?,
            engine(root, "engine b").await?,
        ];
        let (one, two) = tokio::try_join!(
            machine(root, &engines, "fleet, machine 1", 1),
            machine(root, &engines, "fleet, machine 2", 2),
        )?;
        Ok(Self {
            machines: [one, two],
            engines,
        })
    }
}

async fn engine(root: &Path, name: &'static str) -> Result<Program> {
    let mut server = RedisServer::new(root.join(name), &SETTINGS)?;
    server.run().await?;
    Program::engine(name, server)
}

/// A server that requires verification: one that prefers it may answer before the other machine's
/// verification has reached it.
async fn machine(
    root: &Path,
    engines: &[Program],
    name: &'static str,
    number: u16,
) -> Result<Program> {
    let mut command = server(root, "serve", "require")?;
    command.arg(root.join("www"));
    command.args(["--service", "shop", "--machine", &number.to_string()]);
    command.arg("--registry-key").arg(root.join("registry.key"));
    for engine in engines {
        command
            .arg("--registry")
            .arg(format!("redis://{}", engine.address));
    }
    Program::start(name, command, true).await
}
