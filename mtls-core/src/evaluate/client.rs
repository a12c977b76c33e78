//! A client's evaluation of its side paths (`docs/protocol.md`, section 6).

use std::fmt::Display;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::error::{Error, KnownHostViolation, Unverified, Violation};
use crate::known_hosts::HostEntry;
use crate::path::Independence;
use crate::proto::binding::Association;
use crate::proto::client::SideFailure;
use crate::side::client::known::KnownHost;
use crate::side::client::result::{SideOutcome, SideResult};
use crate::stream::{ClientStream, MultipathStream, VerdictHandle};
use crate::tls::authentication::Authentication;
use crate::tls::client::Complete;
use crate::tls::tickets::Quarantine;
use crate::verdict::evidence::{Evidence, EvidenceReason, Presented, ServerSignature};
use crate::verdict::inheritance::{Inheritance, Origin};
use crate::verdict::method::Method;
use crate::verdict::policy::Policy;
use crate::verdict::resumption::ResumptionFailure;
use crate::verdict::{Outcome, PathReport, Reason, Times, TlsReport, Verdict, Verified};

/// The parts of a verdict besides the TLS connection and the side paths.
pub(crate) struct ClientEvaluation<'a> {
    /// With the policy.
    pub(crate) known: &'a KnownHost,
    pub(crate) require_independent: bool,
    pub(crate) target: &'a (dyn Display + Sync),
    pub(crate) association: Option<Association>,
    pub(crate) report: PathReport,
    pub(crate) times: Times,
    /// The origin of the session that the connection resumed.
    pub(crate) inherits: Option<Arc<Origin>>,
}

/// The outcome, and the side path that caused it.
pub(crate) struct Evaluated {
    pub(crate) outcome: Outcome,
    pub(crate) side: Option<usize>,
}

/// The handshake on the primary path.
#[derive(Default)]
pub(crate) struct PrimaryTls<'a> {
    pub(crate) report: TlsReport,
    /// The certificates that were presented; a relay without keys sees none.
    pub(crate) chain: &'a [CertificateDer<'static>],
    pub(crate) signature: Option<&'a ServerSignature>,
}

/// A connection that the policy accepts.
pub(crate) struct Allowed {
    pub(crate) verdict: Verdict,
    /// Of an interception or a suspicion that [`Policy::Observe`] accepts.
    pub(crate) evidence: Option<Box<Evidence>>,
}

