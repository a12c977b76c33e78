//! The relays between client and server.

use std::fs;
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mtls_core::path::{Endpoint, Path};
use mtls_core::relay::{ClientRelay, RelayListener, ServerRelay};
use mtls_core::{ClientSettings, ListenerLimits, Policy};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpListener;

use super::Kind;
use crate::bench::note;
use crate::bench::server::Addresses;
use crate::bench::worker::{Worker, bind};
use crate::meter::Meter;
use crate::{Result, child, tls};

/// The time in which another program must listen.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// All relays that are available on this machine; they end when this is dropped.
pub(super) struct Middles {
    middles: Vec<Middle>,
    _workers: Vec<Worker>,
    _programs: Vec<Program>,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Middle {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    /// Its thread, where it has only one.
    meter: Option<Meter>,
}

/// A process of another program, and those that it forked.
struct Program(Child);

impl Middles {
    pub(super) fn start(server: Addresses) -> Result<Self> {
        let mut middles = Self {
            middles: vec![Middle {
                kind: Kind::None,
                address: server.plain,
                meter: None,
            }],
            _workers: Vec::new(),
            _programs: Vec::new(),
        };
        middles.haproxy(server.plain)?;
        middles.socat(server.plain)?;
        middles.passthrough(Kind::PassthroughCopying, server.plain)?;
        middles.passthrough(Kind::Passthrough, server.plain)?;
        middles.passthrough(Kind::PassthroughVerified, server.plain)?;
        middles.proxy(server.multipath)?;
        Ok(middles)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Middle> {
        self.middles.iter()
    }

    fn haproxy(&mut self, to: SocketAddr) -> Result {
        let (plain, splice) = (free_port()?, free_port()?);
        let config = format!(
            "global\n nbthread 1\n maxconn 4000\n\
             defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
             listen plain\n bind {plain}\n server s {to}\n\
             listen splice\n bind {splice}\n option splice-auto\n server s {to}\n"
        );
        let file = std::env::temp_dir().join(format!("mtls-lab-{}.cfg", std::process::id()));
        fs::write(&file, config)?;
        let mut command = child::tied("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let serves = [(Kind::Haproxy, plain), (Kind::HaproxySplice, splice)];
        let started = self.program("haproxy", command, &serves);
        fs::remove_file(&file)?;
        started
    }

    fn socat(&mut self, to: SocketAddr) -> Result {
        let port = free_port()?;
        let mut command = child::tied("socat");
        command.args(["-b", "65536"]);
        command.arg(format!(
            "TCP-LISTEN:{},bind={},fork,reuseaddr,nodelay,backlog=1024",
            port.port(),
            port.ip()
        ));
        command.arg(format!("TCP:{to},nodelay"));
        self.program("socat", command, &[(Kind::Socat, port)])?;
        // Its children do the work, and end.
        self.middles.iter_mut().for_each(|middle| {
            if middle.kind == Kind::Socat {
                middle.meter = None;
            }
        });
        Ok(())
    }

    /// Starts another program, and waits until it listens. Prints a note when it is not installed.
    fn program(
        &mut self,
        name: &str,
        mut command: Command,
        serves: &[(Kind, SocketAddr)],
    ) -> Result {
        for needed in [name, "setpriv"] {
            if !child::is_installed(needed) {
                note(&format!("{name} is skipped: {needed} is not installed"));
                return Ok(());
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let spawned = command.process_group(0).spawn();
        let spawned = spawned.map_err(|error| format!("could not start {name}: {error}"))?;
        let mut program = Program(spawned);
        let id = program.0.id();
        for &(kind, address) in serves {
            program.wait_for(name, address)?;
            self.middles.push(Middle {
                kind,
                address,
                meter: Meter::of_process(id),
            });
        }
        self._programs.push(program);
        Ok(())
    }

    fn passthrough(&mut self, kind: Kind, to: SocketAddr) -> Result {
        let pipes = if kind == Kind::PassthroughCopying {
            0
        } else {
            256
        };
        let relay = ServerRelay::builder(&tls::provider(), Endpoint::from(to), Policy::Prefer)
            .max_pipes(pipes)
            .build()?;
        self.worker(kind, |listener| async move {
            let limits = ListenerLimits::default();
            let mut relays = RelayListener::new(relay, limits, |_, _| {});
            relays.add(TcpListener::from_std(listener)?);
            std::future::pending::<()>().await;
            Ok(())
        })
    }

    fn proxy(&mut self, to: SocketAddr) -> Result {
        let settings = ClientSettings::new(Policy::Require).side(Path::system());
        let relay = ClientRelay::builder(&tls::provider(), settings).build()?;
        self.worker(Kind::ProxyVerified, move |listener| async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                tokio::spawn(relay.tunnel(Endpoint::from(to)).run(tcp));
            }
        })
    }

    fn worker<F, T>(&mut self, kind: Kind, serve: F) -> Result
    where
        F: FnOnce(StdTcpListener) -> T + Send + 'static,
        T: Future<Output = Result>,
    {
        let listener = bind()?;
        let address = listener.local_addr()?;
        let worker = Worker::start(kind.name(), move || serve(listener))?;
        self.middles.push(Middle {
            kind,
            address,
            meter: Some(worker.meter()),
        });
        self._workers.push(worker);
        Ok(())
    }
}

impl Middle {
    /// The CPU time of its thread, where it is known.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        self.meter?.read()
    }
}

impl Program {
    fn wait_for(&mut self, name: &str, address: SocketAddr) -> Result {
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("{name} ended: {status}").into());
            }
            if started.elapsed() > MAX_WAIT {
                return Err(format!("{name} does not listen on {address}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.0.id().cast_signed()) {
            // It may have ended already.
            let _ = kill_process_group(group, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// A free address for another program. If another process takes the port first, that program fails.
fn free_port() -> Result<SocketAddr> {
    Ok(StdTcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
