//! What a server makes of what its side connections said (`docs/protocol.md`, section 6.2).

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ProtocolVersion;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Unverified};
use crate::path::Independence;
use crate::proto::binding::Association;
use crate::registry::Registration;
use crate::stream::{MultipathStream, ServerStream, VerdictHandle};
use crate::tls::authentication::Authentication;
use crate::verdict::policy::Policy;
use crate::verdict::{Outcome, PathReport, PathRole, Reason, Times, TlsReport, Verdict};

/// Everything beside the TLS connection and its registration that a verdict is made of.
pub(crate) struct Judge {
    pub(crate) policy: Policy,
    pub(crate) deadline: Instant,
    pub(crate) started: Instant,
    pub(crate) peer: SocketAddr,
    pub(crate) association: Option<Association>,
    pub(crate) times: Times,
}

impl Judge {
    /// Hands the stream out as soon as the policy allows, or says why not.
    pub(crate) async fn judge<IO>(
        self,
        tls: TlsStream<IO>,
        authentication: Authentication,
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
        let report = TlsReport::of(connection, authentication.server_key());
        let unfit = (!tls13).then_some(Reason::NotTls13);
        let handle = self.conclude(registration, unfit, report)?;
        Ok(MultipathStream::new(tls, handle))
    }

    /// The verdict as of now, or what the policy refuses. An `unfit` handshake cannot be verified,
    /// whatever the side connections say.
    pub(crate) fn conclude(
        mut self,
        registration: Option<Arc<dyn Registration>>,
        unfit: Option<Reason>,
        tls: TlsReport,
    ) -> Result<VerdictHandle, Error> {
        self.times.verdict = Some(self.started.elapsed());
        let registration = registration.filter(|_| unfit.is_none());
        let reason = match (unfit, &registration) {
            (Some(reason), _) => reason,
            (None, None) => Reason::NotRegistered,
            (None, Some(_)) => Reason::NoSideConnection,
        };
        let mut verdict = self.verdict(Outcome::Unverified(reason), tls);
        if let Some(registration) = &registration {
            verdict.take_status(&registration.status());
        }
        tracing::debug!(
            verdict = verdict.outcome.as_str(),
            reason = verdict.outcome.reason()
        );
        self.allow(&verdict)?;
        Ok(match registration {
            Some(registration) => VerdictHandle::live(verdict, registration),
            None => VerdictHandle::fixed(verdict),
        })
    }

    /// Does the application wait for the Confirm?
    pub(crate) fn holds(&self, registration: &dyn Registration) -> bool {
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
            // Whatever the policy (`docs/protocol.md`, section 8.2).
            (_, Outcome::Unverified(Reason::EarlyData)) => Err(refused(Reason::EarlyData)),
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
            association: self.association,
            independence: Independence::Unknown,
            paths: vec![primary],
            tls,
            times: self.times,
        }
    }
}
