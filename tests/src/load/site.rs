//! The processes of a soak.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::level::Level;
use super::program::{Program, server};
use crate::tasks::Listening;
use crate::{HOST, Result, World, child};

/// The field in which the target of `terminate` returns the verdict that it received.
pub(crate) const ECHO: &str = "verdict-at-target";
/// The time in which every process must be back at its level: the lives of silent connections, of
/// pending handshakes and of idle threads end before.
const SETTLING: Duration = Duration::from_secs(90);
/// The length of the file `large`.
const LARGE: u64 = 1 << 30;
/// Servers let clients inherit verification.
const INHERIT: [&str; 2] = ["--inherit", "12h"];
/// The longest request head that the target reads.
const MAX_HEAD: usize = 64 * 1024;

/// All programs, each in front of or behind another.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) serve: Program,
    pub(crate) terminate: Program,
    pub(crate) passthrough: Program,
    /// Verifies `serve`.
    pub(crate) proxy: Program,
    pub(crate) fleet: Option<Fleet>,
    _target: Listening,
    directory: TempDir,
}

impl Site {
    /// Starts all of them but the fleet, and waits until they listen.
    pub(crate) async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let world = World::new()?;
        world.pki.write(&root.join("pki"), false)?;
        fs::create_dir(root.join("www"))?;
        fs::write(root.join("www/index.html"), "a page")?;
        fs::File::create(root.join("www/large"))?.set_len(LARGE)?;
        let target = Listening::start(([127, 0, 0, 1], 0).into(), |stream, _| async {
            // A client that leaves ends its connection.
            let _ = echo_verdicts(stream).await;
        })
        .await?;

        let mut command = server(root, "serve", "prefer")?;
        command.arg("--http3").args(INHERIT).arg(root.join("www"));
        let serve = Program::start("serve", command, true).await?;
        let mut command = server(root, "terminate", "prefer")?;
        command
            .arg("--http3")
            .args(INHERIT)
            .arg("--target")
            .arg(format!("http://{}", target.address));
        let terminate = Program::start("terminate", command, true).await?;
        let mut command = child::tied(std::env::current_exe()?);
        command.args(["server", "passthrough", "--policy", "prefer", "--target"]);
        command.arg(serve.address.to_string());
        let passthrough = Program::start("passthrough", command, true).await?;
        let proxy = Program::start("proxy", proxy(&serve)?, false).await?;
        Ok(Self {
            world,
            serve,
            terminate,
            passthrough,
            proxy,
            fleet: None,
            _target: target,
            directory,
        })
    }

    /// Starts the fleet too.
    pub(crate) async fn start_fleet(&mut self) -> Result {
        self.fleet = Some(Fleet::start(self.directory.path()).await?);
        Ok(())
    }

    /// The file with the certificate of the authority.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("pki/ca.pem")
    }

    /// Gives the servers with certificates a new certificate and key, which they load at once.
    pub(crate) fn renew(&self) -> Result {
        let leaf = self.world.pki.ca.issue(&[HOST, "localhost"])?;
        let file = |name| self.directory.path().join("pki").join(name);
        fs::write(file("server.key"), leaf.key_pem())?;
        fs::write(file("server.pem"), leaf.chain_pem())?;
        let alone = [&self.serve, &self.terminate];
        for program in alone.into_iter().chain(self.machines()) {
            program.signal(Signal::HUP)?;
        }
        Ok(())
    }

    /// The servers of the fleet.
    fn machines(&self) -> impl Iterator<Item = &Program> {
        self.fleet.iter().flat_map(|fleet| &fleet.machines)
    }

    /// The programs that accept connections of TLS and of side paths.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Program> {
        let alone = [&self.serve, &self.terminate, &self.passthrough];
        alone.into_iter().chain(self.machines())
    }

    /// The programs that clients reach: all but the engines.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Program> {
        self.servers().chain([&self.proxy])
    }

    /// All programs.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Program> {
        let engines = self.fleet.iter().flat_map(|fleet| &fleet.engines);
        self.listeners().chain(engines)
    }
}

/// The levels of all processes once they are idle, and not above those `before`; as they are, after
/// [`SETTLING`].
pub(crate) async fn settle(site: &Site, before: Option<&[Level]>) -> Result<Vec<Level>> {
    let end = Instant::now() + SETTLING;
    loop {
        let mut levels = Vec::new();
        for process in site.services() {
            levels.push(process.level().await?);
        }
        let settled = match before {
            Some(before) => levels
                .iter()
                .zip(before)
                .all(|(now, then)| now.is_back_at(then)),
            None => levels.iter().all(Level::is_idle),
        };
        if settled || Instant::now() > end {
            return Ok(levels);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

fn proxy(serve: &Program) -> Result<Command> {
    let mut proxy = child::tied(std::env::current_exe()?);
    proxy.args([
        "client",
        "proxy",
        "--policy",
        "require",
        "--no-known-hosts",
        "--side",
        "direct",
    ]);
    let resolve = format!("{HOST}:{}:{}", serve.address.port(), serve.address.ip());
    proxy.arg("--resolve").arg(resolve);
    Ok(proxy)
}

/// Answers every request with the verdict that it carries.
async fn echo_verdicts(mut stream: TcpStream) -> Result {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 || head.len() > MAX_HEAD {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&head);
        let Some((fields, rest)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let verdict = field(fields, "multipath-verdict").unwrap_or("none");
        let response =
            format!("HTTP/1.1 200 OK\r\n{ECHO}: {verdict}\r\nContent-Length: 6\r\n\r\na page");
        let rest = rest.as_bytes().to_vec();
        stream.write_all(response.as_bytes()).await?;
        head = rest;
    }
}

/// The value of a header field.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(found, _)| found.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value.trim())
}
