//! The outcome of one connection.

use mtls_core::path::Endpoint;
use mtls_core::{ClientStream, Error, Evidence, Outcome, Verdict, Violation};
use tokio::net::TcpStream;

use super::channel_bindings::ChannelBindings;
use super::failure::connection_failure;
use super::path_set::PathSet;
use crate::exit::Exit;
use crate::failure::Failure;

/// The outcome of one connection.
pub(crate) struct Attempt {
    pub(crate) target: Endpoint,
    /// `None` if the attempt ended before there was one, or the server's key has changed.
    pub(crate) verdict: Option<Verdict>,
    /// The evidence of an interception or a suspicion, under every policy.
    pub(crate) evidence: Option<Box<Evidence>>,
    /// The reason if there is no stream.
    pub(crate) failure: Option<Failure>,
    /// The channel bindings, for commands that report them.
    pub(crate) bindings: Option<ChannelBindings>,
    /// Warnings about the known hosts.
    pub(crate) notices: Vec<String>,
}

impl Attempt {
    pub(crate) fn connected(to: &Endpoint, stream: &ClientStream<TcpStream>) -> Self {
        Self::with_verdict(to, stream.verdict(), stream.evidence())
    }

    pub(crate) fn with_verdict(
        to: &Endpoint,
        verdict: Verdict,
        evidence: Option<&Evidence>,
    ) -> Self {
        Self {
            target: to.clone(),
            verdict: Some(verdict),
            evidence: evidence.cloned().map(Box::new),
            failure: None,
            bindings: None,
            notices: Vec::new(),
        }
    }

    pub(crate) fn failed(to: &Endpoint, error: Error, paths: &PathSet) -> Self {
        let mut attempt = Self::without_verdict(to, connection_failure(&error, to, paths));
        match error {
            Error::Interception(evidence) => {
                attempt.verdict = Some(Verdict::clone(&evidence.connection));
                attempt.evidence = Some(evidence);
            }
            Error::Unverified(unverified) => {
                attempt.verdict = Some(unverified.verdict);
                attempt.evidence = unverified.evidence;
            }
            // A connection that shows another key is refused even if it is verified, so it has no
            // verdict to report.
            Error::KnownHost(violation) => {
                if let Violation::Unverified(unverified) = violation.violation {
                    attempt.verdict = Some(violation.verdict);
                    attempt.evidence = unverified.evidence;
                }
            }
            _ => {}
        }
        attempt
    }

    pub(crate) fn without_verdict(to: &Endpoint, failure: Failure) -> Self {
        Self {
            target: to.clone(),
            verdict: None,
            evidence: None,
            failure: Some(failure),
            bindings: None,
            notices: Vec::new(),
        }
    }

    /// The exit status. An interception or a suspicion counts even if the policy accepts the stream.
    pub(crate) fn exit(&self) -> Exit {
        if self.is_interception() {
            return Exit::Interception;
        }
        if self.evidence.is_some() {
            return Exit::Suspicion;
        }
        self.failure
            .as_ref()
            .map_or(Exit::Success, |failure| failure.exit)
    }

    pub(crate) fn is_interception(&self) -> bool {
        let intercepted = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Intercepted(_));
        self.verdict.as_ref().is_some_and(intercepted)
    }
}
