//! The server: [`MultipathAcceptor`], in the shape of `tokio_rustls::TlsAcceptor`, and
//! [`MultipathListener`], which runs many handshakes at a time.

mod builder;
#[cfg(feature = "mptcp")]
mod inside;
mod listener;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

#[cfg(feature = "mptcp")]
use crate::carrier::Carrier;
use crate::error::{ApiMisuse, Error, InvalidMessage, TimedOut};
use crate::evaluate::server::ServerEvaluation;
use crate::observer::Event;
use crate::proto::binding::Association;
#[cfg(feature = "mptcp")]
use crate::proto::carrier::CARRIER_GREETING;
use crate::proto::frame::GREETING;
use crate::registry::{Registration, Reservation};
use crate::side::server::connection::SideConnection;
use crate::side::server::service::SideService;
use crate::side::server::sessions::{Remember, VerifiedSessions};
use crate::side::server::settings::SideServiceSettings;
use crate::stream::ServerStream;
use crate::tls::authentication::Authentication;
use crate::tls::first_hello::{FirstHello, TLS_HANDSHAKE, read_some};
use crate::tls::mark::Mark;
use crate::tls::server::{ReadHello, TlsSettings};
use crate::verdict::Times;

pub use builder::AcceptorBuilder;
pub use listener::MultipathListener;

/// Accepts TLS connections, and answers their verifications on side connections.
///
/// Wraps an existing `rustls::ServerConfig` with all that it carries; early data and half-RTT
/// data are off. Clones share the configuration and the registry.
///
/// # From `TlsAcceptor`
///
/// ```diff
/// -let acceptor = TlsAcceptor::from(config);
/// +let acceptor = MultipathAcceptor::builder(config, Policy::Prefer).build()?;
/// +let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
///  loop {
/// -    let (tcp, peer) = listener.accept().await?;
/// -    let acceptor = acceptor.clone();
/// -    tokio::spawn(async move { serve(acceptor.accept(tcp).await?, peer).await });
/// +    let (stream, peer) = listener.accept().await;
/// +    tokio::spawn(async move {
/// +        let tls = stream.wait_for_verdict().await?.into_inner();
/// +        serve(tls, peer).await
/// +    });
///  }
/// ```
///
/// [`MultipathListener`] answers the side connections, limits the resources of unauthenticated peers, and
/// lets no connection wait for another. A program with an accept loop of its own does that itself:
///
/// ```
/// use std::io;
/// use std::net::SocketAddr;
/// use std::sync::Arc;
///
/// use mtls_core::{Accepted, ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
/// use rustls::ServerConfig;
/// use tokio::net::{TcpListener, TcpStream};
/// use tokio_rustls::{TlsAcceptor, server::TlsStream};
///
/// async fn serve(_stream: TlsStream<TcpStream>, _peer: SocketAddr) {}
///
/// async fn before(config: Arc<ServerConfig>, listener: TcpListener) -> io::Result<()> {
///     let acceptor = TlsAcceptor::from(config);
///     loop {
///         let (tcp, peer) = listener.accept().await?;
///         let acceptor = acceptor.clone();
///         tokio::spawn(async move {
///             serve(acceptor.accept(tcp).await?, peer).await;
///             io::Result::Ok(())
///         });
///     }
/// }
///
/// async fn after(
///     config: Arc<ServerConfig>,
///     listener: TcpListener,
/// ) -> Result<(), mtls_core::Error> {
///     let acceptor = MultipathAcceptor::builder(config, Policy::Prefer).build()?;
///     let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
///     loop {
///         let (stream, peer) = listener.accept().await;
///         tokio::spawn(async move {
///             let tls = stream.wait_for_verdict().await?.into_inner();
///             serve(tls, peer).await;
///             Ok::<_, mtls_core::Error>(())
///         });
///     }
/// }
///
/// // One connection of an accept loop of one's own, in a task of its own.
/// async fn one(
///     acceptor: MultipathAcceptor,
///     tcp: TcpStream,
///     peer: SocketAddr,
/// ) -> Result<(), mtls_core::Error> {
///     match acceptor.accept(tcp, peer).await? {
///         Accepted::Stream(stream) => {
///             serve(stream.wait_for_verdict().await?.into_inner(), peer).await
///         }
///         Accepted::Side(side) => side.run().await?,
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct MultipathAcceptor {
    inner: Arc<Inner>,
}

struct Inner {
    tls: RwLock<Arc<TlsSettings>>,
    authentication: Authentication,
    sides: Arc<SideService>,
    /// The verified handshakes that connections inherit from.
    sessions: Option<Arc<VerifiedSessions>>,
}

/// An accepted connection.
#[derive(Debug)]
pub enum Accepted<IO> {
    /// A TLS connection. Under [`Policy::Prefer`](crate::Policy::Prefer) its verdict may still be undecided.
    Stream(Box<ServerStream<IO>>),
    /// A side connection: [`SideConnection::run`] it in a task.
    Side(SideConnection<IO>),
}