impl ClientEvaluation<'_> {
    /// Returns the stream, or the refusal. Tickets are released only with a verified stream.
    pub(crate) fn into_stream<IO>(
        mut self,
        complete: Complete<IO>,
        authentication: Authentication,
        sides: &[SideResult],
    ) -> Result<ClientStream<IO>, Error> {
        self.report.look_up_subflows();
        let (_, connection) = complete.tls.get_ref();
        let primary = PrimaryTls {
            report: TlsReport::of(connection, authentication.server_key()),
            chain: connection.peer_certificates().unwrap_or_default(),
            signature: complete.signature.as_ref(),
        };
        let allowed = self.allow(&primary, complete.quarantine.as_deref(), sides)?;
        Ok(allowed.into_stream(complete.tls))
    }

    /// Applies the policy to the results of the side paths. Tickets are released only from the
    /// `quarantine` of a verified connection.
    pub(crate) fn allow(
        self,
        primary: &PrimaryTls<'_>,
        quarantine: Option<&Quarantine>,
        sides: &[SideResult],
    ) -> Result<Allowed, Error> {
        let evaluated = match self.known.is_unsupported() && self.inherits.is_none() {
            true => Evaluated::unverified(Reason::KnownUnsupported),
            false => self.evaluate(sides),
        };
        let allowed = self.apply_policy(evaluated, primary, sides)?;
        if let (Some(verified), Some(quarantine)) = (allowed.verdict.verified(), quarantine) {
            release(quarantine, verified, &allowed.verdict.paths);
        }
        Ok(allowed)
    }

    /// Applies the policy. Also used by relays.
    pub(crate) fn apply_policy(
        &self,
        evaluated: Evaluated,
        primary: &PrimaryTls<'_>,
        sides: &[SideResult],
    ) -> Result<Allowed, Error> {
        let Evaluated { outcome, side } = self.with_pin(evaluated, primary, sides);
        let verdict = self.verdict(outcome, primary.report.clone(), sides);
        let side_result = side.and_then(|index| sides.get(index));
        let presented = [
            Presented {
                chain: primary.chain,
                signature: primary.signature,
            },
            side_result.map_or_else(Presented::default, |side| Presented {
                chain: &side.chain,
                signature: side.signature.as_ref(),
            }),
        ];
        let mut evidence = None;
        self.check_key(&verdict)?;
        match &verdict.outcome {
            Outcome::Pinned(reason) => tracing::debug!(%reason, "pinned"),
            Outcome::Verified(verified) => {
                tracing::debug!(method = %verified.method(), binding = ?verified.binding(), "verified");
            }
            Outcome::Intercepted(reason) => {
                tracing::warn!(%reason, target = %self.target, "interception detected");
                let reason = EvidenceReason::Interception(*reason);
                let found = self.evidence(reason, presented, verdict.clone());
                if self.known.policy != Policy::Observe {
                    return Err(Error::Interception(found));
                }
                evidence = Some(found);
            }
            Outcome::Unverified(reason) => {
                tracing::debug!(%reason, "not verified");
                evidence = match *reason {
                    Reason::Resumption(failure) if failure.is_suspicious() => {
                        let reason = EvidenceReason::Resumption(failure);
                        Some(self.evidence(reason, presented, verdict.clone()))
                    }
                    _ => None,
                };
                if refuses(self.known.policy, *reason) {
                    return Err(self.refusal(Unverified {
                        side,
                        reason: *reason,
                        dial: side_result.and_then(|side| side.dial_error.clone()),
                        evidence,
                        verdict,
                    }));
                }
            }
        }
        Ok(Allowed { verdict, evidence })
    }

    /// An interception on one side path wins over everything on the others, and a failure that
    /// forbids falling back over one that allows it.
    pub(crate) fn evaluate(&self, sides: &[SideResult]) -> Evaluated {
        if let Some(origin) = &self.inherits {
            let inheritance = Inheritance::of(Arc::clone(origin));
            return Evaluated {
                outcome: Outcome::Verified(Verified::inherited(inheritance)),
                side: None,
            };
        }
        let mut proofs = Vec::with_capacity(sides.len());
        let mut resumptions = Vec::new();
        let mut worst: Option<(usize, Reason)> = None;
        for (index, side) in sides.iter().enumerate() {
            match side.outcome {
                SideOutcome::Proven(proof) => proofs.push(proof),
                SideOutcome::Resumed(proof) => resumptions.push(proof),
                SideOutcome::Failed(reason) if is_worse(reason, worst) => {
                    worst = Some((index, reason));
                }
                SideOutcome::Failed(_) | SideOutcome::Pending => {}
            }
        }
        let all = proofs.len() + resumptions.len() == sides.len();
        match (worst, Verified::new(proofs, resumptions)) {
            (Some((index, Reason::Side(SideFailure::Interception(reason)))), _) => Evaluated {
                outcome: Outcome::Intercepted(reason),
                side: Some(index),
            },
            (Some((index, reason)), _) => Evaluated {
                outcome: Outcome::Unverified(reason),
                side: Some(index),
            },
            (None, Some(_))
                if self.require_independent && !self.independence(sides).is_independent() =>
            {
                Evaluated {
                    outcome: Outcome::Unverified(Reason::NotIndependent),
                    side: None,
                }
            }
            (None, Some(verified)) if all => Evaluated {
                outcome: Outcome::Verified(verified),
                side: None,
            },
            // Settled without a failure means that all have verified; anything else is silence.
            (None, _) => Evaluated {
                outcome: Outcome::Unverified(Reason::Side(SideFailure::Silent)),
                side: None,
            },
        }
    }

    /// Accepts a remembered key if no side path could be connected, and the settings allow it.
    fn with_pin(
        &self,
        evaluated: Evaluated,
        primary: &PrimaryTls<'_>,
        sides: &[SideResult],
    ) -> Evaluated {
        let is_down = |side: &SideResult| {
            matches!(
                side.outcome,
                SideOutcome::Failed(
                    Reason::Side(SideFailure::Unreachable)
                        | Reason::Resumption(ResumptionFailure::SideUnreachable)
                )
            )
        };
        match evaluated.outcome {
            Outcome::Unverified(reason)
                if !sides.is_empty()
                    && sides.iter().all(is_down)
                    && self.known.is_pinned(&primary.report) =>
            {
                Evaluated {
                    outcome: Outcome::Pinned(reason),
                    ..evaluated
                }
            }
            _ => evaluated,
        }
    }

    /// Refuses another raw public key than the remembered one. An interception takes precedence.
    fn check_key(&self, verdict: &Verdict) -> Result<(), Error> {
        let key = self.known.changed_key(&verdict.tls);
        let (Some(key), Some(entry)) = (key, &self.known.entry) else {
            return Ok(());
        };
        if matches!(verdict.outcome, Outcome::Intercepted(_)) {
            return Ok(());
        }
        Err(self.violation(entry, Violation::KeyChanged(key), verdict.clone()))
    }

    /// The error of a connection that the policy refuses: it violates the entry if the configured
    /// policy would have accepted it, or if it contradicts the entry.
    fn refusal(&self, unverified: Unverified) -> Error {
        let known = self.known;
        let reason = unverified.reason;
        let is_violation = !refuses(known.configured, reason) || known.is_contradicted_by(reason);
        match &known.entry {
            Some(entry) if is_violation => {
                let verdict = unverified.verdict.clone();
                self.violation(entry, Violation::Unverified(Box::new(unverified)), verdict)
            }
            _ => Error::Unverified(Box::new(unverified)),
        }
    }

    fn violation(&self, entry: &HostEntry, violation: Violation, verdict: Verdict) -> Error {
        Error::KnownHost(Box::new(KnownHostViolation {
            host: self.known.host.clone(),
            entry: entry.clone(),
            violation,
            verdict,
        }))
    }

    fn evidence(
        &self,
        reason: EvidenceReason,
        presented: [Presented<'_>; 2],
        verdict: Verdict,
    ) -> Box<Evidence> {
        Box::new(Evidence::new(
            self.target.to_string(),
            self.association
                .map_or_else(String::new, |association| association.to_string()),
            reason,
            presented,
            verdict,
        ))
    }

    fn verdict(&self, outcome: Outcome, tls: TlsReport, sides: &[SideResult]) -> Verdict {
        let mut paths = Vec::with_capacity(1 + sides.len());
        paths.push(self.report.clone());
        paths.extend(sides.iter().map(|side| self.side_report(side)));
        Verdict {
            method: match &self.inherits {
                Some(origin) => origin.method,
                None => method(sides),
            },
            outcome,
            association: self.association,
            paths,
            tls,
            times: self.times,
        }
    }

    fn side_report(&self, side: &SideResult) -> PathReport {
        let mut report = side.report.clone();
        report.primary = Some(self.report.as_primary());
        report.result = Some(match side.outcome {
            SideOutcome::Proven(_) | SideOutcome::Resumed(_) => "verified",
            SideOutcome::Failed(reason) => reason.as_str(),
            SideOutcome::Pending => "pending",
        });
        report
    }

    /// The weakest of the side paths.
    fn independence(&self, sides: &[SideResult]) -> Independence {
        let reports = sides.iter().map(|side| self.side_report(side));
        Independence::weakest(reports.filter_map(|report| report.independence()))
    }
}

