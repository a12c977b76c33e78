//! Redis servers of the lab.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::{Result, child};

/// The most ports that are tried until one is free.
const TRIES: u32 = 1_000;
/// The time in which a program must listen.
const START: Duration = Duration::from_secs(60);

/// A process without input and output, killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.stderr(Stdio::null()).spawn()?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result {
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis server with the settings of `docs/deploy/fleet.md`.
#[derive(Debug)]
pub(crate) struct RedisServer {
    address: SocketAddr,
    directory: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl RedisServer {
    /// Creates the directory of a server on a loopback port, with further arguments.
    pub(crate) fn new(directory: PathBuf, arguments: &[&str]) -> Result<Self> {
        fs::create_dir(&directory)?;
        Ok(Self {
            address: free_address()?,
            directory,
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            process: None,
        })
    }

    /// Lets it listen on this address, at the same port.
    pub(crate) fn at(mut self, ip: IpAddr) -> Self {
        self.address.set_ip(ip);
        self
    }

    /// Starts the process, empty, and waits until it listens.
    pub(crate) async fn run(&mut self) -> Result {
        self.run_by(child::tied("redis-server"))?;
        until_listening(self.address).await
    }

    /// Starts the process by a command that ends with the program's name.
    pub(crate) fn run_by(&mut self, mut command: Command) -> Result {
        command.args(["--bind", &self.address.ip().to_string()]);
        command.args(["--port", &self.address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]);
        command.arg(&self.directory).args(&self.arguments);
        // It is reachable where the lab says only.
        command.args(["--protected-mode", "no"]);
        self.process = Some(Process::start(command)?);
        Ok(())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn process(&self) -> Result<&Process> {
        Ok(self.process.as_ref().ok_or("the engine does not run")?)
    }

    /// The process alone.
    pub(crate) fn into_process(self) -> Result<Process> {
        Ok(self.process.ok_or("the engine does not run")?)
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// `redis-cli` with these arguments.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        redis_cli(self.address, arguments)
    }

    /// Repeats a command until the process is dropped.
    pub(crate) fn repeat(&self, arguments: &[&str]) -> Result<Process> {
        let forever = ["-r", "-1", "-i", "0.005"];
        Process::start(self.client(&[&forever[..], arguments].concat()))
    }

    /// Sets one of its settings.
    pub(crate) fn set(&self, name: &str, value: &str) -> Result {
        let output = self.client(&["CONFIG", "SET", name, value]).output()?;
        match output.stdout.starts_with(b"OK") {
            true => Ok(()),
            false => Err(format!("{name} {value} was refused: {output:?}").into()),
        }
    }

    /// A number in the answer to INFO.
    pub(crate) fn info(&self, field: &str) -> Result<f64> {
        let output = self.client(&["INFO"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.ok_or("INFO lacks a field")?.trim().parse()?)
    }
}

/// `redis-cli` for the server at this address, with these arguments.
pub(crate) fn redis_cli(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = child::tied("redis-cli");
    command.args(["-h", &address.ip().to_string()]);
    command.args(["-p", &address.port().to_string()]);
    command.args(arguments);
    command
}

/// Waits until a program listens there.
pub(crate) async fn until_listening(address: SocketAddr) -> Result {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = timeout(START, listening).await;
    waited.map_err(|_| format!("no program listens at {address}").into())
}

/// A loopback address that no program uses now. The system gives no port of this range to others, such as
/// to connections, and processes that run at the same time begin at different ones.
///
/// # Errors
/// When no port is free.
pub fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(64);
    for _ in 0..TRIES {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (number % 20_000) as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    Err("no port is free".into())
}
