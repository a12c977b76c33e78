//! A Redis server on a port of this host, with a directory of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::sleep;

pub(crate) struct Server {
    pub(crate) port: u16,
    arguments: Vec<String>,
    directory: PathBuf,
    process: Option<Child>,
}

/// A server with the documented settings, or `None` where Redis is not installed.
pub(crate) async fn start(test: &str) -> Option<Server> {
    start_with(test, &[]).await
}

/// The same with further arguments.
pub(crate) async fn start_with(test: &str, arguments: &[&str]) -> Option<Server> {
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED {test}: redis-server is not installed");
        return None;
    }
    let mut server = Server::new(free_port(), arguments);
    server.run().await;
    Some(server)
}

/// A port that no program uses now. The system gives none of this range to others, and no two tests get
/// the same one.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(64);
    let ports = std::iter::repeat_with(|| {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        10_000 + (number % 20_000) as u16
    });
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.take(1_000).find(is_free).expect("a port")
}

/// A directory for one process, which removes it.
pub(crate) fn new_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("mtls-redis-{}-{count}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).expect("a directory");
    directory
}

impl Server {
    fn new(port: u16, arguments: &[&str]) -> Self {
        Self {
            port,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            directory: new_directory(),
            process: None,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts the process, empty, and waits until it listens.
    pub(crate) async fn run(&mut self) {
        let port = self.port.to_string();
        let mut process = Command::new("redis-server")
            .args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(&self.directory)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let listening = self.listening_port();
        while TcpStream::connect(("127.0.0.1", listening)).await.is_err() {
            let ended = process.try_wait().expect("a process");
            assert!(ended.is_none(), "redis-server has ended: {ended:?}");
            sleep(Duration::from_millis(20)).await;
        }
        self.process = Some(process);
    }

    /// The port for TLS, if there is one.
    fn listening_port(&self) -> u16 {
        let tls = self
            .arguments
            .iter()
            .position(|argument| argument == "--tls-port");
        tls.map_or(self.port, |at| {
            self.arguments[at + 1].parse().expect("a port")
        })
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process");
            process.wait().expect("a process");
        }
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a process that runs");
        kill_process(Pid::from_child(process), signal).expect("a signal");
    }

    /// Runs a command as the default user.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        command_at(self.port, words)
    }
}

/// Runs a command at this port.
pub(crate) fn command_at(port: u16, words: &[&str]) -> String {
    let client = redis_cli(port).args(words).output();
    let client = client.expect("redis-cli runs");
    String::from_utf8_lossy(&client.stdout).trim().to_owned()
}

fn redis_cli(port: u16) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // A stopped process does not end by itself.
            let _ = kill_process(Pid::from_child(process), Signal::CONT);
        }
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
