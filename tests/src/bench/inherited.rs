//! Connections that inherit their verification: plain resumed TLS against resumed multipath TLS.
//!
//! Every connection resumes a session, sends one request and receives one response. CPU time is that
//! of the whole process, as in the benchmark of full handshakes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientSettings, Method, MultipathConnector, Policy};
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connections::clients::finish;
use super::connections::{BATCH, Requests, cpu_each_since};
use super::figure::{Figure, Limit, Quantity, Subject};
use super::server::{Addresses, Server};
use super::worker::{micros, run_client};
use super::{BenchArgs, Comparison};
use crate::rounds::Subjects;
use crate::stats::Sorted;
use crate::{Result, meter, tls};

/// Longer than the benchmark takes.
const MAX_AGE: Duration = Duration::from_secs(12 * 3600);
/// Connections until the first that resumes.
const TRIES: usize = 4;
const LIMIT: f64 = 1.01;

/// The kinds of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// From a server of plain TLS that was verified by resumption.
    FromPlain,
    /// From a server that speaks the side protocol, and inherits too.
    AtBothEnds,
}

const KINDS: [Kind; 3] = [Kind::Plain, Kind::FromPlain, Kind::AtBothEnds];

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let server = Server::resuming::<Requests>(&pki, MAX_AGE)?;
    let clients = Clients::new(&pki, server.addresses())?;
    let args = args.clone();
    run_client(async move { super::compare(&clients, &args).await })
}

struct Clients {
    addresses: Addresses,
    name: ServerName<'static>,
    plain: TlsConnector,
    from_plain: MultipathConnector,
    at_both_ends: MultipathConnector,
}

impl Clients {
    fn new(pki: &Pki, addresses: Addresses) -> Result<Self> {
        // With the ticket store that rustls has by default.
        let config = Arc::new(pki.ca.client_config(tls::provider())?);
        let settings = ClientSettings::new(Policy::Require).side(Path::system());
        let inheriting = |method| {
            MultipathConnector::builder(Arc::clone(&config), settings.clone())
                .method(method)
                .inherit(MAX_AGE)
                .build()
        };
        Ok(Self {
            name: ServerName::from(addresses.plain.ip()),
            from_plain: inheriting(Method::Resumption)?,
            at_both_ends: inheriting(Method::Side)?,
            plain: TlsConnector::from(config),
            addresses,
        })
    }

    /// Connects, sends a request and closes. Returns the time of the connect, and whether a session
    /// was resumed.
    async fn set_up(&self, kind: Kind) -> Result<(Duration, bool)> {
        let started = Instant::now();
        let (connector, to) = match kind {
            Kind::Plain => {
                let tcp = TcpStream::connect(self.addresses.plain).await?;
                tcp.set_nodelay(true)?;
                let stream = self.plain.connect(self.name.clone(), tcp).await?;
                let (_, connection) = stream.get_ref();
                let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
                return Ok((finish(started, stream).await?, resumed));
            }
            Kind::FromPlain => (&self.from_plain, self.addresses.plain),
            Kind::AtBothEnds => (&self.at_both_ends, self.addresses.multipath),
        };
        let stream = connector.connect(&Endpoint::from(to)).await?;
        let time = started.elapsed();
        let inherits = stream.verdict().inheritance().is_some();
        finish(started, stream).await?;
        Ok((time, inherits))
    }

    /// Connects until there is a session to resume.
    async fn warm_up(&self, kind: Kind) -> Result {
        for _ in 0..TRIES {
            if self.set_up(kind).await?.1 {
                return Ok(());
            }
        }
        Err(format!("{kind:?}: no connection resumes a session").into())
    }
}

impl Comparison<2> for Clients {
    const BENCHMARK: &'static str = "inherited";

    const QUANTITIES: [Quantity; 2] = [
        Quantity {
            name: "setup of a resumed connection",
            unit: "µs",
        },
        Quantity {
            name: "CPU of both ends per resumed connection",
            unit: "µs",
        },
    ];

    fn subjects(&self) -> Vec<Subject<2>> {
        let inherited = |name| Subject {
            name,
            limits: [Some(Limit::RatioAtMost(LIMIT)); 2],
        };
        vec![
            Subject {
                name: "plain TLS",
                limits: [None; 2],
            },
            inherited("inherited, server of plain TLS"),
            inherited("inherited at both ends"),
        ]
    }
}

impl Subjects for Clients {
    type Sample = [f64; 2];

    async fn measure(&self, subject: usize) -> Result<[f64; 2]> {
        let kind = KINDS[subject];
        self.warm_up(kind).await?;
        let cpu = meter::process();
        let mut times = Vec::with_capacity(BATCH as usize);
        for _ in 0..BATCH {
            let (time, resumed) = self.set_up(kind).await?;
            if !resumed {
                return Err(format!("{kind:?}: a connection resumed no session").into());
            }
            times.push(micros(time));
        }
        Ok([Sorted::new(times).median(), cpu_each_since(cpu).await])
    }
}
