//! Honest clients of every kind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, StatusCode};
use mtls_core::path::Path;
use mtls_core::quic::{QuicConnection, QuicConnector};
use mtls_core::{ClientStream, Error, MultipathConnector, Policy, Verdict};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;

use super::fleet::Fleet;
use super::program::Program;
use super::site::{ECHO, Site, field};
use super::traffic::{Outcome, Pace, Tallies};
use crate::victim::get_page;
use crate::{HOST, Result, Victim, http3};

/// After this long an honest request is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// Honest connections at a time; at more than that the next one waits.
const AT_A_TIME: usize = 256;
/// The age up to which verification is inherited.
const INHERITED: Duration = Duration::from_secs(3600);
/// Sessions that a connector stores.
const TICKETS: usize = 8;

/// Clients of all kinds, of all services.
pub(crate) struct Browsers(Vec<Arc<Browser>>);

/// A client of one kind, of one service.
struct Browser {
    name: String,
    victim: Victim,
    way: Way,
    /// Whether responses of the service carry its verdict.
    tells_verdict: bool,
}

enum Way {
    /// TLS alone.
    Plain,
    /// HTTP/3 over QUIC alone.
    PlainHttp3,
    /// TLS alone, through the proxy at this address.
    Proxied(SocketAddr),
    Verified(Verifying),
}

/// The connectors of a client that verifies.
enum Verifying {
    /// One for each connection, so a side connection of its own.
    Fresh,
    /// One for all.
    Kept(MultipathConnector),
    /// One for each connection of HTTP/3.
    FreshHttp3,
    /// One for all, of HTTP/3.
    KeptHttp3(QuicConnector),
}

/// A connection that the client's policy accepts.
enum Connected {
    Tcp(Box<ClientStream<TcpStream>>),
    Quic(Box<QuicConnection>),
}

