//! What a server makes of what its side connections said (`docs/protocol.md`, section 6.2).

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ProtocolVersion;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Unverified};
use crate::path::Independence;
use crate::policy::Policy;
use crate::registry::Registration;
use crate::stream::{MultipathStream, ServerStream, VerdictHandle};
use crate::verdict::{Outcome, PathReport, PathRole, Reason, Times, TlsReport, Verdict};

/// Everything beside the TLS connection and its registration that a verdict is made of.
pub(super) struct Judge {
    pub(super) policy: Policy,
    pub(super) deadline: Instant,
    pub(super) started: Instant,
    pub(super) peer: SocketAddr,
    pub(super) times: Times,
}

impl Judge {
    /// Hands the stream out as soon as the policy allows, or says why not.
    pub(super) async fn judge<IO>(
        mut self,
        tls: TlsStream<IO>,
        registration: Option<Arc<dyn Registration>>,
    ) -> Result<ServerStream<IO>, Error> {
        let (_, connection) = tls.get_ref();
        let tls13 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if let (Some(registration), true) = (&registration, tls13)
            && self.holds(&**registration)
        {
            // Whether it was confirmed is read from the registration afterwards.
            let _ = timeout_at(self.deadline, registration.confirmed()).await;
        }
        self.times.verdict = Some(self.started.elapsed());
        let reason = match (&registration, tls13) {
            (_, false) => Reason::NotTls13,
            (None, true) => Reason::NotRegistered,
            (Some(_), true) => Reason::NoSideConnection,
        };
        let report = TlsReport::of(connection);
        let mut verdict = self.verdict(Outcome::Unverified(reason), report);
        if let (Some(registration), true) = (&registration, tls13) {
            verdict.take_status(&registration.status());
        }
        tracing::debug!(
            verdict = verdict.outcome.as_str(),
            reason = verdict.outcome.reason()
        );
        self.allow(&verdict)?;
        let handle = match registration {
            Some(registration) if tls13 => VerdictHandle::live(verdict, registration),
            _ => VerdictHandle::fixed(verdict),
        };
        Ok(MultipathStream::new(tls, handle))
    }

    /// Does the application wait for the Confirm?
    fn holds(&self, registration: &dyn Registration) -> bool {
        match self.policy {
            Policy::Require => true,
            Policy::Prefer => registration.status().opened,
            Policy::Observe => false,
        }
    }

    fn allow(&self, verdict: &Verdict) -> Result<(), Error> {
        let refused = |reason| {
            Error::Unverified(Box::new(Unverified {
                side: None,
                reason,
                dial: None,
                verdict: verdict.clone(),
            }))
        };
        match (self.policy, &verdict.outcome) {
            (Policy::Observe, _) | (_, Outcome::Verified(_)) => Ok(()),
            (_, Outcome::Intercepted(_)) => Err(Error::Disputed(Box::new(verdict.clone()))),
            (Policy::Require, Outcome::Unverified(reason)) => Err(refused(*reason)),
            (Policy::Prefer, Outcome::Unverified(_)) => Ok(()),
        }
    }

    fn verdict(&self, outcome: Outcome, tls: TlsReport) -> Verdict {
        let primary = PathReport {
            peer: Some(self.peer),
            ..PathReport::unknown(PathRole::Primary)
        };
        Verdict {
            outcome,
            independence: Independence::Unknown,
            paths: vec![primary],
            tls,
            times: self.times,
        }
    }
}
