//! One client's connection through a relay.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{MaybeDone, maybe_done};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::client::{ClientRelay, Inner};
use super::exchange::{HelloExchange, HelloOutcome};
use super::first::FirstBytes;
use super::monitor::{TunnelMonitor, TunnelReport};
use super::pump::{Pump, PumpContext};
use crate::error::{Error, TimedOut};
use crate::evaluate::client::{ClientEvaluation, Evaluated, PrimaryTls};
use crate::path::{Dial, Endpoint, Host};
use crate::proto::binding::{Association, SideSecret};
use crate::proto::client::TlsVersion;
use crate::side::client::known::KnownHost;
use crate::side::client::result::SideResult;
use crate::side::client::verification::{Primary, SideShared, Verification};
use crate::stream::VerdictHandle;
use crate::tls::client::ClientSecrets;
use crate::tls::first_hello::FirstHello;
use crate::verdict::method::Method;
use crate::verdict::policy::Policy;
use crate::verdict::{Reason, Times, Verdict};

/// A tunnel to a target, not yet open: [`run`](Self::run) it in a task.
#[must_use = "a tunnel does nothing until it is run"]
pub struct Tunnel<D: Dial> {
    relay: ClientRelay<D>,
    target: Endpoint,
    policy: Policy,
    primary: Option<Primary<D::Stream>>,
    received: Vec<u8>,
    exempt: bool,
    by_name: Option<Arc<PolicyByName>>,
    monitor: TunnelMonitor,
}

impl<D: Dial> ClientRelay<D> {
    /// A tunnel to `target`; nothing is dialled yet.
    pub fn tunnel(&self, target: Endpoint) -> Tunnel<D> {
        Tunnel::new(self.clone(), target)
    }
}

/// The policy for the server name of a ClientHello; see [`Tunnel::policy_by_name`].
pub type PolicyByName = dyn Fn(&str) -> Option<Policy> + Send + Sync;

impl<D: Dial> fmt::Debug for Tunnel<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("target", &self.target)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<D: Dial> Tunnel<D> {
    fn new(relay: ClientRelay<D>, target: Endpoint) -> Self {
        let policy = relay.inner.paths.settings.policy;
        Self {
            monitor: TunnelMonitor::new(target.clone(), policy),
            relay,
            target,
            policy,
            primary: None,
            received: Vec::new(),
            exempt: false,
            by_name: None,
        }
    }

    /// Sets the policy of this tunnel. Default: the relay's. Monitors from before are detached.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self.monitor = TunnelMonitor::new(self.target.clone(), policy);
        self
    }

    /// Sets a policy by the server name of the ClientHello; the stricter of this and the tunnel's
    /// policy applies. For a client that resolves names itself, so that the target is an address.
    /// The name is what the client wrote: under encrypted client hello the outer one, which may
    /// say little.
    pub fn policy_by_name(mut self, policy: Arc<PolicyByName>) -> Self {
        self.by_name = Some(policy);
        self
    }

    /// Relays plainly: nothing is read, held back or verified, and there will be no verdict. Here
    /// the server may speak first.
    pub fn exempt(mut self) -> Self {
        self.exempt = true;
        self.monitor.exempt();
        self
    }

    /// Sets bytes that were read from the client before, such as by a proxy whose client did not wait
    /// for the answer.
    pub fn received(mut self, bytes: Vec<u8>) -> Self {
        self.received = bytes;
        self
    }

    /// A view of the tunnel that outlives it.
    pub fn monitor(&self) -> TunnelMonitor {
        self.monitor.clone()
    }

    /// Dials the target now: for a proxy that tells its client of a failure before the tunnel
    /// begins. Without it [`run`](Self::run) dials while it waits for the ClientHello.
    ///
    /// # Errors
    /// [`Error::Dial`].
    pub async fn dial(&mut self) -> Result<(), Error> {
        if self.primary.is_none() {
            let dialed = self
                .relay
                .inner
                .paths
                .settings
                .primary
                .dial(&self.target)
                .await;
            let dialed = dialed.map_err(|error| {
                tracing::debug!(target = %self.target, %error, "target not reached");
                self.monitor.failed(Error::Dial(Box::new(error.clone())));
                Error::Dial(Box::new(error))
            });
            self.primary = Some(dialed?.into());
        }
        Ok(())
    }

    /// The target's address, once [`dial`](Self::dial) has connected to it. `None` on a path
    /// through a proxy, which resolves the name itself.
    pub fn target_address(&self) -> Option<SocketAddr> {
        let report = &self.primary.as_ref()?.report;
        match &report.via {
            Some(via) if via.proxy().is_some() => None,
            _ => report.peer,
        }
    }

    /// Applies a stricter policy; a policy that is not stricter changes nothing. For properties of the
    /// target that are known only after [`dial`](Self::dial).
    pub fn restrict_to(&mut self, policy: Policy) {
        if policy.is_stricter_than(self.policy) {
            self.policy = policy;
            self.monitor.set_policy(policy);
        }
    }

    /// Opens the tunnel and relays until it ends.
    ///
    /// A refused tunnel is closed; the verdict and the error of the report state the reason.
    #[tracing::instrument(name = "tunnel", level = "debug", skip_all, fields(target = %self.target))]
    pub async fn run<C>(self, mut client: C) -> TunnelReport
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Self {
            relay,
            target,
            policy,
            primary,
            received,
            exempt,
            by_name,
            monitor,
        } = self;
        let setup = TunnelSetup {
            inner: &relay.inner,
            target: &target,
            policy,
            by_name: by_name.as_deref(),
            monitor: &monitor,
        };
        // On the heap, and gone before the long part of a tunnel's life.
        let allowed = match exempt {
            true => Box::pin(setup.pass(primary, received)).await,
            false => Box::pin(setup.open(&mut client, primary, received)).await,
        };
        match allowed {
            Ok(AllowedTunnel { mut server, pump }) => {
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
                monitor.failed(error)
            }
        }
    }
}

