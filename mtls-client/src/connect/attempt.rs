//! The outcome of one connection.

use mtls_core::path::Endpoint;
use mtls_core::{ClientStream, Error, Evidence, Outcome, Verdict};
use tokio::net::TcpStream;

use crate::connect::channel_bindings::ChannelBindings;
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::exit::Exit;

/// The outcome of one connection.
pub(crate) struct Attempt {
    pub(crate) target: Endpoint,
    /// As far as it came to one.
    pub(crate) verdict: Option<Verdict>,
    /// Of an interception, under every policy.
    pub(crate) evidence: Option<Box<Evidence>>,
    /// Why there is no stream.
    pub(crate) failure: Option<Failure>,
    /// Where somebody asked for them.
    pub(crate) bindings: Option<ChannelBindings>,
}

impl Attempt {
    pub(crate) fn connected(to: &Endpoint, stream: &ClientStream<TcpStream>) -> Self {
        Self {
            target: to.clone(),
            verdict: Some(stream.verdict()),
            evidence: stream.evidence().cloned().map(Box::new),
            failure: None,
            bindings: None,
        }
    }

    pub(crate) fn failed(to: &Endpoint, error: Error, settings: &Settings) -> Self {
        let mut attempt = Self::bare(to, Failure::of_connection(&error, to, settings));
        match error {
            Error::Interception(evidence) => {
                attempt.verdict = Some(Verdict::clone(&evidence.connection));
                attempt.evidence = Some(evidence);
            }
            Error::Unverified(unverified) => attempt.verdict = Some(unverified.verdict),
            _ => {}
        }
        attempt
    }

    pub(crate) fn bare(to: &Endpoint, failure: Failure) -> Self {
        Self {
            target: to.clone(),
            verdict: None,
            evidence: None,
            failure: Some(failure),
            bindings: None,
        }
    }

    /// An interception counts whether or not the policy let the stream pass.
    pub(crate) fn exit(&self) -> Exit {
        if self.is_interception() {
            return Exit::Interception;
        }
        self.failure
            .as_ref()
            .map_or(Exit::Success, |failure| failure.exit)
    }

    pub(crate) fn is_interception(&self) -> bool {
        let intercepted = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Intercepted(_));
        self.evidence.is_some() || self.verdict.as_ref().is_some_and(intercepted)
    }
}