/// A complete handshake, before the verdict.
struct Complete<IO> {
    tls: TlsStream<IO>,
    association: Option<Association>,
    registration: Option<Arc<dyn Registration>>,
    /// The mark of the session that it resumes.
    resumes: Option<Mark>,
    /// The mark of the session that it begins.
    fresh: Option<Mark>,
    started: Instant,
    time: Duration,
    #[cfg(feature = "mptcp")]
    settings: Arc<TlsSettings>,
}

/// A connection whose first bytes have been read.
enum FirstMessage<IO> {
    Tls(Box<ReadHello<IO>>),
    Side(IO, Vec<u8>),
    /// TLS with its side exchange.
    #[cfg(feature = "mptcp")]
    Inside(Box<ReadHello<Carrier<IO>>>),
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("sides", &self.sides)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// The TLS settings for a handshake that begins now.
    fn tls(&self) -> Arc<TlsSettings> {
        Arc::clone(&self.tls.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins the registration before rustls computes the flight, which occupies this thread.
    async fn reserve(&self, association: Option<Association>) -> Option<Box<dyn Reservation>> {
        let reservation = self.sides.reserve(association?)?;
        // Now the registry's own tasks send what they have to.
        yield_now().await;
        Some(reservation)
    }
}

impl MultipathAcceptor {
    /// Starts a builder of an acceptor that wraps a TLS configuration. A mere [`Policy`](crate::Policy) is enough for
    /// the settings; it has no default (`docs/protocol.md`, section 6.2).
    pub fn builder(
        config: Arc<ServerConfig>,
        settings: impl Into<SideServiceSettings>,
    ) -> AcceptorBuilder {
        AcceptorBuilder::new(config, settings.into())
    }

    /// The service of its side connections, and its authentication, for another transport.
    #[cfg(feature = "quic")]
    pub(crate) fn parts(&self) -> (&Arc<SideService>, Authentication) {
        (&self.inner.sides, self.inner.authentication)
    }

    /// The TLS settings for a handshake of another transport that begins now.
    #[cfg(feature = "quic")]
    pub(crate) fn tls(&self) -> Arc<TlsSettings> {
        self.inner.tls()
    }

    /// Takes another TLS configuration for all handshakes that begin from now on, here and in all
    /// clones: certificates were renewed, say. Connections that are open stay as they are; tickets
    /// that the old configuration gave lead to full handshakes, unless both share a ticketer or a
    /// session store.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for an acceptor of [`smkex`](crate::smkex), which has no certificate to
    /// renew.
    pub fn replace_config(&self, config: &Arc<ServerConfig>) -> Result<(), Error> {
        if self.inner.authentication == Authentication::SideProtocol {
            return Err(ApiMisuse::SmkexConfig.into());
        }
        let settings = Arc::new(TlsSettings::new(config));
        let mut tls = self
            .inner
            .tls
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *tls = settings;
        Ok(())
    }

    /// Takes a connection from `peer`: TLS, or a side connection, by its first byte
    /// (`docs/protocol.md`, section 2). TLS is complete when this returns. Under
    /// [`Policy::Require`](crate::Policy::Require) the connection is confirmed as well; under [`Policy::Prefer`](crate::Policy::Prefer) the stream
    /// holds the client's first bytes back until its verdict is decided
    /// ([`ServerStream`]). Dropping the future gives the connection up.
    ///
    /// Set `TCP_NODELAY` on a stream that is TCP.
    ///
    /// Never await this in line in an accept loop: a silent client would block all others. Use
    /// [`MultipathListener`], or a bounded number of tasks.
    ///
    /// # Errors
    /// The errors of plain TLS: [`Error::Tls`], [`Error::TimedOut`], [`Error::Io`];
    /// [`Error::InvalidMessage`] for what is neither TLS nor a side connection;
    /// [`Error::Unverified`] and [`Error::Disputed`] when the policy refuses the connection;
    /// [`Error::Registry`] when the machine is cut off from its fleet, whatever the policy.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time driver.
    pub async fn accept<IO>(&self, io: IO, peer: SocketAddr) -> Result<Accepted<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match self.open(io).await? {
            FirstMessage::Tls(hello) => {
                let stream = self.handshake(*hello, peer).await?;
                Ok(Accepted::Stream(Box::new(stream)))
            }
            FirstMessage::Side(io, received) => Ok(Accepted::Side(self.side(io, peer, received))),
            #[cfg(feature = "mptcp")]
            FirstMessage::Inside(hello) => {
                let stream = self.handshake_inside(*hello, peer).await?;
                Ok(Accepted::Stream(Box::new(stream)))
            }
        }
    }

    /// Takes a connection on a listener for side connections only. Nothing is read before
    /// [`SideConnection::run`].
    pub fn accept_side<IO>(&self, io: IO, peer: SocketAddr) -> SideConnection<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.side(io, peer, Vec::new())
    }

