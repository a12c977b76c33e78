//! Two real paths: a client, two routers and a server, each in a network namespace of its own.
//!
//! ```text
//!            ┌── path0 ── router 1 ──┐
//!   client ──┤                       ├── server (10.99.0.1 on its loopback interface)
//!            └── path1 ── router 2 ──┘
//! ```
//!
//! No namespace has a name: a file descriptor of this process holds it. The kernel removes it, with its
//! interfaces, routes and nftables tables, when the process ends, even by SIGKILL.
//!
//! Needs root, `ip`, `nft` and util-linux; [`unavailable`] names what is missing.

use std::ffi::OsStr;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns, unshare};

use crate::{Result, child};

/// The server's address, which both paths lead to.
pub const SERVER: IpAddr = IpAddr::V4(SERVER_V4);
/// The same as an IPv4 address.
pub(crate) const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The client's interfaces, one for each path.
pub const INTERFACES: [&str; 2] = ["path0", "path1"];

/// The reason why this process cannot create namespaces; `None` where it can.
pub fn unavailable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces take root".to_owned());
    }
    for program in ["ip", "nft", "nsenter", "setpriv"] {
        if !child::is_installed(program) {
            return Some(format!("the program `{program}` is not installed"));
        }
    }
    let probe = Namespace::new().and_then(|probe| probe.nft("table ip probe {}"));
    probe
        .err()
        .map(|error| format!("this system makes no namespaces: {error}"))
}

/// The four namespaces; they go when this is dropped.
#[derive(Debug)]
pub struct TwoPaths {
    /// The namespace of the client, with the interfaces [`INTERFACES`].
    pub client: Namespace,
    /// The routers, one for each path.
    pub routers: [Namespace; 2],
    /// The namespace of the server, at [`SERVER`].
    pub server: Namespace,
}

impl TwoPaths {
    /// Makes and connects them.
    ///
    /// # Errors
    /// Errors of `ip`.
    pub fn new() -> Result<Self> {
        let paths = Self {
            client: Namespace::new()?,
            routers: [Namespace::new()?, Namespace::new()?],
            server: Namespace::new()?,
        };
        paths.server.ip(&format!("addr add {SERVER}/32 dev lo"))?;
        for (index, router) in paths.routers.iter().enumerate() {
            paths.connect(index, router)?;
        }
        Ok(paths)
    }

    fn connect(&self, index: usize, router: &Namespace) -> Result {
        let name = INTERFACES[index];
        link(&self.client, name, router, "down0")?;
        link(router, "up0", &self.server, name)?;
        let (near, far) = (format!("10.{index}.1"), format!("10.{index}.2"));
        self.client
            .ip(&format!("addr add {near}.2/24 dev {name}"))?;
        router.ip(&format!("addr add {near}.1/24 dev down0"))?;
        router.ip(&format!("addr add {far}.1/24 dev up0"))?;
        self.server.ip(&format!("addr add {far}.2/24 dev {name}"))?;
        for (namespace, interface) in [
            (&self.client, name),
            (router, "down0"),
            (router, "up0"),
            (&self.server, name),
        ] {
            namespace.ip(&format!("link set {interface} up"))?;
        }
        let metric = 100 + index;
        self.client.ip(&format!(
            "route add {SERVER}/32 via {near}.1 dev {name} metric {metric}"
        ))?;
        router.ip(&format!("route add {SERVER}/32 via {far}.2 dev up0"))?;
        self.server
            .ip(&format!("route add {near}.0/24 via {far}.1 dev {name}"))?;
        router.sysctl("net.ipv4.ip_forward=1")
    }
}

/// A network namespace with its loopback interface up; it goes when this is dropped, or when this
/// process ends.
#[derive(Debug)]
pub struct Namespace {
    /// The only thing that keeps the namespace, but for processes and sockets in it.
    net: File,
}

impl Namespace {
    /// Creates a namespace.
    ///
    /// # Errors
    /// When the system creates none, or without `ip`.
    pub fn new() -> Result<Self> {
        // Only a thread can change over to a new namespace; this one ends at once.
        let create = || -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        };
        let created = std::thread::spawn(create).join();
        let net = created.map_err(|_| "a thread panicked")??;
        let namespace = Self { net };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs `ip` in it, with these arguments.
    ///
    /// # Errors
    /// Errors of the command.
    pub fn ip(&self, arguments: &str) -> Result {
        run(self.command("ip").args(arguments.split(' ')))
    }

    /// Connects it to another one by a pair of interfaces.
    ///
    /// # Errors
    /// Errors of `ip`.
    pub fn link_to(&self, its: &str, other: &Self, others: &str) -> Result {
        link(self, its, other, others)
    }

    /// Gives it these rules.
    ///
    /// # Errors
    /// Errors of `nft`.
    pub fn nft(&self, rules: &str) -> Result {
        let mut child = self
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(rules.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }

    /// Runs a program in it, which is killed when the thread that starts it ends: left alone, it
    /// would keep the namespace. `/sys` shows it the interfaces of this process's namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = child::tied("nsenter");
        command
            .arg(format!("--net={}", self.path()))
            .arg("--")
            .arg(program);
        command
    }

    /// The path by which other processes enter it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    /// Runs a future in a thread of this namespace, with a runtime of its own: all its sockets
    /// are there.
    ///
    /// # Errors
    /// When the namespace cannot be opened.
    pub fn spawn<T, F>(&self, future: impl FnOnce() -> F + Send + 'static) -> Result<Inside<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        let namespace = self.net.try_clone()?;
        let thread = std::thread::spawn(move || {
            // A thread's children are where it is, so those of the runtime are, too.
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            run_to_end(future)
        });
        Ok(Inside(thread))
    }

    /// Sets a kernel setting of it, such as `net.ipv4.ip_forward=1`.
    ///
    /// # Errors
    /// Errors of `sysctl`.
    pub fn sysctl(&self, setting: &str) -> Result {
        run(self.command("sysctl").args(["-qw", setting]))
    }
}

/// Runs a future as [`Namespace::spawn`] does, but where this thread is.
pub fn spawn_here<T, F>(future: impl FnOnce() -> F + Send + 'static) -> Inside<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    Inside(std::thread::spawn(move || run_to_end(future)))
}

fn run_to_end<T, F: Future<Output = Result<T>>>(future: impl FnOnce() -> F) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future())
}

/// A thread that runs in a namespace.
#[derive(Debug)]
pub struct Inside<T>(JoinHandle<Result<T>>);

impl<T: Send + 'static> Inside<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub async fn join(self) -> Result<T> {
        let join = move || self.0.join().map_err(|_| "a thread panicked")?;
        tokio::task::spawn_blocking(join).await?
    }
}

/// Connects two namespaces by a pair of interfaces.
fn link(one: &Namespace, its: &str, other: &Namespace, others: &str) -> Result {
    let other = other.path();
    one.ip(&format!(
        "link add {its} type veth peer name {others} netns {other}"
    ))
}

/// The address at which a redirected connection arrives in a router.
pub fn redirected(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}

fn run(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command:?}: {why}").into())
        }
    }
}
