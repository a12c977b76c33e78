//! The response field with the verdict on the connection.

use std::sync::OnceLock;

use http::HeaderValue;
use http::header::HeaderName;

use crate::proto::binding::Binding;
use crate::stream::VerdictHandle;
use crate::verdict::{Outcome, Verified};

/// `Multipath-Verdict`.
pub const VERDICT_FIELD: HeaderName = HeaderName::from_static("multipath-verdict");

/// Values that are kept for one connection. Its verdict changes when a side connection opens,
/// confirms or disputes, and when the verdict is decided: three times with one side path.
const KEPT: usize = 6;

/// The value of [`VERDICT_FIELD`]: an item of RFC 9651 (section 3.3), a token with parameters.
///
/// - `verified; binding=exporter; sides=1`: the number of side connections that have confirmed, and
///   the weakest of their bindings.
/// - `verified; inherited; age=3600; sides=1`: a resumed session inherits the verification of an
///   earlier connection, which is this many seconds old and which these side connections have
///   confirmed.
/// - `unverified; reason=no-side-connection`: no proof, and the reason.
/// - `intercepted; reason=wrong-value`: a dispute that the policy accepts, or that came after the
///   decision.
///
/// A server that does not hold connections back may learn more later: the value is that of the
/// moment.
pub fn verdict_field(outcome: &Outcome) -> HeaderValue {
    let value = match outcome {
        Outcome::Verified(verified) => verified_value(verified),
        outcome => format!(
            "{}; reason={}",
            outcome.as_str(),
            outcome.reason().unwrap_or("unknown")
        ),
    };
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("unverified"))
}

fn verified_value(verified: &Verified) -> String {
    match verified.inheritance() {
        Some(inheritance) => format!(
            "verified; inherited; age={}; sides={}",
            inheritance.age().as_secs(),
            inheritance.origin().paths.len().saturating_sub(1),
        ),
        None => format!(
            "verified; binding={}; sides={}",
            // A server has a binding of every other proof.
            verified.binding().map_or("none", Binding::as_str),
            verified.sides().len()
        ),
    }
}

/// The values of one connection, by the revision of its verdict: a response takes one without a lock.
#[derive(Debug, Default)]
pub(super) struct CachedField([OnceLock<HeaderValue>; KEPT]);

impl CachedField {
    pub(super) fn value(&self, verdict: &VerdictHandle) -> HeaderValue {
        // The revision comes first: a value may be newer than its revision, never older.
        match self.0.get(verdict.revision()) {
            Some(kept) => kept
                .get_or_init(|| verdict_field(&verdict.outcome()))
                .clone(),
            None => verdict_field(&verdict.outcome()),
        }
    }
}