    fn side<IO>(&self, io: IO, peer: SocketAddr, received: Vec<u8>) -> SideConnection<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        SideConnection::new(Arc::clone(&self.inner.sides), io, peer, received)
    }

    /// Reads the first message: a whole ClientHello, or the first byte of a side connection.
    async fn open<IO>(&self, io: IO) -> Result<FirstMessage<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        timeout(self.inner.sides.settings.handshake_timeout, open(io))
            .await
            .unwrap_or(Err(Error::TimedOut(TimedOut::ClientHello)))
            .inspect_err(|error| self.notify(&Event::Failed(error)))
    }

    fn notify(&self, event: &Event<'_>) {
        self.inner.sides.notify(event);
    }

    #[tracing::instrument(name = "multipath_accept", level = "debug", skip_all, fields(%peer))]
    async fn handshake<IO>(
        &self,
        hello: ReadHello<IO>,
        peer: SocketAddr,
    ) -> Result<ServerStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.try_handshake(hello, peer)
            .await
            .inspect_err(|error| self.notify(&Event::Failed(error)))
    }

    async fn try_handshake<IO>(
        &self,
        hello: ReadHello<IO>,
        peer: SocketAddr,
    ) -> Result<ServerStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let complete = self.complete(hello).await?;
        self.conclude(complete, peer).await
    }

    /// Completes TLS.
    async fn complete<IO>(&self, hello: ReadHello<IO>) -> Result<Complete<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let inner = &*self.inner;
        let started = Instant::now();
        let settings = inner.tls();
        let handshake = async {
            let tls = &settings;
            let sessions = inner.sessions.as_ref();
            let mark = sessions.map(|_| Mark::random(tls.random())).transpose()?;
            let reservation = inner.reserve(hello.hello.tap.association()).await;
            let flight = tls.first_flight(hello, mark).await;
            let mut flight = flight.map_err(|error| inner.authentication.server_error(error))?;
            let association = flight.association;
            let registration = match (association, flight.registers.take()) {
                (Some(association), Some(keys)) => {
                    let sides = &inner.sides;
                    sides.register(association, reservation, keys).await?
                }
                _ => None,
            };
            let resumes = flight.resumes;
            let tls = flight
                .complete(|| registration.iter().for_each(|entry| entry.flushed()))
                .await?;
            let fresh = mark.filter(|_| !is_resumed(&tls));
            Ok::<_, Error>((tls, association, registration, resumes, fresh))
        };
        let (tls, association, registration, resumes, fresh) =
            timeout_at(started + inner.sides.settings.handshake_timeout, handshake)
                .await
                .map_err(|_| Error::TimedOut(TimedOut::Handshake))??;
        Ok(Complete {
            tls,
            association,
            registration,
            resumes,
            fresh,
            started,
            time: started.elapsed(),
            #[cfg(feature = "mptcp")]
            settings,
        })
    }

    /// Gives out the stream, when the policy accepts it.
    async fn conclude<IO>(
        &self,
        complete: Complete<IO>,
        peer: SocketAddr,
    ) -> Result<ServerStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let inner = &*self.inner;
        let Complete {
            tls,
            association,
            registration,
            resumes,
            fresh,
            started,
            time,
            ..
        } = complete;
        let times = Times {
            tls: Some(time),
            ..Times::default()
        };
        let sessions = inner.sessions.as_ref();
        let remember = |(sessions, mark)| Remember::new(Arc::clone(sessions), mark, peer);
        let remember = sessions.zip(fresh).map(remember);
        ServerEvaluation {
            policy: inner.sides.settings.policy,
            deadline: inner.sides.settings.deadline,
            started,
            peer,
            association,
            times,
            inherits: sessions
                .zip(resumes)
                .and_then(|(sessions, mark)| sessions.origin(mark)),
        }
        .into_stream(
            tls,
            inner.authentication,
            registration,
            &inner.sides,
            remember,
        )
        .await
    }
}

fn is_resumed<IO>(tls: &TlsStream<IO>) -> bool {
    let (_, connection) = tls.get_ref();
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}

async fn open<IO>(mut io: IO) -> Result<FirstMessage<IO>, Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let received = read_some(&mut io).await?;
    match received.first().copied() {
        Some(TLS_HANDSHAKE) => {
            let hello = FirstHello::read(&mut io, received).await?;
            Ok(FirstMessage::Tls(Box::new(ReadHello {
                io,
                hello,
                sends_tickets: true,
            })))
        }
        Some(first) if first == GREETING[0] => Ok(FirstMessage::Side(io, received)),
        #[cfg(feature = "mptcp")]
        Some(first) if first == CARRIER_GREETING[0] => inside::open(io, received).await,
        Some(first) => Err(InvalidMessage::NeitherTlsNorSide(first).into()),
        None => Err(InvalidMessage::EndedEarly.into()),
    }
}
