//! The description of a tunnel's verdict, for people.

use mtls_core::proto::client::{InterceptionReason, SideFailure};
use mtls_core::relay::{TunnelEnd, TunnelReport, TunnelStage};
use mtls_core::{Error, KnownHostViolation, Outcome, Policy, Reason, TimedOut, Verdict};
use serde::Serialize;

use super::request::Protocol;
use crate::output::text::capitalized;

/// The description of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) kind: Kind,
    /// A few words.
    pub(crate) headline: String,
    /// A few sentences with the meaning and the remedy.
    pub(crate) explanation: String,
}

/// The state of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// There is no verdict yet.
    Opening,
    Verified,
    /// Relayed without verification, as the policy allows.
    Unverified,
    /// Relayed without verification, by `--exempt`.
    Exempt,
    /// Not verified, and not relayed.
    Refused,
    Intercepted,
    /// There was no connection.
    Failed,
    /// The client sent nothing.
    Unused,
}

impl Summary {
    pub(crate) fn new(tunnel: &TunnelReport, protocol: Protocol) -> Self {
        let verdict = tunnel.verdict.as_ref();
        let refused = tunnel.stage == TunnelStage::Ended(TunnelEnd::Refused);
        match verdict.map(|verdict| (&verdict.outcome, verdict)) {
            Some((Outcome::Verified(_), verdict)) => verified(verdict),
            Some((Outcome::Intercepted(reason), _)) => intercepted(*reason, refused),
            Some((Outcome::Unverified(reason) | Outcome::Pinned(reason), verdict)) => {
                unverified(*reason, verdict, tunnel, refused, protocol)
            }
            None => without_verdict(tunnel),
        }
    }
}

fn summary(kind: Kind, headline: impl Into<String>, explanation: impl Into<String>) -> Summary {
    Summary {
        kind,
        headline: headline.into(),
        explanation: explanation.into(),
    }
}

fn verified(verdict: &Verdict) -> Summary {
    let paths = match verdict.paths.len().saturating_sub(1) {
        1 => "a second path".to_owned(),
        sides => format!("{sides} side paths"),
    };
    let caveat = match verdict.independence().is_independent() {
        true => String::new(),
        false => format!(
            " But {}: one attacker may be on both. Use another network for the side path (--side).",
            verdict.independence()
        ),
    };
    summary(
        Kind::Verified,
        format!("verified over {paths}"),
        format!(
            "Over {paths} the server proved that it took part in this TLS handshake. There is no \
             man in the middle, unless attackers on all paths work together.{caveat}"
        ),
    )
}

fn intercepted(reason: InterceptionReason, refused: bool) -> Summary {
    let consequence = match refused {
        true => {
            "No data from the server was passed on, so your program has sent only its hello; its \
             connection was closed."
        }
        false => {
            "The policy `observe` accepted the connection anyway: do not trust the data received, \
             and the data sent is not secret."
        }
    };
    summary(
        Kind::Intercepted,
        reason.to_string(),
        format!(
            "An attacker is on one of the paths to this server, or the server's machines do not \
             share their registry: {reason}. {consequence} Do not use this network for this \
             server; keep the evidence, and show it to the operator of the server or of the network."
        ),
    )
}

fn unverified(
    reason: Reason,
    verdict: &Verdict,
    tunnel: &TunnelReport,
    refused: bool,
    protocol: Protocol,
) -> Summary {
    let cause = cause(reason, tunnel, protocol);
    let headline = match reason {
        Reason::NotTls if protocol == Protocol::PlainHttp => "plain HTTP".to_owned(),
        Reason::NotIndependent => verdict.independence().to_string(),
        reason => reason.to_string(),
    };
    match refused {
        true => {
            let remedy = match tunnel.error.as_deref() {
                Some(Error::KnownHost(violation)) => known_host_remedy(violation),
                _ => remedy(reason, tunnel.policy).to_owned(),
            };
            let explanation = format!(
                "{cause} The connection was refused, and your program has sent only its first \
                 message. {remedy}"
            );
            summary(Kind::Refused, headline, explanation)
        }
        false => {
            let explanation = format!(
                "{cause} The policy `{}` accepts that: the connection is as secure as without this \
                 proxy.",
                tunnel.policy
            );
            summary(Kind::Unverified, headline, explanation)
        }
    }
}

