//! A process that floods: one has at most 20,000 sockets, so a large flood takes several.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use mtls_core::proto::binding::{Association, Bindings};
use mtls_core::proto::frame::{Frame, FrameBody, GREETING};
use mtls_core::proto::hello::HelloTap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::kind::{Act, Kind};
use crate::attacker::SideClient;
use crate::prng::Prng;
use crate::tls::provider;
use crate::{HOST, Result, meter};

/// The longest time that one step of an attacker takes.
const ATTENTION: Duration = Duration::from_secs(8);
/// Tasks of a process.
const WORKERS: usize = 64;
/// Connections that a process keeps open.
const HELD: usize = 14_000;
/// Opens of one side connection: as many as a server takes at a time.
const OPENS: usize = 256;
/// Side connections by which strangers ask for the same handshakes.
const STRANGERS: usize = 32;
/// Requests that a client without reading sends.
const REQUESTS: usize = 200;
/// The receive buffer of such a client: small, so that the server notices soon.
const RECEIVE_BUFFER: u32 = 4096;
/// The place of the random in a record with a ClientHello.
const RANDOM: std::ops::Range<usize> = 11..43;

/// Flood these addresses.
#[derive(Args, Clone, Debug)]
pub struct FlooderArgs {
    /// Kind of flood
    #[arg(value_enum)]
    kind: Kind,
    /// Number of connections or Opens
    #[arg(long)]
    amount: u64,
    /// Address of a server
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    /// CA certificate of the servers
    #[arg(long)]
    ca: PathBuf,
    /// Seed of addresses and bytes
    #[arg(long)]
    seed: u64,
}

/// A source address of its own: clients at it share the fate of the flooder.
pub(super) const ONE_SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 201, 0, 1));

/// The work of one or more flooding processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Connections or Opens that a server took.
    pub(super) done: u64,
    pub(super) cpu: Duration,
}

impl Work {
    pub(super) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.cpu += other.cpu;
    }

    /// Parses what a process has printed.
    pub(super) fn parse(printed: &str) -> Option<Self> {
        let (done, cpu) = printed.trim().split_once(' ')?;
        Some(Self {
            done: done.parse().ok()?,
            cpu: Duration::from_millis(cpu.parse().ok()?),
        })
    }
}

