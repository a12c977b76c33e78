//! The client: [`MultipathConnector`], in the shape of `tokio_rustls::TlsConnector`.

mod builder;
#[cfg(feature = "mptcp")]
mod inside;
mod prefetch;
mod prefetch_error;

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::error::{ApiMisuse, Error};
use crate::evaluate::client::ClientEvaluation;
use crate::path::{Dial, DialError, Dialed, Endpoint, Host, Path};
use crate::proto::binding::Association;
use crate::proto::client::SideFailure;
use crate::resumption::{Connected, Redial, Resumption, SideDials};
use crate::side::client::known::KnownHost;
use crate::side::client::result::{SideOutcome, SideResult};
use crate::side::client::settings::{ClientPaths, ClientSettings};
use crate::side::client::verification::{Primary, SideShared, Verification, poll_once};
use crate::stream::ClientStream;
use crate::tls::client::{self as tls, TlsSettings};
use crate::verdict::method::Method;
use crate::verdict::policy::Policy;
use crate::verdict::{PathReport, PathRole, Reason, Times};

pub use builder::ConnectorBuilder;
pub use prefetch_error::PrefetchError;

/// Makes TLS connections, and verifies them over side paths.
///
/// Wraps an existing `rustls::ClientConfig` with all that it carries, but for two things: the
/// connector keeps its own ticket store (a ticket enters it only from a verified connection), and
/// early data is off. Clones share the configuration, the tickets and the side connections.
///
/// # From `TlsConnector`
///
/// ```diff
/// -let connector = TlsConnector::from(config);
/// -let tcp = TcpStream::connect(("example.org", 443)).await?;
/// -let tls = connector.connect("example.org".try_into()?, tcp).await?;
/// +let settings = ClientSettings::new(Policy::Require).side("socks5h://192.0.2.1:1080".parse()?);
/// +let connector = MultipathConnector::builder(config, settings).build()?;
/// +let tls = connector.connect(&"example.org:443".parse()?).await?.into_inner();
/// ```
///
/// Keep the connector: it holds the tickets and the side connections. Where the program dials by
/// itself, [`connect_stream`](Self::connect_stream) takes the stream that it opened:
///
/// ```
/// use std::sync::Arc;
///
/// use mtls_core::{ClientSettings, MultipathConnector, Policy};
/// use rustls::ClientConfig;
/// use tokio::net::TcpStream;
/// use tokio_rustls::{TlsConnector, client::TlsStream};
///
/// type Error = Box<dyn std::error::Error>;
///
/// async fn before(config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Error> {
///     let connector = TlsConnector::from(config);
///     let tcp = TcpStream::connect(("example.org", 443)).await?;
///     Ok(connector.connect("example.org".try_into()?, tcp).await?)
/// }
///
/// async fn after(config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Error> {
///     let settings = ClientSettings::new(Policy::Require).side("socks5h://192.0.2.1:1080".parse()?);
///     let connector = MultipathConnector::builder(config, settings).build()?;
///     Ok(connector.connect(&"example.org:443".parse()?).await?.into_inner())
/// }
///
/// async fn over_my_stream(config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Error> {
///     let settings = ClientSettings::new(Policy::Require).side("if:wwan0".parse()?);
///     let connector = MultipathConnector::builder(config, settings).build()?;
///     let tcp = TcpStream::connect(("example.org", 443)).await?;
///     tcp.set_nodelay(true)?;
///     let side = "example.org:443".parse()?;
///     let stream = connector.connect_stream("example.org".try_into()?, tcp, &side).await?;
///     Ok(stream.into_inner())
/// }
/// ```
#[derive(Debug)]
pub struct MultipathConnector<D = Path> {
    inner: Arc<Inner<D>>,
}

impl<D> Clone for MultipathConnector<D> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<D> {
    tls: TlsSettings,
    paths: Arc<ClientPaths<D>>,
    method: Method,
}

