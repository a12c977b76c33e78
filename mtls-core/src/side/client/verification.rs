//! Drives the verifications of one connection, one for each side path.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::SecureRandom;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connection::{SideConnection, SideEvent, SideLink};
use super::result::{SideOutcome, SideResult};
use super::settings::ClientPaths;
use crate::error::Error;
use crate::path::{Dial, DialError, Dialed, Endpoint};
use crate::proto::binding::{Association, Nonce};
use crate::proto::client::{ClientOutcome, ClientVerifier, SideFailure, TlsVersion};
use crate::tls::client::ClientSecrets;
use crate::tls::io;
use crate::verdict::policy::Policy;
use crate::verdict::{PathReport, PathRole, Reason, Times};

/// The verification of one connection over all side paths, and when its steps were complete.
///
/// In this order: [`start`](Self::start) it when the ClientHello is built,
/// [`during`](Self::during) the dial of the primary path, its [`handshake`](Self::handshake), and
/// [`conclude`](Self::conclude).
pub(crate) struct Verification<'a, D> {
    shared: SideShared<'a, D>,
    policy: Policy,
    started: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    pub(crate) paths: Vec<SidePath>,
    pub(crate) times: Times,
}

/// A primary connection, and what is known of its path.
pub(crate) struct Primary<IO> {
    pub(crate) stream: IO,
    pub(crate) report: PathReport,
}

impl<IO> From<Dialed<IO>> for Primary<IO> {
    fn from(dialed: Dialed<IO>) -> Self {
        Self {
            report: PathReport::dialed(PathRole::Primary, &dialed),
            stream: dialed.stream,
        }
    }
}

/// The parts that all side paths of one connection share.
pub(crate) struct SideShared<'a, D> {
    paths: &'a ClientPaths<D>,
    random: &'static dyn SecureRandom,
    sides: &'a [D],
    endpoint: &'a Endpoint,
    /// The side connection of one of them, inside the primary connection.
    inside: Option<(usize, SideConnection)>,
}

impl<'a, D> SideShared<'a, D> {
    /// The side paths of a client, toward the side verifier at `endpoint`.
    pub(crate) fn new(
        paths: &'a ClientPaths<D>,
        random: &'static dyn SecureRandom,
        endpoint: &'a Endpoint,
    ) -> Self {
        Self {
            paths,
            random,
            sides: &paths.settings.sides,
            endpoint,
            inside: None,
        }
    }

    /// Uses this side connection for the side path with this index.
    #[cfg(feature = "mptcp")]
    pub(crate) fn with_inside(self, index: usize, connection: SideConnection) -> Self {
        Self {
            inside: Some((index, connection)),
            ..self
        }
    }

    /// For a connection that is not verified by the side protocol.
    pub(crate) fn without_sides(self) -> Self {
        Self { sides: &[], ..self }
    }

    fn nonce(&self) -> Result<Nonce, Error> {
        io::nonce(self.random)
    }
}

impl<D: Dial> SideShared<'_, D> {
    /// Sends an Open over every side path.
    fn open(&self, association: Association) -> Result<Vec<SidePath>, Error> {
        let pool = &self.paths.pool;
        let mut paths = Vec::with_capacity(self.sides.len());
        for (index, dial) in self.sides.iter().enumerate() {
            let link = match &self.inside {
                Some((inside, connection)) if *inside == index => connection.attach(association),
                _ => pool.link(index, dial, self.endpoint, association),
            };
            paths.push(self.open_over(link, association)?);
        }
        Ok(paths)
    }

    fn open_over(
        &self,
        link: Option<SideLink>,
        association: Association,
    ) -> Result<SidePath, Error> {
        let mut path = SidePath {
            verifier: ClientVerifier::new(association, self.paths.settings.bindings),
            link,
            dial_error: None,
        };
        path.verifier.handle_link(self.nonce()?);
        path.transmit();
        Ok(path)
    }
}

/// One side path: its machine, and its end of a side connection.
pub(crate) struct SidePath {
    pub(crate) verifier: ClientVerifier,
    pub(crate) link: Option<SideLink>,
    pub(crate) dial_error: Option<Arc<DialError>>,
}

impl<'a, D: Dial> Verification<'a, D> {
    /// Sends an Open over every side path at once. Times count from `started`.
    pub(crate) fn start(
        shared: SideShared<'a, D>,
        policy: Policy,
        association: Association,
        started: Instant,
    ) -> Result<Self, Error> {
        Ok(Self {
            paths: shared.open(association)?,
            shared,
            policy,
            started,
            timer: None,
            times: Times::default(),
        })
    }