/// Releases the tickets of a verified connection. One that enters a store without an origin stands
/// for a server that proved this very handshake.
fn release(quarantine: &Quarantine, verified: &Verified, paths: &[PathReport]) {
    match verified.inheritance() {
        // The age counts from the full handshake, however often the session is renewed.
        Some(inheritance) => quarantine.release(Some(inheritance.shared_origin())),
        None if quarantine.keeps_descended() => {
            let origin = Origin::now(verified.method(), paths.to_vec());
            quarantine.release(Some(Arc::new(origin)));
        }
        None if verified.method() == Method::Side => quarantine.release(None),
        None => {}
    }
}

impl Allowed {
    /// The connection with its verdict.
    pub(crate) fn into_stream<S>(self, tls: S) -> MultipathStream<S> {
        let stream = MultipathStream::new(tls, VerdictHandle::fixed(self.verdict));
        match self.evidence {
            Some(evidence) => stream.with_evidence(*evidence),
            None => stream,
        }
    }
}

impl Evaluated {
    pub(crate) fn unverified(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Unverified(reason),
            side: None,
        }
    }
}

fn refuses(policy: Policy, reason: Reason) -> bool {
    match (policy, reason) {
        // Under every policy (`docs/protocol.md`, section 8.2).
        (_, Reason::EarlyData) => true,
        (Policy::Observe, _) => false,
        (Policy::Require, _) => true,
        (Policy::Prefer, Reason::Side(failure)) => !failure.allows_fallback(),
        (Policy::Prefer, Reason::Resumption(failure)) => !failure.allows_fallback(),
        // A side connection was tried a short time ago, with such a result.
        (Policy::Prefer, Reason::KnownUnsupported) => false,
        // The client chose to speak no TLS before a byte of the network's had arrived: there
        // is nothing to fall back from.
        (Policy::Prefer, Reason::NotTls) => false,
        // A client that demands independence does not fall back without it.
        (Policy::Prefer, _) => true,
    }
}

/// The weaker method where the side paths differ.
fn method(sides: &[SideResult]) -> Method {
    let resumption = |side: &SideResult| {
        matches!(
            side.outcome,
            SideOutcome::Resumed(_) | SideOutcome::Failed(Reason::Resumption(_))
        )
    };
    match sides.iter().any(resumption) {
        true => Method::Resumption,
        false => Method::Side,
    }
}

fn is_worse(reason: Reason, than: Option<(usize, Reason)>) -> bool {
    let severity = |reason: Reason| match reason {
        Reason::Side(SideFailure::Interception(_)) => 3,
        Reason::Resumption(failure) if failure.is_suspicious() => 2,
        Reason::Side(failure) if failure.allows_fallback() => 0,
        Reason::Resumption(failure) if failure.allows_fallback() => 0,
        _ => 1,
    };
    than.is_none_or(|(_, other)| severity(reason) > severity(other))
}

#[cfg(test)]
mod tests;
