//! One exchange between the library's two ends in memory, with at most one fault, in virtual time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mtls_certs::{KeyAlgorithm, Pki};
use mtls_core::path::{Dial, DialError, Dialed, Endpoint, PathKind, RouteInfo};
use mtls_core::{
    Accepted, ClientSettings, Error, InvalidMessage, MultipathAcceptor, MultipathConnector, Policy,
    ServerStream, SideServiceSettings, TimedOut, Verdict,
};
use mtls_lab::tls;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::wire::{Effect, Fault, Wire};

pub(crate) const HOST: &str = "server.test";
const REQUEST: &[u8; 4] = b"ping";
/// The longest wait of either end is 10 s for a handshake. No end may take longer than this.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// The time for the last packets and late ones to arrive before the final verdict is read.
const AFTERWARDS: Duration = Duration::from_secs(20);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The deadline of both ends, their default.
pub(crate) const DEADLINE: Duration = ms(3_000);
/// The time limit of a handshake at both ends, their default.
pub(crate) const HANDSHAKE: Duration = ms(10_000);
/// The round trip of the primary path.
pub(crate) const PRIMARY: Duration = ms(20);

pub(crate) const POLICIES: [Policy; 3] = [Policy::Require, Policy::Prefer, Policy::Observe];
/// A delay is longer than the deadline.
pub(crate) const LATE: Duration = ms(4_000);
pub(crate) const EFFECTS: [Effect; 3] = [Effect::Close, Effect::Swallow, Effect::Delay(LATE)];

/// Whether to cut after every byte under every policy, which takes a minute.
pub(crate) fn every_byte() -> bool {
    std::env::var_os("MTLS_LAB_EVERY_BYTE").is_some()
}

/// Configurations of both ends. All flights have the same length in every exchange.
pub(crate) struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// The path with the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Primary,
    Side,
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Of both ends.
    pub(crate) policy: Policy,
    /// The round trip of the side path.
    pub(crate) side: Duration,
    /// Whether an earlier exchange has opened the side connection.
    pub(crate) pooled: bool,
    pub(crate) fault: Option<(On, Fault)>,
}

/// The conclusion of one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Verified,
    /// The stream was handed out unverified, for this reason.
    Unverified(&'static str),
    /// The policy refused the connection for this reason.
    Refused(&'static str),
    /// The primary connection failed.
    Failed(Failure),
}

/// The failure of a primary connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It ended.
    Ended,
    TimedOut(TimedOut),
}

/// The conclusions of both ends. Times count from the departure of the ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) client: End,
    pub(crate) client_time: Duration,
    /// Whether the answer to the request arrived.
    pub(crate) answered: bool,
    pub(crate) server: End,
    /// That of `prefer` falls at the first read.
    pub(crate) server_time: Duration,
    /// The server's verdict 20 s later, of a stream that was handed out.
    pub(crate) server_finally: Option<End>,
}

/// The result of an exchange.
pub(crate) struct Seen {
    pub(crate) ends: Ends,
    pub(crate) primary: Wire,
}

impl Configs {
    pub(crate) fn new() -> Self {
        // Signatures of ECDSA differ in length.
        let pki = Pki::with_algorithm(&[HOST], KeyAlgorithm::Ed25519).expect("a pki");
        let provider = tls::provider_with_groups(&[X25519]);
        let server = tls::server_config(&pki.server, Arc::clone(&provider)).expect("a server");
        let client = pki.client_config(provider).expect("a client");
        Self {
            client: Arc::new(tls::never_resuming(client)),
            server: Arc::new(server),
        }
    }
}

/// Runs an exchange on a runtime of its own, whose clock moves when all tasks wait.
pub(crate) fn run(configs: &Configs, case: Case) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(exchange(configs, case))
}