/// Floods, and prints how many connections or Opens a server took, and the own CPU time in
/// milliseconds.
#[must_use]
pub fn run(args: &FlooderArgs) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    let flooded = match runtime.map_err(Into::into) {
        Ok(runtime) => runtime.block_on(flood(args)),
        Err(error) => Err(error),
    };
    let cpu = meter::process().as_millis();
    let printed = flooded.and_then(|done| Ok(writeln!(io::stdout(), "{done} {cpu}")?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn flood(args: &FlooderArgs) -> Result<u64> {
    let flooder = Arc::new(Flooder::new(args)?);
    let mut seeds = Prng::new(args.seed);
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (flooder, prng) = (Arc::clone(&flooder), Prng::new(seeds.number()));
        workers.spawn(async move { flooder.work(prng).await });
    }
    let mut kept = Vec::new();
    while let Some(worker) = workers.join_next().await {
        kept.push(worker?);
    }
    Ok(flooder.done.load(Ordering::Relaxed))
}

struct Flooder {
    kind: Kind,
    amount: u64,
    to: Vec<SocketAddr>,
    hello: Vec<u8>,
    tls: TlsConnector,
    begun: AtomicU64,
    done: AtomicU64,
}

/// A connection that stays open until this is dropped.
type Held = Box<dyn Send>;

impl Flooder {
    fn new(args: &FlooderArgs) -> Result<Self> {
        let config = Arc::new(client_config(&args.ca)?);
        Ok(Self {
            kind: args.kind,
            amount: args.amount,
            to: args.to.clone(),
            hello: client_hello(&config)?,
            tls: TlsConnector::from(config),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        })
    }

    /// Connects until the flood is complete; returns the last connections.
    async fn work(&self, mut prng: Prng) -> VecDeque<Held> {
        let mut held = VecDeque::new();
        let unit = match self.kind.act() {
            Act::OpenUnknown | Act::OpenAsStranger => OPENS as u64,
            _ => 1,
        };
        while self.begun.fetch_add(unit, Ordering::Relaxed) < self.amount {
            // The servers may refuse attackers in any way.
            if let Ok(Ok(kept)) = timeout(ATTENTION, self.act(&mut prng)).await {
                self.done.fetch_add(unit, Ordering::Relaxed);
                held.extend(kept);
            }
            if held.len() > self.held() {
                held.pop_front();
            }
        }
        held
    }

    /// One connection; returns it if it stays open.
    async fn act(&self, prng: &mut Prng) -> Result<Option<Held>> {
        let to = self.to[prng.below(self.to.len())];
        match self.kind.act() {
            Act::OpenUnknown => return self.open_unknown(to, prng).await.map(|()| None),
            Act::OpenAsStranger => return self.open_as_stranger(to, prng).await.map(Some),
            Act::RequestWithoutReading => return self.request(to, prng).await.map(Some),
            Act::Stay | Act::GreetAndStay | Act::Close | Act::SendHello => {}
        }
        let mut stream = self.connect(to, prng).await?;
        match self.kind.act() {
            Act::GreetAndStay => stream.write_all(&GREETING).await?,
            Act::SendHello => stream.write_all(&self.hello(prng)).await?,
            Act::Close => return Ok(None),
            _ => {}
        }
        Ok(Some(Box::new(stream)))
    }

    /// The results of steps that a task keeps open.
    fn held(&self) -> usize {
        match self.kind.act() {
            Act::OpenAsStranger => HELD / WORKERS / (OPENS / STRANGERS),
            _ => HELD / WORKERS,
        }
    }

    fn source(&self, prng: &mut Prng) -> IpAddr {
        match self.kind.has_one_source() {
            true => ONE_SOURCE,
            false => {
                let [third, fourth] = [prng.below(250), prng.below(250)];
                Ipv4Addr::new(127, 200, 1 + third as u8, 1 + fourth as u8).into()
            }
        }
    }

    async fn connect(&self, to: SocketAddr, prng: &mut Prng) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self.kind.act() == Act::RequestWithoutReading {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind(SocketAddr::new(self.source(prng), 0))?;
        Ok(socket.connect(to).await?)
    }

    /// A ClientHello with a random of its own.
    fn hello(&self, prng: &mut Prng) -> Vec<u8> {
        let mut hello = self.hello.clone();
        hello[RANDOM]
            .iter_mut()
            .for_each(|byte| *byte = prng.number() as u8);
        hello
    }

    async fn open_unknown(&self, to: SocketAddr, prng: &mut Prng) -> Result {
        let mut side = SideClient::connect(to, Some(self.source(prng))).await?;
        let mut any = || open(Association(std::array::from_fn(|_| prng.number() as u8)));
        let opens: Vec<_> = (0..OPENS).map(|_| any()).collect();
        ask(&mut side, &opens).await
    }

    async fn open_as_stranger(&self, to: SocketAddr, prng: &mut Prng) -> Result<Held> {
        let (mut primaries, mut opens) = (Vec::new(), Vec::new());
        for _ in 0..OPENS / STRANGERS {
            let (primary, association) = self.begin(to, prng).await?;
            primaries.push(primary);
            opens.push(open(association));
        }
        for _ in 0..STRANGERS {
            let mut side = SideClient::connect(to, Some(self.source(prng))).await?;
            ask(&mut side, &opens).await?;
        }
        Ok(Box::new(primaries))
    }

    /// Begins a handshake.
    async fn begin(&self, to: SocketAddr, prng: &mut Prng) -> Result<(TcpStream, Association)> {
        let mut primary = self.connect(to, prng).await?;
        let hello = self.hello(prng);
        let mut tap = HelloTap::new();
        tap.client_bytes(&hello)?;
        let association = tap.association().ok_or("the ClientHello is incomplete")?;
        primary.write_all(&hello).await?;
        Ok((primary, association))
    }

    async fn request(&self, to: SocketAddr, prng: &mut Prng) -> Result<Held> {
        let stream = self.connect(to, prng).await?;
        let mut tls = self
            .tls
            .connect(ServerName::try_from(HOST)?, stream)
            .await?;
        let request = format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        tls.write_all(request.repeat(REQUESTS).as_bytes()).await?;
        tls.flush().await?;
        Ok(Box::new(tls))
    }
}

/// Sends frames, and reads an answer to each; a server may close.
async fn ask(side: &mut SideClient, frames: &[Frame]) -> Result {
    side.send(frames).await?;
    for _ in frames {
        if side.next().await?.is_none() {
            break;
        }
    }
    Ok(())
}

fn open(association: Association) -> Frame {
    Frame {
        association,
        body: FrameBody::Open {
            nonce_c: [0xa5; 32],
            bindings: Bindings::ALL,
        },
    }
}

fn client_config(ca: &Path) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn client_hello(config: &Arc<ClientConfig>) -> Result<Vec<u8>> {
    let name = ServerName::try_from(HOST)?;
    let mut client = ClientConnection::new(Arc::clone(config), name)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}
