//! Verifications over one side connection, without TLS handshakes: only the side protocol and its
//! sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mtls_certs::Pki;
use mtls_core::proto::binding::{Association, HelloHash, Nonce, SideSecret, SideSecrets};
use mtls_core::proto::client::{ClientOutcome, ClientVerifier, Peer, TlsVersion};
use mtls_core::proto::frame::{Frame, FrameReader, GREETING};
use mtls_core::proto::server::HandshakeKeys;
use mtls_core::registry::{MemoryRegistry, PendingRegistry, Registration, RegistryKey, ServiceId};
use mtls_core::{MultipathAcceptor, Policy, SideServiceSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::figure::{Figure, Limit};
use super::worker::{Worker, bind, micros, run_client};
use super::{BenchArgs, note};
use crate::meter::{self, Meter};
use crate::progress::Progress;
use crate::stats::Sorted;
use crate::{Result, tls};

const BENCHMARK: &str = "verifications";
/// Verifications that are in progress at the same time, as at the connector's default.
const CONCURRENT: usize = 64;
/// Batches of concurrent verifications in each round.
const BATCHES: usize = 50;
/// The target, in verifications per second and core.
const TARGET: f64 = 60_000.0;

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let registry = MemoryRegistry::default();
    let (server, address) = serve(&registry)?;
    let (meter, rounds) = (server.meter(), args.rounds.get());
    let samples = run_client(async move {
        let progress = Progress::new(BENCHMARK, u64::from(rounds));
        let mut side = Side::connect(address, registry).await?;
        side.round(meter).await?;
        let mut samples = Vec::new();
        for _ in 0..rounds {
            samples.push(side.round(meter).await?);
            progress.step();
        }
        Ok(samples)
    })?;
    let median = |end: usize| Sorted::new(samples.iter().map(|ends| ends[end])).median();
    let [client, server] = [median(0), median(1)];
    if server.is_nan() {
        note("no CPU time of the server: this kernel does not report it");
    }
    let limit = Some(Limit::AtMost(1e6 / TARGET));
    let figure = |name, time, limit| Figure::alone(BENCHMARK, name, "µs", time, limit);
    Ok(vec![
        figure("CPU of the server per verification", server, limit),
        figure("CPU of the client per verification", client, None),
    ])
}

fn serve(registry: &MemoryRegistry) -> Result<(Worker, SocketAddr)> {
    let pki = Pki::new(&["localhost"])?;
    let config = Arc::new(tls::server_config(&pki.server, tls::provider())?);
    let settings = SideServiceSettings::new(Policy::Require).registry(Arc::new(registry.clone()));
    let acceptor = MultipathAcceptor::builder(config, settings).build()?;
    let listener = bind()?;
    let address = listener.local_addr()?;
    let worker = Worker::start("server", move || async move {
        let listener = TcpListener::from_std(listener)?;
        let (tcp, peer) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        Ok(acceptor.accept_side(tcp, peer).run().await?)
    })?;
    Ok((worker, address))
}

/// A client's side connection, with a server's registry at hand.
struct Side {
    stream: TcpStream,
    registry: MemoryRegistry,
    reader: FrameReader,
    next: u64,
}

/// One verification.
struct Verification {
    machine: ClientVerifier,
    secret: SideSecret,
    registration: Box<dyn Registration>,
}

impl Side {
    async fn connect(address: SocketAddr, registry: MemoryRegistry) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&GREETING).await?;
        Ok(Self {
            stream,
            registry,
            reader: FrameReader::new(),
            next: 0,
        })
    }

    /// Microseconds of CPU time of the client and of the server for each verification.
    async fn round(&mut self, server: Meter) -> Result<[f64; 2]> {
        let mut used = [Duration::ZERO; 2];
        for _ in 0..BATCHES {
            let batch = self.register().await?;
            let before = [Some(meter::own()), server.read()];
            let registrations = self.verify(batch).await?;
            // The last Confirm has been handled then, and the server sleeps.
            join_all(registrations.iter().map(|entry| entry.confirmed())).await;
            let after = [Some(meter::own()), server.read()];
            for ((used, after), before) in used.iter_mut().zip(after).zip(before) {
                let both = after.zip(before).ok_or("the kernel reports no CPU times")?;
                *used += both.0.saturating_sub(both.1);
            }
        }
        Ok(used.map(|used| micros(used) / (BATCHES * CONCURRENT) as f64))
    }

    /// Registers handshakes as a server does after its first flight; not part of a verification.
    async fn register(&mut self) -> Result<Vec<Verification>> {
        let mut batch = Vec::with_capacity(CONCURRENT);
        for _ in 0..CONCURRENT {
            self.next += 1;
            let mut random = [0; 32];
            random[..8].copy_from_slice(&self.next.to_be_bytes());
            let association = Association::from_client_random(&random);
            let secrets = SideSecrets {
                exporter: Some(SideSecret::new(random)),
                ..SideSecrets::from_hello(&HelloHash(random))
            };
            let bindings = secrets.bindings();
            let key = RegistryKey {
                service: ServiceId::default(),
                association,
            };
            let keys = HandshakeKeys::Tls13(secrets);
            let registration = self.registry.register(key, keys).await?;
            registration.flushed();
            batch.push(Verification {
                machine: ClientVerifier::new(association, bindings),
                secret: SideSecret::new(random),
                registration,
            });
        }
        Ok(batch)
    }

    async fn verify(&mut self, mut batch: Vec<Verification>) -> Result<Vec<Box<dyn Registration>>> {
        for one in &mut batch {
            one.machine.handle_link(nonce(self.next));
            one.machine.handle_peer(Peer::Greeted);
        }
        self.send(&mut batch).await?;
        let mut open = batch.len();
        let mut buffer = vec![0; 16 * 1024];
        while open > 0 {
            let read = self.stream.read(&mut buffer).await?;
            if read == 0 {
                return Err("the server closed the side connection".into());
            }
            let mut frames = Vec::new();
            self.reader
                .read(&buffer[..read], |frame| frames.push(frame))?;
            for frame in frames {
                open -= usize::from(check(&mut batch, &frame));
            }
            self.send(&mut batch).await?;
        }
        Ok(batch.into_iter().map(|one| one.registration).collect())
    }

    /// Sends all frames that are ready in one write.
    async fn send(&mut self, batch: &mut [Verification]) -> Result {
        let mut bytes = Vec::new();
        for one in batch {
            while let Some(frame) = one.machine.poll_transmit() {
                frame.encode(&mut bytes);
            }
        }
        self.stream.write_all(&bytes).await?;
        Ok(())
    }
}

/// Handles a frame. Returns whether it has completed its verification.
fn check(batch: &mut [Verification], frame: &Frame) -> bool {
    let of = |one: &&mut Verification| one.machine.association() == frame.association;
    let Some(Verification {
        machine, secret, ..
    }) = batch.iter_mut().find(of)
    else {
        return false;
    };
    machine.handle_frame(frame, nonce(0));
    machine.handle_tls_complete(TlsVersion::Tls13, nonce(0));
    if let Some(check) = machine.poll_check() {
        machine.handle_values(&secret.values(&check.context));
    }
    matches!(machine.outcome(), ClientOutcome::Verified(_))
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 32];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce
}