async fn exchange(configs: &Configs, case: Case) -> Seen {
    let world = World::new(configs, case);
    let settings = ClientSettings::with_primary(case.policy, world.path(On::Primary))
        .side(world.path(On::Side));
    let connector = MultipathConnector::builder(Arc::clone(&configs.client), settings)
        .build()
        .expect("a connector");
    if case.pooled {
        let first = client(&connector).await;
        assert_eq!(first.0, End::Verified, "the exchange before");
        world.forget_primary();
    }
    world.set_fault();
    let started = Instant::now();
    let ends = tokio::join!(timeout(LONG, client(&connector)), world.server_end());
    let ((client, concluded, answered), server) = match ends {
        (Ok(client), server) => (client, server),
        (Err(_), _) => panic!("the client has not ended: {case:?}"),
    };
    let server_finally = server.finally.await.ok();
    let ends = Ends {
        client,
        client_time: concluded - started - PRIMARY,
        answered,
        server: server.first,
        server_time: server.concluded - started - PRIMARY,
        server_finally,
    };
    let primary = world.lock().primary.take();
    Seen {
        ends,
        primary: primary.expect("a primary connection"),
    }
}

/// Connects, makes a request, and closes.
pub(crate) async fn client<D>(connector: &MultipathConnector<D>) -> (End, Instant, bool)
where
    D: Dial<Stream = DuplexStream>,
{
    let to: Endpoint = format!("{HOST}:443").parse().expect("an endpoint");
    let connected = connector.connect(&to).await;
    let concluded = Instant::now();
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) => return (End::of_error(&error), concluded, false),
    };
    let end = End::of_verdict(&stream.verdict());
    let mut answer = [0; REQUEST.len()];
    let request = async {
        stream.write_all(REQUEST).await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await
    };
    let answered = matches!(timeout(HANDSHAKE, request).await, Ok(Ok(_)));
    assert!(!answered || &answer == REQUEST);
    (end, concluded, answered)
}

/// The conclusion of a server's application.
pub(crate) struct ServerEnd {
    first: End,
    concluded: Instant,
    finally: oneshot::Receiver<End>,
}

/// The network and the server.
#[derive(Clone)]
struct World {
    shared: Arc<Shared>,
}

struct Shared {
    case: Case,
    acceptor: MultipathAcceptor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    primary: Option<Wire>,
    side: Option<Wire>,
    primary_end: Option<oneshot::Receiver<ServerEnd>>,
    /// The fault of the next primary or side connection.
    fault: Option<(On, Fault)>,
}

/// A path of the network.
#[derive(Clone)]
struct WirePath {
    world: World,
    on: On,
}

impl World {
    fn new(configs: &Configs, case: Case) -> Self {
        let settings = SideServiceSettings::new(case.policy);
        let acceptor = MultipathAcceptor::builder(Arc::clone(&configs.server), settings)
            .build()
            .expect("an acceptor");
        Self {
            shared: Arc::new(Shared {
                case,
                acceptor,
                state: Mutex::default(),
            }),
        }
    }

