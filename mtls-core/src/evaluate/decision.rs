//! The time of a server's decision (`docs/protocol.md`, section 6.2).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::ProtocolVersion;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_rustls::server::TlsStream;

use super::server::ServerEvaluation;
use crate::error::Error;
use crate::observer::Event;
use crate::registry::Registration;
use crate::side::server::service::SideService;
use crate::side::server::sessions::Remember;
use crate::stream::{Decision, MultipathStream, ServerStream, VerdictHandle};
use crate::tls::authentication::Authentication;
use crate::verdict::policy::Policy;
use crate::verdict::{Reason, TlsReport};

/// A connection whose handshake is complete.
pub(crate) struct Handshaken<S> {
    pub(crate) tls: S,
    pub(crate) tls13: bool,
    pub(crate) report: TlsReport,
}

impl ServerEvaluation {
    /// Hands the stream out as soon as the policy allows, or returns the refusal. Under
    /// [`Policy::Prefer`] its verdict may be left open until the client's first bytes arrive.
    pub(crate) async fn into_stream<IO>(
        self,
        tls: TlsStream<IO>,
        authentication: Authentication,
        registration: Option<Arc<dyn Registration>>,
        sides: &Arc<SideService>,
        remember: Option<Remember>,
    ) -> Result<ServerStream<IO>, Error> {
        let (_, connection) = tls.get_ref();
        let tls13 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let report = TlsReport::of(connection, authentication.server_key());
        let complete = Handshaken { tls, tls13, report };
        self.hand_out(complete, registration, sides, remember).await
    }

    /// Hands any kind of connection out.
    pub(crate) async fn hand_out<S>(
        self,
        complete: Handshaken<S>,
        registration: Option<Arc<dyn Registration>>,
        sides: &Arc<SideService>,
        remember: Option<Remember>,
    ) -> Result<MultipathStream<S>, Error> {
        let Handshaken { tls, tls13, report } = complete;
        let unverifiable = (!tls13).then_some(Reason::NotTls13);
        // A connection that inherits its verification waits for nothing.
        let waits = tls13 && self.inherits.is_none();
        match registration.clone().filter(|_| waits) {
            Some(registration) if self.policy == Policy::Require => {
                // Whether it was confirmed is read from the registration afterwards.
                let _ = timeout_at(self.confirm_deadline(), registration.confirmed()).await;
            }
            Some(registration)
                if self.policy == Policy::Prefer
                    && registration.status().confirmations.is_empty() =>
            {
                let decision =
                    Undecided::new(self, registration, report, Arc::clone(sides), remember);
                let verdict = decision.handle();
                return Ok(MultipathStream::undecided(tls, verdict, Box::new(decision)));
            }
            _ => {}
        }
        let handle = self.conclude(registration, unverifiable, report, remember)?;
        sides.notify_passed(|| Some(handle.get()));
        Ok(MultipathStream::new(tls, handle))
    }
}

/// A connection under [`Policy::Prefer`] whose verdict waits for the client's first application bytes.
/// Decides once, and reports the verdict to the observer then.
struct Undecided {
    evaluation: ServerEvaluation,
    registration: Arc<dyn Registration>,
    tls: TlsReport,
    handle: VerdictHandle,
    sides: Arc<SideService>,
    /// In a mutex that is never locked, so that streams can be shared.
    confirmed: Mutex<BoxFuture<'static, ()>>,
    /// The timer, once it is set.
    deadline: Option<Pin<Box<Sleep>>>,
    decided: bool,
}

impl Undecided {
    fn new(
        evaluation: ServerEvaluation,
        registration: Arc<dyn Registration>,
        tls: TlsReport,
        sides: Arc<SideService>,
        remember: Option<Remember>,
    ) -> Self {
        let verdict = evaluation.unverified(Reason::Undecided, tls.clone());
        let awaited = Arc::clone(&registration);
        Self {
            confirmed: Mutex::new(async move { awaited.confirmed().await }.boxed()),
            handle: VerdictHandle::live(verdict, Arc::clone(&registration), remember),
            evaluation,
            registration,
            tls,
            sides,
            deadline: None,
            decided: false,
        }
    }

    fn handle(&self) -> VerdictHandle {
        self.handle.clone()
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, from: Instant) -> Poll<()> {
        let end = from + self.evaluation.deadline;
        let deadline = &mut self.deadline;
        deadline
            .get_or_insert_with(|| Box::pin(sleep_until(end)))
            .as_mut()
            .poll(cx)
    }
}

impl Decision for Undecided {
    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let confirmed = self.confirmed.get_mut();
        let confirmed = confirmed.unwrap_or_else(PoisonError::into_inner);
        confirmed.poll_unpin(cx)
    }

    fn poll_unconfirmed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline.is_none() && !self.registration.status().opened {
            return Poll::Ready(());
        }
        self.poll_deadline(cx, Instant::now())
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_deadline(cx, self.evaluation.started)
    }

    fn decide(&mut self) -> Result<(), Error> {
        self.decided = true;
        let registration = Some(&*self.registration);
        let reason = Reason::NoSideConnection;
        let verdict = self
            .evaluation
            .evaluate(registration, reason, self.tls.clone());
        self.handle.decide(verdict.clone());
        let allowed = self.evaluation.apply_policy(&verdict);
        match &allowed {
            Ok(()) => self.sides.notify_passed(|| Some(verdict)),
            Err(error) => self.sides.notify(&Event::Failed(error)),
        }
        allowed
    }

    fn abandon(&mut self) {
        self.decided = true;
        self.sides.notify_passed(|| Some(self.handle.get()));
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        if !self.decided {
            // There is no connection left to refuse.
            let _ = self.decide();
        }
    }
}

impl fmt::Debug for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undecided")
            .field("decided", &self.decided)
            .finish_non_exhaustive()
    }
}
