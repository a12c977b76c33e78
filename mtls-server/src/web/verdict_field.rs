//! The field that tells a client what the server knows of its connection.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{HeaderName, HeaderValue};
use mtls_core::Outcome;
use mtls_core::proto::binding::Binding;

/// `Multipath-Verdict`.
pub const VERDICT_FIELD: HeaderName = HeaderName::from_static("multipath-verdict");

/// The value of [`VERDICT_FIELD`]: an item of RFC 9651 (section 3.3), a token with parameters.
///
/// - `verified; binding=exporter; sides=1`: how many side connections have confirmed, and the
///   weakest of their bindings.
/// - `unverified; reason=no-side-connection`: no proof, and why.
/// - `intercepted; reason=wrong-value`: under the policy `observe` only.
///
/// A server that does not hold connections back may learn more later: the value is of this
/// moment.
pub fn verdict_field(outcome: &Outcome) -> HeaderValue {
    let value = match outcome {
        Outcome::Verified(verified) => format!(
            "verified; binding={}; sides={}",
            // A server has a binding of every proof.
            verified.binding().map_or("none", Binding::as_str),
            verified.sides().len()
        ),
        outcome => format!(
            "{}; reason={}",
            outcome.as_str(),
            outcome.reason().unwrap_or("unknown")
        ),
    };
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("unverified"))
}

/// The field of one connection, written anew when the verdict changes and not for every response.
#[derive(Clone, Debug, Default)]
pub(super) struct VerdictField(Arc<Mutex<Option<(Outcome, HeaderValue)>>>);

impl VerdictField {
    pub(super) fn of(&self, outcome: Outcome) -> HeaderValue {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((same, value)) if *same == outcome => value.clone(),
            _ => {
                let value = verdict_field(&outcome);
                *kept = Some((outcome, value.clone()));
                value
            }
        }
    }
}