/// One connection to make.
struct Request<'a, IO> {
    name: ServerName<'static>,
    known: KnownHost,
    /// Redials the primary path, if the connector dials it itself.
    redial: Option<&'a dyn Redial<IO>>,
}

/// The primary path of one connection.
struct PrimaryDial<'a, D> {
    path: &'a D,
    to: &'a Endpoint,
}

impl<D: Dial> Redial<D::Stream> for PrimaryDial<'_, D> {
    fn redial(&self) -> BoxFuture<'static, Result<Dialed<D::Stream>, DialError>> {
        self.path.dial(self.to)
    }
}

impl<D> std::fmt::Debug for Inner<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("policy", &self.paths.settings.policy)
            .field("side_endpoint", &self.paths.settings.side_endpoint)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl<D: Dial> MultipathConnector<D> {
    /// Starts a builder of a connector that wraps a TLS configuration.
    pub fn builder(config: Arc<ClientConfig>, settings: ClientSettings<D>) -> ConnectorBuilder<D> {
        ConnectorBuilder::new(config, settings)
    }

    /// Connects to `to` over the primary path, with TLS for that very host, and verifies the
    /// connection over every side path. No application byte can be sent before the verdict.
    /// Dropping the future gives everything up; side connections may stay for later.
    ///
    /// # Errors
    /// [`Error::Interception`] if an attacker is on one of the paths, [`Error::Unverified`]
    /// when the policy refuses what could not be verified, [`Error::KnownHost`] for a connection
    /// that violates the entry of its host, [`Error::KnownHosts`] if the store cannot be read;
    /// otherwise the errors of plain TLS:
    /// [`Error::Dial`], [`Error::Tls`], [`Error::TimedOut`] or [`Error::Io`] of the primary path,
    /// or [`Error::ApiMisuse`] for a host that TLS has no name for.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers.
    pub async fn connect(&self, to: &Endpoint) -> Result<ClientStream<D::Stream>, Error> {
        let name = server_name(&to.host)?;
        let settings = &self.inner.paths.settings;
        let known = self.inner.known(to).await?;
        let primary = PrimaryDial {
            path: &settings.primary,
            to,
        };
        let dial = primary.redial();
        let dialed = async { dial.await.map_err(|error| Error::Dial(Box::new(error))) };
        let request = Request {
            name,
            known,
            redial: Some(&primary),
        };
        self.inner.establish(request, dialed, to).await
    }

    /// Does the same over a stream that the caller opened, of any type. Nothing is known of its
    /// path, so its independence is unknown; `side` says where the side verifier listens, and stands
    /// for the server in evidence and logs. Its port and `name` identify a
    /// [known host](crate::known_hosts).
    ///
    /// Set `TCP_NODELAY` on a stream that is TCP.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), but for [`Error::Dial`].
    ///
    /// # Panics
    /// As [`connect`](Self::connect).
    pub async fn connect_stream<IO>(
        &self,
        name: ServerName<'static>,
        stream: IO,
        side: &Endpoint,
    ) -> Result<ClientStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let host = match name.to_str().parse::<Host>() {
            Ok(host) => Endpoint::new(host, side.port),
            Err(_) => side.clone(),
        };
        let known = self.inner.known(&host).await?.at(side);
        self.connect_with_dial(name, async { Ok(stream) }, known)
            .await
    }

    /// The known host, for [`connect_with_dial`](Self::connect_with_dial).
    #[cfg(feature = "hyper-client")]
    pub(crate) async fn known(&self, host: &Endpoint) -> Result<KnownHost, Error> {
        self.inner.known(host).await
    }

    /// Does the same over a stream that `dial` opens. The side paths are dialled meanwhile, so
    /// that no round trip is added.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and what `dial` says.
    pub(crate) async fn connect_with_dial<IO>(
        &self,
        name: ServerName<'static>,
        dial: impl Future<Output = Result<IO, Error>>,
        known: KnownHost,
    ) -> Result<ClientStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let dialed = async {
            dial.await.map(|stream| Primary {
                stream,
                report: PathReport::unknown(PathRole::Primary),
            })
        };
        let request = Request {
            name: name.clone(),
            known,
            redial: None,
        };
        self.inner.establish(request, dialed, &name.to_str()).await
    }

    /// The TLS settings, the paths with their side connections, and the method, for another
    /// transport.
    #[cfg(feature = "quic")]
    pub(crate) fn parts(&self) -> (&TlsSettings, &Arc<ClientPaths<D>>, Method) {
        let Inner { tls, paths, method } = &*self.inner;
        (tls, paths, *method)
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.inner.paths.settings.policy
    }

    /// The path of the TLS connection.
    pub fn primary(&self) -> &D {
        &self.inner.paths.settings.primary
    }

    /// The address of the side verifier; `None` for the host and port of each server.
    pub fn side_endpoint(&self) -> Option<&Endpoint> {
        self.inner.paths.settings.side_endpoint.as_ref()
    }
}

