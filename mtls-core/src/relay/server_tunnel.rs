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

use super::exchange::{HelloExchange, HelloOutcome, send};
use super::finished::FinishedRecord;
use super::first::FirstBytes;
use super::monitor::{TunnelMonitor, TunnelReport};
use super::pump::{Broken, Counters, Pipes, Pump, PumpContext, PumpEnd};
use super::server::{ClientAddresses, Inner, ServerRelay};
use super::socket::{abort, as_tcp};
use crate::error::{Error, TimedOut};
use crate::evaluate::server::ServerEvaluation;
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
    first: FirstBytes,
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
    pub(super) fn new(
        relay: ServerRelay<D>,
        client: IO,
        peer: SocketAddr,
        first: FirstBytes,
    ) -> Self {
        let inner = &relay.inner;
        Self {
            monitor: TunnelMonitor::new(inner.target.clone(), inner.sides.settings.policy),
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
        self.relay.inner.sides.notify(&Event::Failed(&error));
        self.monitor.failed(error)
    }

    /// Dials the target and relays until the tunnel ends.
    ///
    /// A refused tunnel is closed; the verdict and the error of the report state the reason.
    pub async fn run(self) -> TunnelReport {
        self.run_with_permit(()).await
    }

    /// Runs the tunnel, and drops `permit` when the handshake is complete.
    #[tracing::instrument(name = "server_tunnel", level = "debug", skip_all, fields(peer = %self.peer))]
    pub(super) async fn run_with_permit<T>(self, permit: T) -> TunnelReport {
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
            sides.notify(&Event::Failed(&busy));
            return monitor.failed(busy);
        };
        let setup = ServerTunnelSetup {
            inner: &relay.inner,
            monitor: &monitor,
            peer,
            started: Instant::now(),
            local: as_tcp(&client).and_then(|tcp| tcp.local_addr().ok()),
        };
        // On the heap, and gone before the long part of a tunnel's life.
        let opened = Box::pin(setup.open(&mut client, first, permit)).await;
        match opened {
            Ok((mut server, pump)) => {
                sides.notify_passed(|| monitor.report().verdict);
                monitor.relaying();
                let context = PumpContext {
                    counters: monitor.counters(),
                    pipes: &relay.inner.pipes,
                    idle: relay.inner.idle,
                };
                let end = pump.run(&mut client, &mut server, context).await;
                monitor.pumped(end)
            }
            Err(error) => {
                tracing::debug!(%error, "tunnel refused");
                // Nothing is wrong with a client whose target cannot be reached.
                if !matches!(error, Error::Dial(_)) {
                    abort(&client);
                }
                sides.notify(&Event::Failed(&error));
                monitor.failed(error)
            }
        }
    }
}

/// Everything up to the moment when a tunnel is a plain relay.
struct ServerTunnelSetup<'a, D: Dial> {
    inner: &'a Inner<D>,
    monitor: &'a TunnelMonitor,
    peer: SocketAddr,
    /// The local address of the client's connection, if it is known.
    local: Option<SocketAddr>,
    started: Instant,
}

/// The state after the hellos.
struct AfterHellos<S> {
    server: S,
    pump: Pump,
    registration: Option<Arc<dyn Registration>>,
    /// The reason of a handshake that cannot be verified.
    unverifiable: Option<Reason>,
}

