//! Drives the verifications of one connection, one for each side path.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::SecureRandom;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::{SideEvent, SideLink};
use super::pool::Pool;
use crate::error::Error;
use crate::path::{Dial, DialError, Endpoint};
use crate::proto::binding::{Association, Bindings, Nonce, SideSecrets};
use crate::proto::client::{ClientOutcome, ClientVerifier, SideFailure, TlsVersion};
use crate::tls::io;

/// The side paths of one connection.
pub(crate) struct Sides<'a, D> {
    shared: SideShared<'a, D>,
    pub(crate) paths: Vec<SidePath>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What the side paths of one connection have in common.
#[derive(Clone, Copy)]
pub(crate) struct SideShared<'a, D> {
    pub(crate) pool: &'a Pool,
    pub(crate) random: &'static dyn SecureRandom,
    pub(crate) dials: &'a [D],
    pub(crate) endpoint: &'a Endpoint,
}

impl<D> SideShared<'_, D> {
    fn nonce(&self) -> Result<Nonce, Error> {
        io::nonce(self.random)
    }
}

/// One side path: its machine, and its end of a side connection.
pub(crate) struct SidePath {
    pub(crate) verifier: ClientVerifier,
    pub(crate) link: Option<SideLink>,
    pub(crate) dial_error: Option<Arc<DialError>>,
}

impl<'a, D: Dial> Sides<'a, D> {
    /// Asks over every side path at once.
    pub(crate) fn start(
        shared: SideShared<'a, D>,
        association: Association,
        offered: Bindings,
    ) -> Result<Self, Error> {
        let mut paths = Vec::with_capacity(shared.dials.len());
        for (index, dial) in shared.dials.iter().enumerate() {
            let mut path = SidePath {
                verifier: ClientVerifier::new(association, offered),
                link: shared.pool.link(index, dial, shared.endpoint, association),
                dial_error: None,
            };
            path.verifier.handle_link(shared.nonce()?);
            path.transmit();
            paths.push(path);
        }
        Ok(Self {
            shared,
            paths,
            timer: None,
        })
    }

    /// The ClientHello has left: from now on the deadline counts.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        for path in &mut self.paths {
            path.verifier.set_deadline(deadline.into_std());
        }
        self.timer = Some(Box::pin(sleep_until(deadline)));
    }

    /// Attends to the side paths while `other` is under way. It is borrowed, because a future that
    /// is handed on is copied, and has its place twice in the one that it is handed to.
    pub(crate) async fn attend_during<F: Future>(
        &mut self,
        mut other: Pin<&mut F>,
    ) -> Result<F::Output, Error> {
        poll_fn(|cx| {
            if let Poll::Ready(output) = other.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            match self.poll_turn(cx) {
                // Whoever is done need not wait for TLS: that is what `other` does.
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Lets the tasks of the side connections run. The Proof may be here already, behind the
    /// server's flight: to look before TLS is said to be complete saves a Done, and costs no time on
    /// the network. It takes two turns where this is the root of its runtime, which goes first.
    pub(crate) async fn look(&mut self) -> Result<(), Error> {
        for _ in 0..2 {
            if self.paths.iter().any(|path| path.verifier.is_asking()) {
                self.attend_during(pin!(yield_now())).await?;
            }
        }
        Ok(())
    }

    /// TLS is complete: waits until every side path has verified or failed, or one has shown an
    /// interception.
    pub(crate) async fn settle(
        &mut self,
        version: TlsVersion,
        secrets: &SideSecrets,
    ) -> Result<(), Error> {
        for path in &mut self.paths {
            path.verifier
                .handle_tls_complete(version, self.shared.nonce()?);
            path.transmit();
        }
        poll_fn(|cx| {
            let turned = self.poll_turn(cx);
            for path in &mut self.paths {
                path.check(secrets);
            }
            match turned {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ if self.settled() => Poll::Ready(Ok(())),
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
        match self.settled() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn settled(&self) -> bool {
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
                let dial = &shared.dials[index];
                let association = self.verifier.association();
                self.link = shared.pool.fresh(index, dial, shared.endpoint, association);
                self.verifier.handle_link(shared.nonce()?);
            }
            self.transmit();
        }
        Ok(())
    }

    fn check(&mut self, secrets: &SideSecrets) {
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