impl<D: Dial> Inner<D> {
    async fn known(&self, host: &Endpoint) -> Result<KnownHost, Error> {
        let policy = self.paths.settings.policy;
        self.paths.known(host, policy, self.method).await
    }

    /// Connects, and records what the connection has shown of its host.
    async fn establish<IO, P>(
        &self,
        request: Request<'_, IO>,
        dial: impl Future<Output = Result<P, Error>>,
        target: &(dyn Display + Sync),
    ) -> Result<ClientStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        P: Into<Primary<IO>>,
    {
        #[cfg(not(feature = "mptcp"))]
        let stream = self.verify(&request, dial, target).await?;
        #[cfg(feature = "mptcp")]
        let stream = match self.prepare_inside(&request.known)? {
            Some(inside) => Box::pin(self.verify_inside(inside, &request, dial, target)).await?,
            None => {
                let join = self.prepare_join(&request.known)?;
                let stream = self.verify(&request, dial, target).await?;
                self.join_later(join, &stream.verdict());
                stream
            }
        };
        if request.known.has_store() {
            // On the heap, since most connections do not need it.
            Box::pin(self.paths.record(&request.known, &stream.verdict())).await;
        }
        Ok(stream)
    }

    #[tracing::instrument(name = "multipath_connect", level = "debug", skip_all, fields(%target))]
    async fn verify<IO, P>(
        &self,
        request: &Request<'_, IO>,
        dial: impl Future<Output = Result<P, Error>>,
        target: &(dyn Display + Sync),
    ) -> Result<ClientStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        P: Into<Primary<IO>>,
    {
        let started = Instant::now();
        tokio::pin!(dial);
        // The primary SYN leaves first, then the ClientHello is built, then the side paths are
        // dialled: their cost hides behind the server's work.
        let early = poll_once(dial.as_mut()).await;
        let hello = self
            .tls
            .client_hello(request.name.clone(), request.known.side_endpoint())?;
        let descent = hello.descent();
        let association = hello.association();
        tracing::debug!(%association, "client hello ready");
        let paths = &self.paths;
        let known = &request.known;
        let policy = known.policy;
        let mut shared = SideShared::new(paths, self.tls.random(), known.side_endpoint());
        let mut dials = SideDials::default();
        if descent.is_some() || known.is_unsupported() || known.method == Method::Resumption {
            shared = shared.without_sides();
        }
        let at_once = descent.is_none() && !known.is_unsupported();
        if at_once && known.method == Method::Resumption {
            dials = self.dial_all(known.side_endpoint());
        }
        let mut verification = Verification::start(shared, policy, association, started)?;
        let primary: Primary<IO> = match early {
            Poll::Ready(dialed) => dialed?,
            Poll::Pending => {
                let dialing = pin!(dials.during(dial.as_mut()));
                verification.during(dialing).await??
            }
        }
        .into();
        let complete = {
            let handshake = pin!(hello.complete(primary.stream));
            let handshake = pin!(dials.during(handshake));
            verification
                .handshake(handshake)
                .await
                .map_err(|error| paths.authentication.client_error(error))?
        };
        let (_, connection) = complete.tls.get_ref();
        let version = tls::version(connection);
        let resumed = tls::is_resumed(connection);
        let was_offered = descent.is_some();
        let resumes = descent.filter(|descent| resumed && known.may_inherit(descent.method()));
        let deadline = match (was_offered, &resumes) {
            // A server that did not resume its session is verified as usual.
            (true, None) => {
                dials = self.start_late(&mut verification, known, association)?;
                Instant::now()
            }
            _ => started + verification.times.connected.unwrap_or_default(),
        } + paths.settings.deadline;
        verification
            .conclude(Some((version, &complete.secrets)))
            .await?;
        let mut connected = Connected {
            complete,
            association,
            report: primary.report,
        };
        let (mut results, mut times) = (verification.results(), verification.times);
        let inherits = prefetch::origin(resumes, &connected.complete, &mut results);
        if known.method == Method::Auto && !resumed {
            dials = self.dial_ungreeted(&results, known.side_endpoint());
        }
        if !dials.is_empty() {
            let check = self.resumption(request, deadline, times);
            // On the heap, since most connections do not need it.
            Box::pin(check.check(dials, &mut connected, &mut results)).await?;
            times.verdict = Some(started.elapsed());
        }
        ClientEvaluation {
            known,
            require_independent: paths.settings.require_independent,
            target,
            association: Some(connected.association),
            report: connected.report,
            times,
            inherits,
        }
        .into_stream(connected.complete, paths.authentication, &results)
    }