    /// Sends the Opens of a connection that was to inherit its verification, after a full handshake.
    /// The deadline counts from here: it must leave an attacker who delays the handshake no way to
    /// cut the dials of the side paths short.
    pub(crate) fn start_late(
        &mut self,
        shared: SideShared<'a, D>,
        association: Association,
    ) -> Result<(), Error> {
        self.paths = shared.open(association)?;
        self.set_deadline(Instant::now() + shared.paths.settings.deadline);
        self.shared = shared;
        Ok(())
    }

    /// Runs the handshake on the primary path, which is connected, within its time limit. The
    /// deadline of the side paths counts from here, where the ClientHello leaves.
    ///
    /// # Errors
    /// That of the handshake, or [`Error::TimedOut`].
    pub(crate) async fn handshake<T, F>(&mut self, handshake: Pin<&mut F>) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.times.connected = Some(self.started.elapsed());
        let paths = self.shared.paths;
        self.set_deadline(Instant::now() + paths.settings.deadline);
        let timed = pin!(timeout(paths.handshake_limit(self.policy), handshake));
        let timed = self.during(timed).await?;
        let complete = timed.map_err(|_| paths.handshake_timed_out(self.policy))??;
        self.times.tls = Some(self.started.elapsed());
        Ok(complete)
    }

    /// Waits until every side path has verified or failed, or one has shown an interception. There
    /// is nothing to wait for where the handshake could not be read: `complete` is `None`.
    pub(crate) async fn conclude(
        &mut self,
        complete: Option<(TlsVersion, &ClientSecrets)>,
    ) -> Result<(), Error> {
        if let Some((version, secrets)) = complete {
            self.poll_pending().await?;
            self.wait_until_resolved(version, secrets).await?;
        }
        self.times.verdict = Some(self.started.elapsed());
        Ok(())
    }

    /// The result of each side path.
    pub(crate) fn results(&self) -> Vec<SideResult> {
        self.paths.iter().map(SideResult::from).collect()
    }

    fn set_deadline(&mut self, deadline: Instant) {
        for path in &mut self.paths {
            path.verifier.set_deadline(deadline.into_std());
        }
        self.timer = Some(Box::pin(sleep_until(deadline)));
    }

    /// Drives the side paths while `other` is under way. It is borrowed, since a future that is
    /// passed by value takes its size twice in the one that it is passed to.
    pub(crate) async fn during<F: Future>(
        &mut self,
        mut other: Pin<&mut F>,
    ) -> Result<F::Output, Error> {
        poll_fn(|cx| {
            if let Poll::Ready(output) = other.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            match self.poll_turn(cx) {
                // Resolved side paths do not end the wait for `other`.
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Lets the tasks of the side connections run. The Proof may be here already, behind the
    /// server's flight: to look before TLS is said to be complete saves a Done, and costs no time on
    /// the network. It takes two turns where this is the root of its runtime, which goes first.
    async fn poll_pending(&mut self) -> Result<(), Error> {
        for _ in 0..2 {
            if self.paths.iter().any(|path| path.verifier.awaits_proof()) {
                self.during(pin!(yield_now())).await?;
            }
        }
        Ok(())
    }

    /// Verifies over the side path with this index again, on a connection of its own, within the same
    /// deadline.
    #[cfg(feature = "mptcp")]
    pub(crate) async fn repeat(
        &mut self,
        index: usize,
        (version, secrets): (TlsVersion, &ClientSecrets),
        deadline: Instant,
    ) -> Result<(), Error> {
        let association = self.paths[index].verifier.association();
        let (dial, to) = (&self.shared.sides[index], self.shared.endpoint);
        let link = self.shared.paths.pool.fresh(index, dial, to, association);
        let mut path = self.shared.open_over(link, association)?;
        path.verifier.set_deadline(deadline.into_std());
        path.verifier
            .handle_tls_complete(version, self.shared.nonce()?);
        path.transmit();
        self.paths[index] = path;
        self.timer = Some(Box::pin(sleep_until(deadline)));
        self.poll_resolved(secrets).await?;
        self.times.verdict = Some(self.started.elapsed());
        Ok(())
    }

    async fn wait_until_resolved(
        &mut self,
        version: TlsVersion,
        secrets: &ClientSecrets,
    ) -> Result<(), Error> {
        for path in &mut self.paths {
            path.verifier
                .handle_tls_complete(version, self.shared.nonce()?);
            path.transmit();
        }
        self.poll_resolved(secrets).await
    }

    async fn poll_resolved(&mut self, secrets: &ClientSecrets) -> Result<(), Error> {
        poll_fn(|cx| {
            let turned = self.poll_turn(cx);
            for path in &mut self.paths {
                path.check(secrets);
            }
            match turned {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ if self.resolved() => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Takes what has come. Ready when nothing more can come.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let expired = match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx).is_ready(),
            None => false,
        };
        if expired {
            self.timer = None;
        }
        for (index, path) in self.paths.iter_mut().enumerate() {
            path.poll_events(index, &self.shared, cx)?;
            if expired {
                path.expire();
            }
        }
        match self.resolved() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn resolved(&self) -> bool {
        let outcome = |path: &SidePath| path.verifier.outcome();
        let intercepted = |path: &SidePath| {
            matches!(
                outcome(path),
                ClientOutcome::Failed(SideFailure::Interception(_))
            )
        };
        self.paths.iter().any(intercepted)
            || self
                .paths
                .iter()
                .all(|path| outcome(path) != ClientOutcome::Pending)
    }
}

impl From<&SidePath> for SideResult {
    fn from(side: &SidePath) -> Self {
        let link = side.link.as_ref();
        let known = link.and_then(|link| link.report());
        let mut report = match known {
            Some(report) => report.clone(),
            None => {
                let mut report = PathReport::unknown(PathRole::Side);
                report.via = side.dial_error.as_ref().map(|error| error.via.clone());
                report
            }
        };
        report.reused = link.is_some_and(|link| link.reused);
        report.look_up_subflows();
        Self {
            outcome: match side.verifier.outcome() {
                ClientOutcome::Verified(proof) => SideOutcome::Proven(proof),
                ClientOutcome::Failed(failure) => SideOutcome::Failed(Reason::Side(failure)),
                ClientOutcome::Pending => SideOutcome::Pending,
            },
            report,
            dial_error: side.dial_error.clone(),
            chain: Vec::new(),
            signature: None,
        }
    }
}

/// Polls a future once, so that it begins; it is polled again when it is awaited.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

impl SidePath {
    /// Takes the events that are there, and finds another connection where one has died.
    fn poll_events<D: Dial>(
        &mut self,
        index: usize,
        shared: &SideShared<'_, D>,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        while self.verifier.outcome() == ClientOutcome::Pending {
            let Some(link) = &mut self.link else {
                self.verifier.handle_unreachable();
                return Ok(());
            };
            let Poll::Ready(event) = link.poll_event(cx) else {
                return Ok(());
            };
            self.verifier.handle_peer(link.peer());
            let reused = link.reused;
            match event {
                SideEvent::Frame(frame) => {
                    self.verifier.handle_frame(&frame, shared.nonce()?);
                }
                SideEvent::Garbage => self.verifier.handle_garbage(),
                SideEvent::Ended => self.verifier.handle_disconnected(reused),
                SideEvent::DialFailed(error) => {
                    self.dial_error = Some(error);
                    self.verifier.handle_unreachable();
                }
            }
            if self.verifier.wants_connection() {
                let dial = &shared.sides[index];
                let association = self.verifier.association();
                self.link = shared
                    .paths
                    .pool
                    .fresh(index, dial, shared.endpoint, association);
                self.verifier.handle_link(shared.nonce()?);
            }
            self.transmit();
        }
        Ok(())
    }

    fn check(&mut self, secrets: &ClientSecrets) {
        if let Some(check) = self.verifier.poll_check() {
            match secrets.values(check.binding, &check.context) {
                Some(values) => self.verifier.handle_values(&values),
                None => self.verifier.handle_no_values(),
            }
            self.transmit();
        }
    }

    fn expire(&mut self) {
        if let Some(link) = &self.link {
            self.verifier.handle_peer(link.peer());
        }
        if let Some(deadline) = self.verifier.poll_timeout() {
            self.verifier.handle_timeout(deadline);
        }
    }

    fn transmit(&mut self) {
        while let Some(frame) = self.verifier.poll_transmit() {
            // A connection that takes nothing more says so by its end.
            let _ = self.link.as_ref().is_some_and(|link| link.send(frame));
        }
    }
}
