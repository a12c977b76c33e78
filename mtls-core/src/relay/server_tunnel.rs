//! One connection through the relay in front of a server.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::exchange::{HelloExchange, Hellos, send};
use super::finished::FinishedRecord;
use super::first::First;
use super::monitor::{TunnelMonitor, TunnelReport};
use super::pump::{Broken, Counters, Means, Pipes, Pump, PumpEnd};
use super::server::{ClientAddresses, Inner, ServerRelay};
use super::socket::{abort, as_tcp};
use crate::error::{Error, TimedOut};
use crate::evaluate::server::Judge;
use crate::observer::Event;
use crate::path::Dial;
use crate::proto::binding::{Role, SideSecrets};
use crate::proto::server::HandshakeKeys;
use crate::registry::Registration;
use crate::tls::first_hello::FirstHello;
use crate::verdict::policy::Policy;
use crate::verdict::{Reason, Times, TlsReport};

/// A client's connection for the target, with its ClientHello read: [`run`](Self::run) it in a
/// task.
#[must_use = "a tunnel does nothing until it is run"]
pub struct ServerTunnel<D: Dial, IO> {
    relay: ServerRelay<D>,
    client: IO,
    peer: SocketAddr,
    first: First,
    monitor: TunnelMonitor,
}

impl<D: Dial, IO> fmt::Debug for ServerTunnel<D, IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTunnel")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl<D: Dial, IO> ServerTunnel<D, IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    pub(super) fn new(relay: ServerRelay<D>, client: IO, peer: SocketAddr, first: First) -> Self {
        let inner = &relay.inner;
        Self {
            monitor: TunnelMonitor::new(inner.target.clone(), inner.settings.policy),
            relay,
            client,
            peer,
            first,
        }
    }

    /// A view of the tunnel that outlives it.
    pub fn monitor(&self) -> TunnelMonitor {
        self.monitor.clone()
    }

    /// Gives the tunnel up before it has begun.
    pub(super) fn refuse(self, error: Error) -> TunnelReport {
        self.relay.inner.sides.tell(&Event::Failed(&error));
        self.monitor.failed(error)
    }

    /// Dials the target and relays until the tunnel ends.
    ///
    /// What refuses a tunnel closes it; the report says why, in its verdict and its error.
    pub async fn run(self) -> TunnelReport {
        self.run_in_turn(()).await
    }

    /// The same; drops `turn` when the handshake is over.
    #[tracing::instrument(name = "passage", level = "debug", skip_all, fields(peer = %self.peer))]
    pub(super) async fn run_in_turn<T>(self, turn: T) -> TunnelReport {
        let Self {
            relay,
            mut client,
            peer,
            first,
            monitor,
        } = self;
        let sides = &relay.inner.sides;
        let Ok(_permit) = relay.inner.tunnels.try_acquire() else {
            let busy = Error::TimedOut(TimedOut::Busy);
            sides.tell(&Event::Failed(&busy));
            return monitor.failed(busy);
        };
        let opening = Opening {
            inner: &relay.inner,
            monitor: &monitor,
            peer,
            started: Instant::now(),
            local: as_tcp(&client).and_then(|tcp| tcp.local_addr().ok()),
        };
        // On the heap, and gone before the long part of a tunnel's life.
        let opened = Box::pin(opening.open(&mut client, first, turn)).await;
        match opened {
            Ok((mut server, pump)) => {
                sides.passed(|| monitor.report().verdict);
                monitor.relaying();
                let means = Means {
                    counters: monitor.counters(),
                    pipes: &relay.inner.pipes,
                    idle: relay.inner.settings.idle,
                };
                let end = pump.run(&mut client, &mut server, means).await;
                monitor.pumped(end)
            }
            Err(error) => {
                tracing::debug!(%error, "tunnel refused");
                // Nothing is wrong with a client whose target cannot be reached.
                if !matches!(error, Error::Dial(_)) {
                    abort(&client);
                }
                sides.tell(&Event::Failed(&error));
                monitor.failed(error)
            }
        }
    }
}

