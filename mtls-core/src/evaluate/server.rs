//! A server's evaluation of its side connections (`docs/protocol.md`, section 6.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Unverified};
use crate::proto::binding::Association;
use crate::registry::{Registration, SideStatus};
use crate::side::server::sessions::Remember;
use crate::stream::VerdictHandle;
use crate::verdict::inheritance::{Inheritance, Origin};
use crate::verdict::method::Method;
use crate::verdict::policy::Policy;
use crate::verdict::{Outcome, PathReport, PathRole, Reason, Times, TlsReport, Verdict, Verified};

/// The parts of a verdict besides the TLS connection and its registration.
pub(crate) struct ServerEvaluation {
    pub(crate) policy: Policy,
    /// The longest wait for a Confirm.
    pub(crate) deadline: Duration,
    pub(crate) started: Instant,
    pub(crate) peer: SocketAddr,
    pub(crate) association: Option<Association>,
    pub(crate) times: Times,
    /// The origin of the session that the connection resumed.
    pub(crate) inherits: Option<Arc<Origin>>,
}

impl ServerEvaluation {
    /// The verdict as of now, or what the policy refuses. An `unverifiable` handshake cannot be verified,
    /// whatever the side connections say.
    pub(crate) fn conclude(
        &self,
        registration: Option<Arc<dyn Registration>>,
        unverifiable: Option<Reason>,
        tls: TlsReport,
        remember: Option<Remember>,
    ) -> Result<VerdictHandle, Error> {
        let registration = registration.filter(|_| unverifiable.is_none());
        let reason = match (unverifiable, &registration) {
            (Some(reason), _) => reason,
            (None, None) => Reason::NotRegistered,
            (None, Some(_)) => Reason::NoSideConnection,
        };
        let verdict = self.evaluate(registration.as_deref(), reason, tls);
        self.apply_policy(&verdict)?;
        Ok(match registration {
            Some(registration) => VerdictHandle::live(verdict, registration, remember),
            None => VerdictHandle::fixed(verdict),
        })
    }

    /// The verdict as of now: what side connections have said, or else unverified for this reason.
    pub(super) fn evaluate(
        &self,
        registration: Option<&dyn Registration>,
        reason: Reason,
        tls: TlsReport,
    ) -> Verdict {
        let mut verdict = self.unverified(reason, tls);
        verdict.times.verdict = Some(self.started.elapsed());
        if let Some(origin) = &self.inherits {
            verdict.method = origin.method;
            let inheritance = Inheritance::of(Arc::clone(origin));
            verdict.outcome = Outcome::Verified(Verified::inherited(inheritance));
        }
        let status = registration.map(Registration::status);
        // A result of a side connection for this very handshake takes precedence over inheritance.
        let counts = |status: &SideStatus| {
            self.inherits.is_none() || status.disputed || !status.confirmations.is_empty()
        };
        if let Some(status) = status.filter(counts) {
            verdict.apply_status(&status);
        }
        tracing::debug!(
            verdict = verdict.outcome.as_str(),
            reason = verdict.outcome.reason()
        );
        verdict
    }

    /// The end of the wait for a Confirm.
    pub(crate) fn confirm_deadline(&self) -> Instant {
        self.started + self.deadline
    }

    pub(super) fn apply_policy(&self, verdict: &Verdict) -> Result<(), Error> {
        let refused = |reason| {
            Error::Unverified(Box::new(Unverified {
                side: None,
                reason,
                dial: None,
                evidence: None,
                verdict: verdict.clone(),
            }))
        };
        match (self.policy, &verdict.outcome) {
            // Under every policy (`docs/protocol.md`, section 8.2).
            (_, Outcome::Unverified(Reason::EarlyData)) => Err(refused(Reason::EarlyData)),
            (Policy::Observe, _) | (_, Outcome::Verified(_)) => Ok(()),
            (_, Outcome::Intercepted(_)) => Err(Error::Disputed(Box::new(verdict.clone()))),
            // A server pins nothing.
            (Policy::Require, Outcome::Unverified(reason) | Outcome::Pinned(reason)) => {
                Err(refused(*reason))
            }
            (Policy::Prefer, Outcome::Unverified(_) | Outcome::Pinned(_)) => Ok(()),
        }
    }

    pub(super) fn unverified(&self, reason: Reason, tls: TlsReport) -> Verdict {
        let primary = PathReport {
            peer: Some(self.peer),
            ..PathReport::unknown(PathRole::Primary)
        };
        Verdict {
            outcome: Outcome::Unverified(reason),
            method: Method::Side,
            association: self.association,
            paths: vec![primary],
            tls,
            times: self.times,
        }
    }
}

#[cfg(test)]
mod tests;