/// The cause as a sentence.
fn cause(reason: Reason, tunnel: &TunnelReport, protocol: Protocol) -> String {
    match reason {
        Reason::Side(SideFailure::NoGreeting) => {
            "The server does not speak the side protocol, like most servers, or the side path blocks \
             its answer."
                .into()
        }
        Reason::Side(SideFailure::Unreachable) => match tunnel.error.as_deref() {
            Some(Error::Unverified(unverified)) if unverified.dial.is_some() => {
                let dial = unverified.dial.as_deref();
                dial.map_or_else(String::new, |dial| format!("The side path: {dial}."))
            }
            _ => "The server could not be reached over the side path.".into(),
        },
        Reason::NotTls if protocol == Protocol::PlainHttp => {
            "Plain HTTP has no TLS to verify: anyone on the path can read and change it."
                .into()
        }
        Reason::NotTls => "Your program does not use TLS on this connection, so there is nothing \
                           to verify."
            .into(),
        Reason::EarlyData => {
            "Your program requests early data (0-RTT), which an attacker could read if they issued \
             the session ticket."
                .into()
        }
        Reason::Hello(error) => format!("The TLS hellos cannot be compared: {error}."),
        Reason::NotIndependent => "The paths are not independent, which --require-independent demands.".into(),
        other => format!("{}.", capitalized(&other.to_string())),
    }
}

fn remedy(reason: Reason, policy: Policy) -> &'static str {
    match (reason, policy) {
        (Reason::EarlyData, _) => {
            "Disable early data in the program, or exempt this host with --exempt."
        }
        (Reason::NotIndependent, _) => "Use another network for the side path (--side).",
        (Reason::Side(SideFailure::NoGreeting), _) => {
            "If the side verifier has another address, name it with --side-endpoint; if verification \
             of this host is optional, omit its --require rule."
        }
        (Reason::Side(SideFailure::Unreachable), _) => {
            "Check the network of the side path (--side)."
        }
        (Reason::NotTls, _) => "Use https, or exempt this host.",
        (Reason::Side(_), Policy::Prefer) => {
            "After a server has answered on the side path, silence or a rejection there is no reason \
             to fall back: an attacker may be on the path. Try another side path."
        }
        _ => "Try another side path, or exempt this host with --exempt if you trust the network.",
    }
}

fn known_host_remedy(violation: &KnownHostViolation) -> String {
    let KnownHostViolation { host, entry, .. } = violation;
    format!(
        "This host is known as a server that {}, so it must be verified: try another side path, or, \
         if its operator confirms that it changed, run `mtls-client hosts forget {host}`.",
        entry.support
    )
}

fn without_verdict(tunnel: &TunnelReport) -> Summary {
    if let Some(error) = tunnel.error.as_deref() {
        return failed(error, tunnel);
    }
    match tunnel.stage {
        _ if tunnel.exempt => summary(
            Kind::Exempt,
            "exempt",
            "This host is exempt by --exempt: relayed without verification.",
        ),
        TunnelStage::Verifying => summary(
            Kind::Opening,
            "verifying",
            "The hello messages are being exchanged and verified over the side path.",
        ),
        _ => summary(
            Kind::Opening,
            "connecting",
            "Connecting, or waiting for the first bytes of your program.",
        ),
    }
}

fn failed(error: &Error, tunnel: &TunnelReport) -> Summary {
    let nothing_sent = tunnel.bytes.to_server == 0 && tunnel.association.is_none();
    match error {
        Error::Dial(dial) => summary(
            Kind::Failed,
            "could not connect",
            format!("{}.", capitalized(&dial.to_string())),
        ),
        Error::TimedOut(TimedOut::ClientHello) => summary(
            Kind::Unused,
            "unused",
            "Your program opened this connection and sent nothing, as browsers do in advance. (If the \
             server speaks first, as in SMTP or SSH, exempt the host with --exempt.)",
        ),
        Error::InvalidMessage(_) if nothing_sent => summary(
            Kind::Unused,
            "unused",
            "Your program opened this connection and closed it without sending anything, as browsers \
             do.",
        ),
        Error::KnownHosts(error) => summary(
            Kind::Refused,
            "known hosts unusable",
            format!("{}.", capitalized(&error.to_string())),
        ),
        Error::Tls(tls) => summary(
            Kind::Failed,
            "TLS failed",
            format!("The server ended the handshake: {tls}."),
        ),
        other => summary(
            Kind::Failed,
            "connection lost",
            format!("{}.", capitalized(&other.to_string())),
        ),
    }
}