    /// Starts the verification of a connection that was to inherit it.
    fn start_late<'a>(
        &'a self,
        verification: &mut Verification<'a, D>,
        known: &'a KnownHost,
        association: Association,
    ) -> Result<SideDials<D::Stream>, Error> {
        let to = known.side_endpoint();
        if known.is_unsupported() {
            return Ok(SideDials::default());
        }
        if known.method == Method::Resumption {
            return Ok(self.dial_all(to));
        }
        let shared = SideShared::new(&self.paths, self.tls.random(), to);
        verification.start_late(shared, association)?;
        Ok(SideDials::default())
    }

    /// Dials all side paths.
    fn dial_all(&self, to: &Endpoint) -> SideDials<D::Stream> {
        let sides = &self.paths.settings.sides;
        SideDials::start(sides, 0..sides.len(), to)
    }

    /// Dials the side paths on which the server sent no greeting.
    fn dial_ungreeted(&self, results: &[SideResult], to: &Endpoint) -> SideDials<D::Stream> {
        let ungreeted = |result: &SideResult| {
            result.outcome == SideOutcome::Failed(Reason::Side(SideFailure::NoGreeting))
        };
        let indices = (0..results.len()).filter(|&index| ungreeted(&results[index]));
        SideDials::start(&self.paths.settings.sides, indices, to)
    }

    fn resumption<'a, IO>(
        &'a self,
        request: &'a Request<'a, IO>,
        deadline: Instant,
        times: Times,
    ) -> Resumption<'a, D, IO> {
        let connected = times.connected.unwrap_or_default();
        Resumption {
            tls: &self.tls,
            sides: &self.paths.settings.sides,
            name: &request.name,
            side_endpoint: request.known.side_endpoint(),
            redial: request.redial,
            handshake: times.tls.unwrap_or_default().saturating_sub(connected),
            deadline,
        }
    }
}

/// The name that the server's certificate must be valid for.
pub(crate) fn server_name(host: &Host) -> Result<ServerName<'static>, Error> {
    match host {
        Host::Ip(address) => Ok(ServerName::from(address.ip())),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| ApiMisuse::InvalidServerName(name.as_str().to_owned()).into()),
    }
}