type Kinds = Vec<(&'static str, Victim, Way)>;

impl Browsers {
    pub(crate) fn new(site: &Site) -> Result<Self> {
        let mut all = Vec::new();
        for service in [&site.serve, &site.terminate, &site.passthrough] {
            let relayed = service.name == site.passthrough.name;
            let mut kinds = kinds(site, service, None)?;
            if !relayed {
                kinds.extend(http3_kinds(site, service, None)?);
            }
            all.push((service.name, kinds, !relayed));
        }
        let proxied = site.world.victim_of(site.serve.address)?;
        let way = Way::Proxied(site.proxy.address);
        all.push(("serve", vec![("through the proxy", proxied, way)], true));
        if let Some(fleet) = &site.fleet {
            all.push(("fleet", fleet_kinds(site, fleet)?, true));
        }
        Ok(Self::of(all))
    }

    /// The kinds of each service, and whether its responses carry its verdict.
    fn of(services: Vec<(&'static str, Kinds, bool)>) -> Self {
        let browsers = services
            .into_iter()
            .flat_map(|(service, kinds, tells_verdict)| {
                kinds.into_iter().map(move |(kind, victim, way)| {
                    Arc::new(Browser {
                        name: format!("{service}, {kind}"),
                        victim,
                        way,
                        tells_verdict,
                    })
                })
            });
        Self(browsers.collect())
    }

    /// Clients of `serve` from one address, which others may be behind too.
    pub(crate) fn from_address(site: &Site, from: IpAddr) -> Result<Self> {
        let mut kinds = kinds(site, &site.serve, Some(from))?;
        kinds.extend(http3_kinds(site, &site.serve, Some(from))?);
        // Plain TLS has no paths to bind.
        kinds.retain(|(_, _, way)| matches!(way, Way::Verified(_)));
        Ok(Self::of(vec![("serve", kinds, true)]))
    }

    /// The number of kinds.
    pub(crate) fn kinds(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Connects at this pace, with each kind in turn.
    pub(crate) async fn run(&self, pace: Pace) -> Result<Tallies> {
        let mut tallies = Tallies::new();
        let mut running = JoinSet::new();
        let mut ticks = interval(pace.interval);
        // A late start must not become a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (begun, browser) in (0..).zip(self.0.iter().cycle()) {
            if !pace.goes_on(begun) {
                break;
            }
            ticks.tick().await;
            if running.len() >= AT_A_TIME {
                collect(&mut tallies, running.join_next().await)?;
            }
            let browser = Arc::clone(browser);
            running.spawn(async move { (browser.name.clone(), browser.browse().await) });
        }
        while let Some(done) = running.join_next().await {
            collect(&mut tallies, Some(done))?;
        }
        Ok(tallies)
    }
}

type Joined = Result<(String, Outcome), tokio::task::JoinError>;

fn collect(tallies: &mut Tallies, joined: Option<Joined>) -> Result {
    if let Some(joined) = joined {
        let (name, outcome) = joined?;
        tallies.entry(name).or_default().add(outcome);
    }
    Ok(())
}

/// A client of a service, which may have one address that it shares with others.
fn victim(site: &Site, service: &Program, from: Option<IpAddr>) -> Result<Victim> {
    let victim = site.world.victim_of(service.address)?;
    Ok(match from {
        Some(from) => victim
            .primary_by(Path::source(from.into())?)
            .side_from(from, service.address),
        None => victim,
    })
}

fn kinds(site: &Site, service: &Program, from: Option<IpAddr>) -> Result<Kinds> {
    let victim = || victim(site, service, from);
    let connector = || victim()?.connector(Policy::Require);
    let kept = |connector| Way::Verified(Verifying::Kept(connector));
    let fresh = || Way::Verified(Verifying::Fresh);
    let two_paths = victim()?
        .side_from(site.world.ip(2), service.address)
        .side_from(site.world.ip(3), service.address);
    let resumed = connector()?.tickets(TICKETS);
    let inherited = connector()?.tickets(TICKETS).inherit(INHERITED);
    Ok(vec![
        ("plain TLS", victim()?, Way::Plain),
        ("fresh side connection", victim()?, fresh()),
        ("two side paths", two_paths, fresh()),
        (
            "pooled side connection",
            victim()?,
            kept(connector()?.tickets(0).build()?),
        ),
        ("resumed", victim()?, kept(resumed.build()?)),
        ("inherited", victim()?, kept(inherited.build()?)),
    ])
}

fn http3_kinds(site: &Site, service: &Program, from: Option<IpAddr>) -> Result<Kinds> {
    let victim = || victim(site, service, from);
    let pooled = http3::connector(&victim()?.connector(Policy::Require)?.build()?)?;
    let verified = Way::Verified;
    Ok(vec![
        ("HTTP/3, QUIC alone", victim()?, Way::PlainHttp3),
        (
            "HTTP/3, fresh side connection",
            victim()?,
            verified(Verifying::FreshHttp3),
        ),
        (
            "HTTP/3, pooled side connection",
            victim()?,
            verified(Verifying::KeptHttp3(pooled)),
        ),
    ])
}

/// Clients whose primary path leads to one machine, and whose side path leads to the other.
fn fleet_kinds(site: &Site, fleet: &Fleet) -> Result<Kinds> {
    let [one, other] = &fleet.machines;
    let victim = || -> Result<Victim> {
        let victim = site.world.victim_of(one.address)?;
        Ok(victim.side_to(other.address))
    };
    let pooled = victim()?.connector(Policy::Require)?.tickets(0).build()?;
    let verified = Way::Verified;
    Ok(vec![
        (
            "fresh side connection",
            victim()?,
            verified(Verifying::Fresh),
        ),
        (
            "pooled side connection",
            victim()?,
            verified(Verifying::Kept(pooled)),
        ),
    ])
}

impl Connected {
    fn tcp(stream: ClientStream<TcpStream>) -> Self {
        Self::Tcp(Box::new(stream))
    }

    fn quic(connection: QuicConnection) -> Self {
        Self::Quic(Box::new(connection))
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Tcp(stream) => stream.verdict(),
            Self::Quic(connection) => connection.verdict(),
        }
    }

    async fn get(self) -> Result<String> {
        match self {
            Self::Tcp(stream) => get(stream).await,
            Self::Quic(connection) => get_http3(connection.into_inner()).await,
        }
    }
}

impl Browser {
    /// One connection, with one request.
    async fn browse(&self) -> Outcome {
        let started = Instant::now();
        match timeout(PATIENCE, self.fetch()).await {
            Ok(Ok(Some(wrong))) => Outcome::Wrong(wrong),
            Ok(Ok(None)) => Outcome::Right(started.elapsed()),
            Ok(Err(lost)) => Outcome::Lost(lost.to_string()),
            Err(_) => Outcome::Lost(format!("no response within {} s", PATIENCE.as_secs())),
        }
    }

    /// Reports a wrong verdict.
    async fn fetch(&self) -> Result<Option<String>> {
        let (head, is_verified) = match &self.way {
            Way::Plain => (get(self.victim.connect_plain().await?).await?, false),
            Way::PlainHttp3 => {
                let connection = http3::connect_plain(&self.victim).await?;
                (get_http3(connection).await?, false)
            }
            Way::Proxied(proxy) => (get(self.connect_through(*proxy).await?).await?, true),
            Way::Verified(verifying) => match self.connect(verifying).await {
                Ok(connected) if connected.verdict().verified().is_none() => {
                    let outcome = connected.verdict().outcome;
                    return Ok(Some(format!("the client has {outcome:?}")));
                }
                Ok(connected) => (connected.get().await?, true),
                Err(Error::Interception(evidence)) => {
                    return Ok(Some(format!("false alarm: {}", evidence.reason.as_str())));
                }
                Err(error) => return Err(error.into()),
            },
        };
        Ok(self.wrong_at_server(&head, is_verified))
    }

    async fn connect(&self, verifying: &Verifying) -> Result<Connected, Error> {
        let (victim, target) = (&self.victim, self.victim.target());
        match verifying {
            Verifying::Fresh => victim.connect(Policy::Require).await.map(Connected::tcp),
            Verifying::Kept(connector) => connector.connect(&target).await.map(Connected::tcp),
            Verifying::FreshHttp3 => {
                let tcp = victim.connector_with(victim.settings(Policy::Require));
                let tcp = tcp.expect("a client of certificates").build()?;
                let connector = http3::connector(&tcp)?;
                connector.connect(&target).await.map(Connected::quic)
            }
            Verifying::KeptHttp3(connector) => {
                connector.connect(&target).await.map(Connected::quic)
            }
        }
    }

    /// TLS through the proxy, which verifies the server.
    async fn connect_through(
        &self,
        proxy: SocketAddr,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let target = self.victim.target();
        let mut tcp = TcpStream::connect(proxy).await?;
        tcp.set_nodelay(true)?;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&head).into());
        }
        let connector = TlsConnector::from(Arc::clone(&self.victim.config));
        Ok(connector.connect(ServerName::try_from(HOST)?, tcp).await?)
    }

    /// A fault of the server's verdict on a connection that is verified, or is not.
    fn wrong_at_server(&self, head: &str, is_verified: bool) -> Option<String> {
        let verdict = field(head, ECHO).or_else(|| field(head, "multipath-verdict"));
        let verdict = verdict.unwrap_or("no verdict");
        let agrees = verdict.starts_with("verified") == is_verified;
        (self.tells_verdict && !agrees).then(|| format!("the server has '{verdict}'"))
    }
}

/// The head of the response to one request.
async fn get(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String> {
    let response = get_page(stream).await?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") && body.contains("a page") => {
            Ok(head.to_owned())
        }
        _ => Err(format!("no complete response: {response:?}").into()),
    }
}

/// The same over HTTP/3: the head in the form of HTTP/1.1.
async fn get_http3(connection: quinn::Connection) -> Result<String> {
    let request = Request::get(format!("https://{HOST}/")).body(())?;
    let response = http3::fetch(connection, request).await?;
    if response.status() != StatusCode::OK || !response.body().ends_with(b"a page") {
        return Err(format!("no complete response: {response:?}").into());
    }
    let lines = response.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}: {value}\r\n")
    });
    Ok(lines.collect())
}