/// Everything up to the moment when a tunnel is a plain relay.
struct TunnelSetup<'a, D: Dial> {
    inner: &'a Inner<D>,
    target: &'a Endpoint,
    /// The policy without the known host.
    policy: Policy,
    by_name: Option<&'a PolicyByName>,
    monitor: &'a TunnelMonitor,
}

/// A tunnel that the policy lets pass.
struct AllowedTunnel<S> {
    server: S,
    pump: Pump,
}

impl<D: Dial> TunnelSetup<'_, D> {
    /// Of an exempt tunnel.
    async fn pass(
        &self,
        primary: Option<Primary<D::Stream>>,
        received: Vec<u8>,
    ) -> Result<AllowedTunnel<D::Stream>, Error> {
        let primary = match primary {
            Some(primary) => primary,
            None => dial(&self.inner.paths.settings.primary, self.target).await?,
        };
        Ok(AllowedTunnel {
            server: primary.stream,
            pump: Pump::new(received, Vec::new()),
        })
    }

    async fn open<C>(
        &self,
        client: &mut C,
        primary: Option<Primary<D::Stream>>,
        received: Vec<u8>,
    ) -> Result<AllowedTunnel<D::Stream>, Error>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let started = Instant::now();
        let dial = maybe_done(async {
            match primary {
                Some(primary) => Ok(primary),
                None => dial(&self.inner.paths.settings.primary, self.target).await,
            }
        });
        let mut dial = pin!(dial);
        match self.first_bytes(client, received, dial.as_mut()).await? {
            FirstBytes::Hello(hello) => {
                let known = self.known(hello.tap.server_name()).await?;
                let verified = self.verify(client, *hello, dial, (started, &known)).await;
                let (tunnel, verdict) = verified?;
                if known.has_store() {
                    Box::pin(self.inner.paths.record(&known, &verdict)).await;
                }
                Ok(tunnel)
            }
            FirstBytes::Unverifiable(received, reason) => {
                let known = self.known(None).await?;
                dial.as_mut().await;
                let primary = take_output(dial)?;
                let times = Times {
                    connected: Some(started.elapsed()),
                    ..Times::default()
                };
                let evaluation = self.evaluation(&known, &primary, times, None);
                let evaluated = Evaluated::unverified(reason);
                self.apply_policy(&evaluation, evaluated, &PrimaryTls::default(), &[])?;
                Ok(AllowedTunnel {
                    server: primary.stream,
                    pump: Pump::new(received, Vec::new()),
                })
            }
        }
    }

    /// The client's first bytes, while the target is dialled. A dial that fails ends the wait.
    async fn first_bytes<C, F>(
        &self,
        client: &mut C,
        received: Vec<u8>,
        mut dial: Pin<&mut MaybeDone<F>>,
    ) -> Result<FirstBytes, Error>
    where
        C: AsyncRead + Unpin,
        F: Future<Output = Result<Primary<D::Stream>, Error>>,
    {
        let mut first = pin!(timeout(
            self.inner.paths.settings.handshake_timeout,
            FirstBytes::read(client, received)
        ));
        let first = poll_fn(|cx| {
            let dialed = dial.as_mut().poll(cx);
            let output = dial.as_mut().output_mut();
            match (dialed, output) {
                (Poll::Ready(()), Some(Err(_))) => Poll::Ready(None),
                _ => first.as_mut().poll(cx).map(Some),
            }
        })
        .await;
        match first {
            Some(first) => first.map_err(|_| Error::TimedOut(TimedOut::ClientHello))?,
            None => Err(take_output(dial).err().unwrap_or_else(missing_state)),
        }
    }

    /// The known host of the target, or that of the server name if it is stricter: a client that
    /// resolves names itself requests addresses. The policy by name applies too.
    async fn known(&self, name: Option<&str>) -> Result<KnownHost, Error> {
        let named = name.and_then(|name| self.by_name?(name));
        let stricter = named.filter(|named| named.is_stricter_than(self.policy));
        let policy = stricter.unwrap_or(self.policy);
        let paths = &self.inner.paths;
        let mut known = paths.known(self.target, policy, Method::Side).await?;
        let host = name.and_then(|name| name.parse::<Host>().ok());
        if let Some(host) = host.filter(|host| *host != self.target.host) {
            let named = Endpoint::new(host, self.target.port);
            let named = paths.known(&named, policy, Method::Side).await?;
            // Under Require both have the same policy, and the entry still names its side verifier.
            let is_known = named.greets() && !known.greets();
            if named.policy.is_stricter_than(known.policy) || is_known {
                known = named.reached_by(self.target);
            }
        }
        self.monitor.set_policy(known.policy);
        Ok(known)
    }

    async fn verify<C, F>(
        &self,
        client: &mut C,
        hello: FirstHello,
        mut dial: Pin<&mut MaybeDone<F>>,
        (started, known): (Instant, &KnownHost),
    ) -> Result<(AllowedTunnel<D::Stream>, Verdict), Error>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = Result<Primary<D::Stream>, Error>>,
    {
        let association = hello.tap.association().ok_or_else(missing_state)?;
        let server_name = hello.tap.server_name();
        self.monitor.verifying(Some(association), server_name);
        let inner = self.inner;
        let mut shared = SideShared::new(&inner.paths, inner.random, known.side_endpoint());
        if known.is_unsupported() {
            shared = shared.without_sides();
        }
        let mut verification = Verification::start(shared, known.policy, association, started)?;
        verification.during(dial.as_mut()).await?;
        let mut primary = take_output(dial)?;
        let counters = self.monitor.counters();
        let mut exchange = HelloExchange::new(client, &mut primary.stream, hello, counters);
        let hellos = verification.handshake(pin!(exchange.run())).await?;
        let unsent = exchange.into_unsent();
        let (tls, complete) = handshake_of(hellos);
        let complete = complete
            .as_ref()
            .map(|(version, secrets)| (*version, secrets));
        verification.conclude(complete).await?;
        let evaluation = self.evaluation(known, &primary, verification.times, Some(association));
        let sides = verification.results();
        let evaluated = match hellos {
            HelloOutcome::Unusable(error) => Evaluated::unverified(Reason::Hello(error)),
            _ if known.is_unsupported() => Evaluated::unverified(Reason::KnownUnsupported),
            HelloOutcome::Tls13(_) | HelloOutcome::Older => evaluation.evaluate(&sides),
        };
        let verdict = self.apply_policy(&evaluation, evaluated, &tls, &sides)?;
        let tunnel = AllowedTunnel {
            server: primary.stream,
            pump: Pump::new(unsent.to_server, unsent.to_client),
        };
        Ok((tunnel, verdict))
    }

    fn evaluation<'b>(
        &'b self,
        known: &'b KnownHost,
        primary: &Primary<D::Stream>,
        times: Times,
        association: Option<Association>,
    ) -> ClientEvaluation<'b> {
        let mut report = primary.report.clone();
        report.look_up_subflows();
        ClientEvaluation {
            known,
            require_independent: self.inner.paths.settings.require_independent,
            target: self.target,
            association,
            report,
            times,
            inherits: None,
        }
    }

    fn apply_policy(
        &self,
        evaluation: &ClientEvaluation<'_>,
        evaluated: Evaluated,
        tls: &PrimaryTls<'_>,
        sides: &[SideResult],
    ) -> Result<Verdict, Error> {
        let allowed = evaluation.apply_policy(evaluated, tls, sides)?;
        let verdict = VerdictHandle::fixed(allowed.verdict.clone());
        self.monitor.decided(verdict, allowed.evidence);
        Ok(allowed.verdict)
    }
}