    fn path(&self, on: On) -> WirePath {
        WirePath {
            world: self.clone(),
            on,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the fault of the side connection that is there, or of the next connection.
    fn set_fault(&self) {
        let mut state = self.lock();
        match (self.shared.case.fault, &state.side) {
            (Some((On::Side, fault)), Some(wire)) => wire.set(fault),
            (fault, _) => state.fault = fault,
        }
    }

    fn forget_primary(&self) {
        let mut state = self.lock();
        state.primary = None;
        state.primary_end = None;
    }

    fn round_trip(&self, on: On) -> Duration {
        match on {
            On::Primary => PRIMARY,
            On::Side => self.shared.case.side,
        }
    }

    /// A connection whose SYN has travelled, and its answer.
    fn connected(&self, on: On) -> DuplexStream {
        let mut state = self.lock();
        let fault = state.fault.take_if(|(path, _)| *path == on);
        let (wire, near, far) = Wire::new(self.round_trip(on) / 2, fault.map(|(_, fault)| fault));
        match on {
            On::Primary => {
                let (sender, end) = oneshot::channel();
                state.primary_end = Some(end);
                state.primary = Some(wire);
                let acceptor = self.shared.acceptor.clone();
                tokio::spawn(serve_primary(acceptor, far, Some(sender)));
            }
            On::Side => {
                state.side.get_or_insert(wire);
                tokio::spawn(serve_side(self.shared.acceptor.clone(), far));
            }
        }
        near
    }

    /// Waits for the server's conclusion.
    async fn server_end(&self) -> ServerEnd {
        sleep(PRIMARY).await;
        // Connected at the same time.
        tokio::task::yield_now().await;
        let end = self.lock().primary_end.take();
        let end = end.expect("a primary connection");
        let end = timeout(LONG, end).await.expect("the server has not ended");
        end.expect("a server's end")
    }
}

impl Dial for WirePath {
    type Stream = DuplexStream;

    fn dial(&self, to: &Endpoint) -> BoxFuture<'static, Result<Dialed<DuplexStream>, DialError>> {
        let (path, port) = (self.clone(), to.port);
        async move {
            sleep(path.world.round_trip(path.on)).await;
            Ok(Dialed {
                stream: path.world.connected(path.on),
                local: None,
                peer: Some(SocketAddr::from(([192, 0, 2, 1], port))),
                via: PathKind::Direct,
                resolver: None,
                route: RouteInfo::default().into(),
                mptcp: false,
            })
        }
        .boxed()
    }
}

const CLIENT: [u8; 4] = [192, 0, 2, 77];

pub(crate) async fn serve_side(acceptor: MultipathAcceptor, io: DuplexStream) {
    let accepted = acceptor.accept(io, SocketAddr::from((CLIENT, 2))).await;
    if let Ok(Accepted::Side(side)) = accepted {
        // An error is that of a cut.
        let _ = side.run().await;
    }
}

/// Answers a request, as an application does that reads before it acts on the verdict.
pub(crate) async fn serve_primary(
    acceptor: MultipathAcceptor,
    io: DuplexStream,
    report: Option<oneshot::Sender<ServerEnd>>,
) {
    let (sender, finally) = oneshot::channel();
    let conclude = |first: End| {
        let end = ServerEnd {
            first,
            concluded: Instant::now(),
            finally,
        };
        if let Some(report) = report {
            assert!(report.send(end).is_ok());
        }
    };
    let accepted = acceptor.accept(io, SocketAddr::from((CLIENT, 1))).await;
    let stream = match accepted {
        Ok(Accepted::Stream(stream)) => *stream,
        Ok(Accepted::Side(_)) => panic!("a side connection on the primary path"),
        Err(error) => return conclude(End::of_error(&error)),
    };
    let verdict = stream.verdict_handle();
    // An error is that of a broken connection, whose verdict is decided too.
    let stream = timeout(LONG, stream.wait_for_verdict()).await;
    let stream = stream.expect("the server has not decided");
    conclude(End::of_verdict(&verdict.get()));
    let kept = match stream {
        Ok(stream) => Some(answer(stream).await),
        Err(_) => None,
    };
    sleep(AFTERWARDS).await;
    let _ = sender.send(End::of_verdict(&verdict.get()));
    drop(kept);
}

/// Answers one request.
async fn answer(mut stream: ServerStream<DuplexStream>) -> ServerStream<DuplexStream> {
    let mut request = [0; REQUEST.len()];
    let read = timeout(HANDSHAKE, stream.read_exact(&mut request)).await;
    if let Ok(Ok(_)) = read {
        assert_eq!(&request, REQUEST);
        // The client may have gone.
        let _ = stream.write_all(&request).await;
        let _ = stream.flush().await;
    }
    stream
}

impl End {
    /// A client's, where this is the reason of a side path.
    pub(crate) fn unverified(policy: Policy, reason: &'static str) -> Self {
        match (policy, reason) {
            // The only one of these that allows to fall back.
            (Policy::Prefer, "no-greeting") | (Policy::Observe, _) => Self::Unverified(reason),
            _ => Self::Refused(reason),
        }
    }

    pub(crate) fn is_handed_out(&self) -> bool {
        matches!(self, Self::Verified | Self::Unverified(_))
    }

    fn of_verdict(verdict: &Verdict) -> Self {
        match verdict.outcome.reason() {
            None if verdict.verified().is_some() => Self::Verified,
            Some(reason) if verdict.outcome.as_str() == "unverified" => Self::Unverified(reason),
            _ => panic!("an unexpected verdict: {verdict:?}"),
        }
    }

    fn of_error(error: &Error) -> Self {
        match error {
            Error::Unverified(unverified) => Self::Refused(unverified.reason.as_str()),
            Error::TimedOut(timed_out) => Self::Failed(Failure::TimedOut(*timed_out)),
            Error::Io(_) | Error::InvalidMessage(InvalidMessage::EndedEarly) => {
                Self::Failed(Failure::Ended)
            }
            error => panic!("an unexpected error: {error:?}"),
        }
    }
}