impl<D: Dial> ServerTunnelSetup<'_, D> {
    async fn open<C, T>(
        &self,
        client: &mut C,
        first: FirstBytes,
        permit: T,
    ) -> Result<(D::Stream, Pump), Error>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let hello = match first {
            FirstBytes::Hello(hello) => *hello,
            FirstBytes::Unverifiable(received, reason) => {
                return self.pass_unverifiable(received, reason).await;
            }
        };
        let after = timeout_at(self.handshake_end(), self.relay_hellos(client, hello)).await;
        let mut after = after.map_err(|_| Error::TimedOut(TimedOut::Handshake))??;
        let evaluation = self.evaluation(Times {
            tls: Some(self.started.elapsed()),
            ..Times::default()
        });
        let mut report = TlsReport::default();
        if after.unverifiable.is_none() {
            report.version = Some("TLSv1.3".to_owned());
            self.await_confirm(&evaluation, client, &mut after, permit)
                .await?;
        }
        let handle = evaluation.conclude(after.registration, after.unverifiable, report, None)?;
        self.monitor.decided(handle, None);
        Ok((after.server, after.pump))
    }

    /// Passes what cannot be verified, where the policy allows that.
    async fn pass_unverifiable(
        &self,
        received: Vec<u8>,
        reason: Reason,
    ) -> Result<(D::Stream, Pump), Error> {
        let evaluation = self.evaluation(Times::default());
        let handle = evaluation.conclude(None, Some(reason), TlsReport::default(), None)?;
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
        self.started + self.inner.sides.settings.handshake_timeout
    }

    fn evaluation(&self, times: Times) -> ServerEvaluation {
        let settings = &self.inner.sides.settings;
        ServerEvaluation {
            policy: settings.policy,
            deadline: settings.deadline,
            started: self.started,
            peer: self.peer,
            association: self.monitor.association(),
            times,
            inherits: None,
        }
    }

    /// Passes the hellos, and registers them before the ServerHello leaves.
    async fn relay_hellos<C>(
        &self,
        client: &mut C,
        hello: FirstHello,
    ) -> Result<AfterHellos<D::Stream>, Error>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let association = hello.tap.association();
        let server_name = hello.tap.server_name();
        self.monitor.verifying(association, server_name);
        let reservation = association.and_then(|association| self.inner.sides.reserve(association));
        let mut server = self.dial().await?;
        let counters = self.monitor.counters();
        let mut exchange = HelloExchange::new(client, &mut server, hello, counters);
        let hellos = exchange.run().await?;
        let mut unsent = exchange.into_unsent();
        let (keys, unverifiable) = match hellos {
            HelloOutcome::Tls13(hash) => {
                let secrets = SideSecrets::from_hello(&hash);
                (Some(HandshakeKeys::Tls13(secrets)), None)
            }
            HelloOutcome::Older => (Some(HandshakeKeys::Older), Some(Reason::NotTls13)),
            HelloOutcome::Unusable(error) => (None, Some(Reason::Hello(error))),
        };
        let mut registration = None;
        if let (Some(association), Some(keys)) = (association, keys) {
            let sides = &self.inner.sides;
            registration = sides.register(association, reservation, keys).await?;
            send(client, &unsent.to_client, &counters.to_client).await?;
            unsent.to_client = Vec::new();
            registration.iter().for_each(|entry| entry.flushed());
        }
        Ok(AfterHellos {
            server,
            pump: Pump::new(unsent.to_server, unsent.to_client),
            registration,
            unverifiable,
        })
    }

    /// Holds what the client sends after its last hello back as long as the policy says
    /// (`docs/protocol.md`, section 6.2), while the server's bytes pass. Under
    /// [`Policy::Prefer`] the end of the client's handshake passes too, and drops `permit`: a client
    /// may be silent for long after it.
    async fn await_confirm<C, T>(
        &self,
        evaluation: &ServerEvaluation,
        client: &mut C,
        after: &mut AfterHellos<D::Stream>,
        permit: T,
    ) -> Result<(), Error>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(registration) = &after.registration else {
            return Ok(());
        };
        let mut gated = GatedTunnel {
            client,
            server: &mut after.server,
            pump: &mut after.pump,
            counters: self.monitor.counters(),
            pipes: &self.inner.pipes,
        };
        let end = match evaluation.policy {
            Policy::Observe => return Ok(()),
            Policy::Require => evaluation.confirm_deadline(),
            Policy::Prefer => {
                let handshake = timeout_at(self.handshake_end(), gated.end_of_handshake()).await;
                handshake.map_err(|_| Error::TimedOut(TimedOut::Handshake))??;
                drop(permit);
                // A tunnel that is silent for too long is left to the pump.
                let idle = self.inner.idle;
                if let Ok(first) = timeout(idle, gated.first_bytes(registration.confirmed())).await
                {
                    first?;
                }
                if !registration.status().opened {
                    return Ok(());
                }
                Instant::now() + evaluation.deadline
            }
        };
        // Whether it was confirmed is read from the registration afterwards.
        let _ = gated
            .until(timeout_at(end, registration.confirmed()))
            .await?;
        Ok(())
    }
}

/// A tunnel whose client is held back.
struct GatedTunnel<'a, C, S> {
    client: &'a mut C,
    server: &'a mut S,
    pump: &'a mut Pump,
    counters: &'a Counters,
    pipes: &'a Pipes,
}

impl<C, S> GatedTunnel<'_, C, S>
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    /// Passes the end of the client's handshake: no byte of the application is among them.
    async fn end_of_handshake(&mut self) -> Result<(), Error> {
        let mut record = FinishedRecord::default();
        let (mut due, mut over) = (0, false);
        poll_fn(|cx| {
            self.poll_to_client(cx)?;
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
        let to_server = &mut self.pump.to_server;
        loop {
            ready!(to_server.poll_release(cx, self.server, counter, due))?;
            if *over {
                return Poll::Ready(Ok(()));
            }
            ready!(to_server.poll_fill(cx, self.client))?;
            // The client has closed: there is nothing more to pass.
            *over = to_server.filled().is_empty();
            if !*over {
                (*due, *over) = record.part_of(to_server.filled());
            }
        }
    }

    /// Until the client has sent something that is held, at most one chunk of the pump, or has
    /// closed; or until `other` is ready.
    async fn first_bytes(&mut self, other: impl Future<Output = ()>) -> Result<(), Error> {
        let mut other = pin!(other);
        poll_fn(|cx| {
            self.poll_to_client(cx)?;
            if other.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let filled = self.pump.to_server.poll_fill(cx, self.client);
            filled.map_err(|broken| broken_by(broken.end(Role::Client)))
        })
        .await
    }

    async fn until<F: Future>(&mut self, other: F) -> Result<F::Output, Error> {
        let mut other = pin!(other);
        poll_fn(|cx| {
            self.poll_to_client(cx)?;
            other.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let counter = &self.counters.to_client;
        let to_client = &mut self.pump.to_client;
        match to_client.poll(cx, self.server, self.client, counter, self.pipes) {
            Poll::Ready(Err(broken)) => Err(broken_by(broken.end(Role::Server))),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

fn broken_by(end: PumpEnd) -> Error {
    let message = match end {
        PumpEnd::Broken { by: Role::Server } => "the connection to the server failed",
        _ => "the connection to the client failed",
    };
    io::Error::new(io::ErrorKind::ConnectionReset, message).into()
}
