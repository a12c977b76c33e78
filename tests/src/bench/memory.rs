//! Resident memory of a server: for each pending handshake, silent connection and side connection.
//!
//! The kernel's socket buffers are not included. The peers of the connections are plain sockets of
//! this process, which take no memory of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use mtls_certs::Pki;
use mtls_core::proto::binding::{Association, Bindings, HelloHash, SideSecret, SideSecrets};
use mtls_core::proto::frame::{Frame, FrameBody, GREETING};
use mtls_core::proto::server::HandshakeKeys;
use mtls_core::registry::{MemoryRegistry, PendingRegistry, Registration, RegistryKey, ServiceId};
use mtls_core::{
    ListenerLimits, MultipathAcceptor, MultipathListener, Policy, SideServiceSettings,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

use super::figure::{Figure, Limit};
use super::worker::{Worker, bind};
use crate::{Result, tls};

const BENCHMARK: &str = "memory";
const HANDSHAKES: u64 = 200_000;
/// Below the limit of connections for one peer.
const CONNECTIONS: usize = 2_000;
/// The time in which the server must handle all connections.
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) fn run() -> Result<Vec<Figure>> {
    raise_file_limit()?;
    let figure =
        |name, bytes, limit| Figure::alone(BENCHMARK, name, "B", bytes, Some(Limit::AtMost(limit)));
    Ok(vec![
        figure("memory per pending handshake", handshakes()?, 300.0),
        figure("memory per silent connection", silent()?, 4096.0),
        figure("memory per side connection", sides()?, 4096.0),
    ])
}

/// The two ends of each connection need a file descriptor each.
fn raise_file_limit() -> Result {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Bytes for each pending handshake, with its registration.
fn handshakes() -> Result<f64> {
    let registry = MemoryRegistry::default();
    let mut held = Vec::with_capacity(HANDSHAKES as usize);
    // Its entries, 16 bytes each, are part of the result: a server holds them too.
    held.extend(register(&registry, 0));
    let before = resident()?;
    held.extend((1..HANDSHAKES).filter_map(|number| register(&registry, number)));
    if held.len() as u64 != HANDSHAKES {
        return Err("the registry did not take all handshakes".into());
    }
    Ok((resident()? - before) / HANDSHAKES as f64)
}

fn register(registry: &MemoryRegistry, number: u64) -> Option<Box<dyn Registration>> {
    let mut random = [0; 32];
    random[..8].copy_from_slice(&number.to_be_bytes());
    let key = RegistryKey {
        service: ServiceId::default(),
        association: Association::from_client_random(&random),
    };
    let keys = HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(SideSecret::new(random)),
        ..SideSecrets::from_hello(&HelloHash(random))
    });
    registry.register(key, keys).now_or_never()?.ok()
}

/// Bytes for each connection that has sent nothing.
fn silent() -> Result<f64> {
    connections(|address| Ok(TcpStream::connect(address)?), |_| Ok(()))
}

/// Bytes for each side connection whose Open has been rejected as unknown.
fn sides() -> Result<f64> {
    connections(
        |address| {
            let mut stream = TcpStream::connect(address)?;
            let mut bytes = GREETING.to_vec();
            let association = Association([7; Association::LEN]);
            for body in [
                FrameBody::Open {
                    nonce_c: [1; 32],
                    bindings: Bindings::ALL,
                },
                FrameBody::Done,
            ] {
                Frame { association, body }.encode(&mut bytes);
            }
            stream.write_all(&bytes)?;
            Ok(stream)
        },
        |stream| {
            // The greeting and the Reject.
            stream.set_read_timeout(Some(MAX_WAIT))?;
            let mut answer = [0; GREETING.len() + 1];
            Ok(stream.read_exact(&mut answer)?)
        },
    )
}

/// Opens connections to a server, waits until it has handled them, and returns the memory for each.
fn connections(
    open: impl Fn(SocketAddr) -> Result<TcpStream>,
    wait: impl Fn(&mut TcpStream) -> Result,
) -> Result<f64> {
    let (_server, address) = serve()?;
    let connect = |count: usize| -> Result<Vec<TcpStream>> {
        let mut streams: Vec<_> = (0..count).map(|_| open(address)).collect::<Result<_>>()?;
        streams.iter_mut().try_for_each(&wait)?;
        wait_until_accepted(&streams)?;
        Ok(streams)
    };
    // Allocations that a server makes once are not counted.
    let _first = connect(100)?;
    let before = resident()?;
    let _streams = connect(CONNECTIONS)?;
    Ok((resident()? - before) / CONNECTIONS as f64)
}

/// Waits until the resident memory no longer changes: the server has then accepted the connections,
/// and sleeps.
fn wait_until_accepted(streams: &[TcpStream]) -> Result {
    let started = Instant::now();
    let mut last = f64::NAN;
    while started.elapsed() < MAX_WAIT {
        std::thread::sleep(Duration::from_millis(100));
        let now = resident()?;
        if now == last {
            return Ok(());
        }
        last = now;
    }
    Err(format!(
        "the memory of the server with {} connections did not settle in time",
        streams.len()
    )
    .into())
}

fn serve() -> Result<(Worker, SocketAddr)> {
    let pki = Pki::new(&["localhost"])?;
    let config = Arc::new(tls::server_config(&pki.server, tls::provider())?);
    let settings =
        SideServiceSettings::new(Policy::Require).max_side_connections_per_peer(2 * CONNECTIONS);
    let acceptor = MultipathAcceptor::builder(config, settings).build()?;
    let listener = bind()?;
    let address = listener.local_addr()?;
    let worker = Worker::start("server", move || async move {
        let listener = TcpListener::from_std(listener)?;
        let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
        loop {
            let _ = listener.accept().await;
        }
    })?;
    Ok((worker, address))
}

/// Resident bytes of this process.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = size.and_then(|size| size.trim().strip_suffix(" kB"));
    let kilobytes: f64 = kilobytes
        .ok_or("the kernel reports no resident size")?
        .parse()?;
    Ok(kilobytes * 1024.0)
}