/// Everything up to the moment when a tunnel is a plain relay.
struct Opening<'a, D: Dial> {
    inner: &'a Inner<D>,
    monitor: &'a TunnelMonitor,
    peer: SocketAddr,
    /// Where the client connected to, where that is known.
    local: Option<SocketAddr>,
    started: Instant,
}

/// What the hellos came to.
struct Met<S> {
    server: S,
    pump: Pump,
    registration: Option<Arc<dyn Registration>>,
    /// Why the handshake cannot be verified, where it cannot.
    unfit: Option<Reason>,
}

impl<D: Dial> Opening<'_, D> {
    async fn open<C, T>(
        &self,
        client: &mut C,
        first: First,
        turn: T,
    ) -> Result<(D::Stream, Pump), Error>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let hello = match first {
            First::Hello(hello) => *hello,
            First::Unfit(received, reason) => return self.pass_unfit(received, reason).await,
        };
        let met = timeout_at(self.handshake_end(), self.meet(client, hello)).await;
        let mut met = met.map_err(|_| Error::TimedOut(TimedOut::Handshake))??;
        let judge = self.judge(Times {
            tls: Some(self.started.elapsed()),
            ..Times::default()
        });
        let mut report = TlsReport::default();
        if met.unfit.is_none() {
            report.version = Some("TLSv1.3".to_owned());
            self.hold(&judge, client, &mut met, turn).await?;
        }
        let handle = judge.conclude(met.registration, met.unfit, report)?;
        self.monitor.decided(handle, None);
        Ok((met.server, met.pump))
    }

    /// Passes what cannot be verified, where the policy allows that.
    async fn pass_unfit(
        &self,
        received: Vec<u8>,
        reason: Reason,
    ) -> Result<(D::Stream, Pump), Error> {
        let judge = self.judge(Times::default());
        let handle = judge.conclude(None, Some(reason), TlsReport::default())?;
        self.monitor.decided(handle, None);
        Ok((self.dial().await?, Pump::new(received, Vec::new())))
    }

    async fn dial(&self) -> Result<D::Stream, Error> {
        let dialed = self.inner.path.dial(&self.inner.target).await;
        let dialed = dialed.map_err(|error| Error::Dial(Box::new(error)))?;
        let mut stream = dialed.stream;
        if let Some(preamble) = &self.inner.preamble {
            let preamble = preamble(ClientAddresses {
                peer: self.peer,
                local: self.local,
            });
            stream.write_all(&preamble).await?;
        }
        Ok(stream)
    }

    fn handshake_end(&self) -> Instant {
        self.started + self.inner.settings.handshake_timeout
    }

    fn judge(&self, times: Times) -> Judge {
        let settings = &self.inner.settings;
        Judge {
            policy: settings.policy,
            deadline: settings.deadline,
            started: self.started,
            peer: self.peer,
            association: self.monitor.association(),
            times,
        }
    }

    /// Passes the hellos, and registers them before the ServerHello leaves.
    async fn meet<C>(&self, client: &mut C, hello: FirstHello) -> Result<Met<D::Stream>, Error>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let association = hello.tap.association();
        let server_name = hello.tap.server_name();
        self.monitor.verifying(association, server_name);
        let mut server = self.dial().await?;
        let counters = self.monitor.counters();
        let mut exchange = HelloExchange::new(client, &mut server, hello, counters);
        let hellos = exchange.run().await?;
        let mut unsent = exchange.into_unsent();
        let (keys, unfit) = match hellos {
            Hellos::Tls13(hash) => {
                let secrets = SideSecrets::from_hello(&hash);
                (Some(HandshakeKeys::Tls13(secrets)), None)
            }
            Hellos::Older => (Some(HandshakeKeys::Older), Some(Reason::NotTls13)),
            Hellos::Unusable(error) => (None, Some(Reason::Hello(error))),
        };
        let mut registration = None;
        if let (Some(association), Some(keys)) = (association, keys) {
            registration = self.inner.sides.register(association, keys).await;
            send(client, &unsent.to_client, &counters.to_client).await?;
            unsent.to_client = Vec::new();
            registration.iter().for_each(|entry| entry.flushed());
        }
        Ok(Met {
            server,
            pump: Pump::new(unsent.to_server, unsent.to_client),
            registration,
            unfit,
        })
    }

    /// Holds what the client sends after its last hello back as long as the policy says
    /// (`docs/protocol.md`, section 6.2), while the server's bytes pass. Under
    /// [`Policy::Prefer`] the end of the client's handshake passes too, and drops `turn`: a client
    /// may be silent for long after it.
    async fn hold<C, T>(
        &self,
        judge: &Judge,
        client: &mut C,
        met: &mut Met<D::Stream>,
        turn: T,
    ) -> Result<(), Error>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(registration) = &met.registration else {
            return Ok(());
        };
        let mut held = HeldTunnel {
            client,
            server: &mut met.server,
            pump: &mut met.pump,
            counters: self.monitor.counters(),
            pipes: &self.inner.pipes,
        };
        let end = match judge.policy {
            Policy::Observe => return Ok(()),
            Policy::Require => judge.end(),
            Policy::Prefer => {
                let handshake = timeout_at(self.handshake_end(), held.end_of_handshake()).await;
                handshake.map_err(|_| Error::TimedOut(TimedOut::Handshake))??;
                drop(turn);
                // A tunnel that is silent for too long is left to the pump.
                let idle = self.inner.settings.idle;
                if let Ok(first) = timeout(idle, held.first_bytes(registration.confirmed())).await {
                    first?;
                }
                if !registration.status().opened {
                    return Ok(());
                }
                Instant::now() + judge.deadline
            }
        };
        // Whether it was confirmed is read from the registration afterwards.
        let _ = held
            .until(timeout_at(end, registration.confirmed()))
            .await?;
        Ok(())
    }
}

