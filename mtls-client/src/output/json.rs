//! Verdicts for programs: one JSON object for each connection.

use mtls_core::path::{Independence, PathKind};
use mtls_core::{PathRole, Times, TlsReport};
use serde::Serialize;

use crate::connect::attempt::Attempt;
use crate::connect::channel_bindings::ChannelBindings;
use crate::failure::Failure;

/// The version of this record; a change that could break a reader raises it.
const SCHEMA: u32 = 1;

/// The JSON of one connection, without a line break.
pub(crate) fn line(attempt: &Attempt, primary: &PathKind) -> serde_json::Result<String> {
    let message = attempt
        .failure
        .as_ref()
        .map(|failure| failure.message.as_str());
    let target = attempt.target.to_string();
    let channel_bindings = attempt.bindings.as_ref();
    match (&attempt.verdict, &attempt.failure) {
        (Some(verdict), _) => serde_json::to_string(&Record {
            schema: SCHEMA,
            target,
            verdict,
            channel_bindings,
            message,
        }),
        (None, failure) => serde_json::to_string(&Record {
            schema: SCHEMA,
            target,
            verdict: NoVerdict::new(failure.as_ref(), primary),
            channel_bindings,
            message,
        }),
    }
}

#[derive(Serialize)]
struct Record<'a, V> {
    schema: u32,
    target: String,
    #[serde(flatten)]
    verdict: V,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_bindings: Option<&'a ChannelBindings>,
    /// The error message, if there is no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// A record without a verdict, with the keys of one with a verdict.
#[derive(Serialize)]
struct NoVerdict<'a> {
    verdict: &'static str,
    reason: &'static str,
    method: Option<&'static str>,
    proves: Option<&'static str>,
    origin: Option<&'static str>,
    age_s: Option<u64>,
    binding: Option<&'static str>,
    association: Option<String>,
    independence: Independence,
    paths: [NoPath<'a>; 1],
    tls: TlsReport,
    times_ms: Times,
}

#[derive(Serialize)]
struct NoPath<'a> {
    role: PathRole,
    via: &'a PathKind,
    local: Option<String>,
    peer: Option<String>,
    interface: Option<String>,
    resolver: Option<String>,
    independence: Option<Independence>,
    result: Option<&'static str>,
    reused: bool,
    same_key: Option<bool>,
    resumed: Option<&'static str>,
    error: Option<&'static str>,
    mptcp: Option<&'static str>,
    inside: Option<&'static str>,
}

impl<'a> NoVerdict<'a> {
    fn new(failure: Option<&Failure>, primary: &'a PathKind) -> Self {
        let token = failure.map_or("unknown", |failure| failure.token);
        Self {
            verdict: "error",
            reason: token,
            method: None,
            proves: None,
            origin: None,
            age_s: None,
            binding: None,
            association: None,
            independence: Independence::Unknown,
            paths: [NoPath {
                role: PathRole::Primary,
                via: primary,
                local: None,
                peer: None,
                interface: None,
                resolver: None,
                independence: None,
                result: Some(token),
                reused: false,
                same_key: None,
                resumed: None,
                error: None,
                mptcp: None,
                inside: None,
            }],
            tls: TlsReport::default(),
            times_ms: Times::default(),
        }
    }
}