/// A relay's view of a handshake, which is complete for it when the ServerHello has arrived
/// (`docs/protocol.md`, section 5.5).
fn handshake_of(
    hellos: HelloOutcome,
) -> (PrimaryTls<'static>, Option<(TlsVersion, ClientSecrets)>) {
    let mut tls = PrimaryTls::default();
    let complete = match hellos {
        HelloOutcome::Tls13(hash) => {
            tls.report.version = Some("TLSv1.3".to_owned());
            let secret = SideSecret::from_hello(&hash);
            Some((TlsVersion::Tls13, secret.into()))
        }
        HelloOutcome::Older => Some((TlsVersion::Older, ClientSecrets::default())),
        HelloOutcome::Unusable(_) => None,
    };
    (tls, complete)
}

async fn dial<D: Dial>(path: &D, target: &Endpoint) -> Result<Primary<D::Stream>, Error> {
    let dialed = path.dial(target).await;
    Ok(dialed.map_err(|error| Error::Dial(Box::new(error)))?.into())
}

fn take_output<T, F: Future<Output = Result<T, Error>>>(dial: Pin<&mut MaybeDone<F>>) -> F::Output {
    dial.take_output().unwrap_or_else(|| Err(missing_state()))
}

/// An unreachable state: a result that is taken twice, or a missing association.
fn missing_state() -> Error {
    std::io::Error::other("internal error: the state of the tunnel is missing").into()
}