/// A tunnel whose client is held back.
struct HeldTunnel<'a, C, S> {
    client: &'a mut C,
    server: &'a mut S,
    pump: &'a mut Pump,
    counters: &'a Counters,
    pipes: &'a Pipes,
}

impl<C, S> HeldTunnel<'_, C, S>
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    /// Passes the end of the client's handshake: no byte of the application is among them.
    async fn end_of_handshake(&mut self) -> Result<(), Error> {
        let mut record = FinishedRecord::default();
        let (mut due, mut over) = (0, false);
        poll_fn(|cx| {
            self.poll_down(cx)?;
            let passed = self.poll_record(cx, &mut record, &mut due, &mut over);
            passed.map_err(|broken| broken_by(broken.end(Role::Client)))
        })
        .await
    }

    fn poll_record(
        &mut self,
        cx: &mut Context<'_>,
        record: &mut FinishedRecord,
        due: &mut usize,
        over: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        let counter = &self.counters.to_server;
        let up = &mut self.pump.up;
        loop {
            ready!(up.poll_release(cx, self.server, counter, due))?;
            if *over {
                return Poll::Ready(Ok(()));
            }
            ready!(up.poll_fill(cx, self.client))?;
            // The client has closed: there is nothing more to pass.
            *over = up.filled().is_empty();
            if !*over {
                (*due, *over) = record.part_of(up.filled());
            }
        }
    }

    /// Until the client has sent something that is held, at most one chunk of the pump, or has
    /// closed; or until `other` is ready.
    async fn first_bytes(&mut self, other: impl Future<Output = ()>) -> Result<(), Error> {
        let mut other = pin!(other);
        poll_fn(|cx| {
            self.poll_down(cx)?;
            if other.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let filled = self.pump.up.poll_fill(cx, self.client);
            filled.map_err(|broken| broken_by(broken.end(Role::Client)))
        })
        .await
    }

    async fn until<F: Future>(&mut self, other: F) -> Result<F::Output, Error> {
        let mut other = pin!(other);
        poll_fn(|cx| {
            self.poll_down(cx)?;
            other.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let counter = &self.counters.to_client;
        let down = &mut self.pump.down;
        match down.poll(cx, self.server, self.client, counter, self.pipes) {
            Poll::Ready(Err(broken)) => Err(broken_by(broken.end(Role::Server))),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

fn broken_by(end: PumpEnd) -> Error {
    let message = match end {
        PumpEnd::Broken { by: Role::Server } => "the server broke the connection",
        _ => "the client broke the connection",
    };
    io::Error::new(io::ErrorKind::ConnectionReset, message).into()
}
