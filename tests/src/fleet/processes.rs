//! The processes of a fleet: Redis, HAProxy, and `mtls-server` three times.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::delay::Delay;
use super::sentinel::{self, Sentinel};
use crate::attacker::{Mitm, MitmPlan};
use crate::redis::{Process, RedisServer, free_address, until_listening};
use crate::{Result, World, child, status_page};

/// The time in which a machine must be ready.
const START: Duration = Duration::from_secs(60);
const MACHINES: u16 = 3;

/// A Redis server, behind a relay that can delay it.
pub(super) struct Engine {
    pub(super) server: RedisServer,
    relay: Delay,
}

/// One `mtls-server`.
pub(super) struct Machine {
    number: u16,
    listen: SocketAddr,
    status: SocketAddr,
    process: Option<Process>,
}

/// The registry of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    /// Two engines that are independent of each other.
    TwoEngines,
    /// A primary with a replica, watched by three Sentinels.
    Sentinels,
}

/// Everything that serves, and an attacker in front of it.
pub(super) struct Fleet {
    pub(super) sentinels: Vec<Sentinel>,
    pub(super) world: World,
    pub(super) engines: [Engine; 2],
    pub(super) machines: Vec<Machine>,
    balancer: SocketAddr,
    mitm: Mitm,
    _haproxy: Process,
    urls: Vec<String>,
    directory: TempDir,
}

impl Engine {
    async fn start(directory: PathBuf, arguments: &[&str]) -> Result<Self> {
        let mut server = RedisServer::new(directory, arguments)?;
        server.run().await?;
        let relay = Delay::start(server.address()).await?;
        Ok(Self { server, relay })
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.relay.set(delay);
    }

    fn url(&self) -> String {
        format!("redis://{}", self.relay.address())
    }
}

impl Fleet {
    /// Starts everything. The machines wait until they know each other.
    pub(super) async fn start(registry: Registry) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let world = World::new()?;
        world.pki.write(&root.join("pki"), false)?;
        fs::create_dir(root.join("www"))?;
        fs::write(root.join("www/index.html"), "a page")?;
        fs::write(root.join("registry.key"), "5a".repeat(32))?;
        let (engines, sentinels) = start_engines(root, registry).await?;
        let urls = match registry {
            Registry::TwoEngines => engines.iter().map(Engine::url).collect(),
            Registry::Sentinels => vec![sentinel::url(&sentinels)],
        };
        let mut machines = Vec::new();
        for number in 1..=MACHINES {
            machines.push(Machine::new(number)?);
        }
        for machine in &mut machines {
            machine.run(root, &urls)?;
        }
        let (haproxy, balancer) = balance(root, &machines).await?;
        let plan = MitmPlan::new(&world, balancer, world.rogue_config()?)?;
        let mitm = Mitm::start(SocketAddr::from(([127, 0, 0, 1], 0)), plan).await?;
        let fleet = Self {
            world,
            sentinels,
            engines,
            machines,
            balancer,
            mitm,
            _haproxy: haproxy,
            urls,
            directory,
        };
        fleet.until_ready().await?;
        Ok(fleet)
    }

    /// The address of the service.
    pub(super) fn address(&self) -> SocketAddr {
        self.balancer
    }

    /// The address that the primary path of an attacked client leads to.
    pub(super) fn attacker(&self) -> SocketAddr {
        self.mitm.address()
    }

    /// Starts the process of a machine.
    pub(super) fn run_machine(&mut self, index: usize) -> Result {
        self.machines[index].run(self.directory.path(), &self.urls)
    }

    async fn until_ready(&self) -> Result {
        for machine in &self.machines {
            machine.until_ready().await?;
        }
        Ok(())
    }
}

async fn start_engines(root: &Path, registry: Registry) -> Result<([Engine; 2], Vec<Sentinel>)> {
    let one = Engine::start(root.join("engine-a"), &[]).await?;
    if registry == Registry::TwoEngines {
        let other = Engine::start(root.join("engine-b"), &[]).await?;
        return Ok(([one, other], Vec::new()));
    }
    let primary = one.server.address();
    let port = primary.port().to_string();
    let arguments = ["--replicaof", "127.0.0.1", &port];
    let replica = Engine::start(root.join("engine-b"), &arguments).await?;
    let sentinels = sentinel::start(root, primary).await?;
    Ok(([one, replica], sentinels))
}

impl Machine {
    fn new(number: u16) -> Result<Self> {
        Ok(Self {
            number,
            listen: free_address()?,
            status: free_address()?,
            process: None,
        })
    }

    fn run(&mut self, root: &Path, registry: &[String]) -> Result {
        let mut command = child::tied(std::env::current_exe()?);
        command.args(["server", "serve"]).arg(root.join("www"));
        for (option, file) in [
            ("--cert", "pki/server.pem"),
            ("--key", "pki/server.key"),
            ("--registry-key", "registry.key"),
        ] {
            command.arg(option).arg(root.join(file));
        }
        for (option, address) in [("--listen", self.listen), ("--status", self.status)] {
            command.arg(option).arg(address.to_string());
        }
        command.args(["--policy", "prefer", "--service", "shop", "--machine"]);
        command.arg(self.number.to_string());
        for url in registry {
            command.arg("--registry").arg(url);
        }
        self.process = Some(Process::start(command)?);
        Ok(())
    }

    /// Kills the process.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    async fn until_ready(&self) -> Result {
        let ready = async {
            while status_page::get(self.status, "/readyz").await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = timeout(START, ready).await;
        waited.map_err(|_| format!("machine {} is not ready", self.number).into())
    }
}

/// HAProxy in TCP mode, round robin, in front of all connections.
async fn balance(root: &Path, machines: &[Machine]) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let mut config = format!(
        "global\n nbthread 1\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         retries 3\n option redispatch 1\n\
         listen machines\n bind {address}\n balance roundrobin\n option httpchk GET /readyz\n"
    );
    for Machine {
        number,
        listen,
        status,
        ..
    } in machines
    {
        let port = status.port();
        writeln!(
            config,
            " server m{number} {listen} check port {port} inter 200ms fall 1 rise 1"
        )?;
    }
    let file = root.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = child::tied("haproxy");
    command.args(["-db", "-f"]).arg(&file);
    let process = Process::start(command)?;
    until_listening(address).await?;
    Ok((process, address))
}
