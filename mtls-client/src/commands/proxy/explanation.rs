//! What became of a tunnel, in plain words.

use mtls_core::proto::client::{InterceptionReason, SideFailure};
use mtls_core::relay::{TunnelEnd, TunnelReport, TunnelStage};
use mtls_core::{Error, Outcome, Policy, Reason, TimedOut, Verdict};
use serde::Serialize;

use super::request::Protocol;

/// What became of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Words {
    pub(crate) kind: Kind,
    /// A few words.
    pub(crate) headline: String,
    /// A few sentences: what it means, and what to do.
    pub(crate) explanation: String,
}

/// What became of a tunnel, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// There is nothing to tell yet.
    Opening,
    Verified,
    /// Relayed without a verification, as the policy allows.
    Unverified,
    /// Relayed without one, as the command line says.
    Exempt,
    /// Not verified, and so not relayed.
    Refused,
    Intercepted,
    /// It did not come to a connection.
    Failed,
    /// The client opened it and then sent nothing.
    Unused,
}

/// What to say of this tunnel.
pub(crate) fn words(tunnel: &TunnelReport, protocol: Protocol) -> Words {
    let verdict = tunnel.verdict.as_ref();
    let refused = tunnel.stage == TunnelStage::Ended(TunnelEnd::Refused);
    match verdict.map(|verdict| (&verdict.outcome, verdict)) {
        Some((Outcome::Verified(_), verdict)) => verified(verdict),
        Some((Outcome::Intercepted(reason), _)) => intercepted(*reason, refused),
        Some((Outcome::Unverified(reason), verdict)) => {
            unverified(*reason, verdict, tunnel, refused, protocol)
        }
        None => without_verdict(tunnel),
    }
}

fn say(kind: Kind, headline: impl Into<String>, explanation: impl Into<String>) -> Words {
    Words {
        kind,
        headline: headline.into(),
        explanation: explanation.into(),
    }
}

fn verified(verdict: &Verdict) -> Words {
    let paths = match verdict.paths.len().saturating_sub(1) {
        1 => "a second path".to_owned(),
        sides => format!("{sides} side paths"),
    };
    let caveat = match verdict.independence.is_independent() {
        true => String::new(),
        false => format!(
            " But {}: whoever stands in one of them may stand in the other. Send the side over \
             another network (--side).",
            verdict.independence
        ),
    };
    say(
        Kind::Verified,
        format!("verified over {paths}"),
        format!(
            "Over {paths} the server showed that it took part in this very TLS handshake, so \
             nobody sits in between, unless attackers on all the paths work together.{caveat}"
        ),
    )
}

fn intercepted(reason: InterceptionReason, refused: bool) -> Words {
    let done = match refused {
        true => {
            "Nothing of the server's was passed on, so your program has sent nothing but its \
             hello; it sees a connection that closes."
        }
        false => {
            "The policy `observe` let it pass all the same: trust nothing that came, and nothing \
             that you sent is secret."
        }
    };
    say(
        Kind::Intercepted,
        reason.to_string(),
        format!(
            "Somebody stands in one of the paths to this server, or the server's machines do not \
             share their registry: {reason}. {done} Do not use this network for this server; \
             keep the evidence, and show it to whoever runs the server or the network."
        ),
    )
}

fn unverified(
    reason: Reason,
    verdict: &Verdict,
    tunnel: &TunnelReport,
    refused: bool,
    protocol: Protocol,
) -> Words {
    let what = why(reason, tunnel, protocol);
    let headline = match reason {
        Reason::NotTls if protocol == Protocol::PlainHttp => "plain HTTP".to_owned(),
        Reason::NotIndependent => verdict.independence.to_string(),
        reason => reason.to_string(),
    };
    match refused {
        true => {
            let advice = remedy(reason, tunnel.policy);
            let explanation = format!(
                "{what} So the connection was refused and your program sent nothing but its \
                 first message. {advice}"
            );
            say(Kind::Refused, headline, explanation)
        }
        false => {
            let explanation = format!(
                "{what} The policy `{}` lets that pass: the connection is as safe as it would be \
                 without this proxy, and no safer.",
                tunnel.policy
            );
            say(Kind::Unverified, headline, explanation)
        }
    }
}

/// A whole sentence.
fn why(reason: Reason, tunnel: &TunnelReport, protocol: Protocol) -> String {
    match reason {
        Reason::Side(SideFailure::NoGreeting) => {
            "The server does not speak the side protocol, as most servers do not; or something on \
             the side path keeps it from answering."
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
            "Plain HTTP has no TLS that could be verified: everybody on the way can read and \
             change it."
                .into()
        }
        Reason::NotTls => "Your program does not speak TLS here, so there is nothing that could \
                           be verified."
            .into(),
        Reason::EarlyData => {
            "Your program wants to send early data (0-RTT), which an attacker who once gave it a \
             session ticket could read."
                .into()
        }
        Reason::Hello(error) => format!("The TLS hellos cannot be compared: {error}."),
        Reason::NotIndependent => "The paths are not independent, and that is demanded.".into(),
        other => format!("{}.", capitalized(&other.to_string())),
    }
}

fn remedy(reason: Reason, policy: Policy) -> &'static str {
    match (reason, policy) {
        (Reason::EarlyData, _) => "Turn early data off in the program, or exempt this host.",
        (Reason::NotIndependent, _) => "Send the side over another network (--side).",
        (Reason::Side(SideFailure::NoGreeting), _) => {
            "If the server has a side verifier elsewhere, name it with --side-endpoint; if you do \
             not insist on this host, do not --require it."
        }
        (Reason::Side(SideFailure::Unreachable), _) => {
            "Check the network behind the side path (--side)."
        }
        (Reason::NotTls, _) => "Use https, or exempt this host.",
        (Reason::Side(_), Policy::Prefer) => {
            "Once a server has answered on the side path, silence or a refusal there is no reason \
             to fall back: somebody may be in the way. Try again over another side path."
        }
        _ => "Try another side path, or exempt this host if you trust the network.",
    }
}

fn without_verdict(tunnel: &TunnelReport) -> Words {
    if let Some(error) = tunnel.error.as_deref() {
        return failed(error, tunnel);
    }
    match tunnel.stage {
        _ if tunnel.exempt => say(
            Kind::Exempt,
            "exempt",
            "This host is exempt by --exempt: relayed plainly, nothing was verified.",
        ),
        TunnelStage::Verifying => say(
            Kind::Opening,
            "verifying",
            "The hellos are on their way, and the side path is asked.",
        ),
        _ => say(
            Kind::Opening,
            "connecting",
            "Connecting, or waiting for your program's first bytes.",
        ),
    }
}

fn failed(error: &Error, tunnel: &TunnelReport) -> Words {
    let nothing_sent = tunnel.bytes.to_server == 0 && tunnel.association.is_none();
    match error {
        Error::Dial(dial) => say(
            Kind::Failed,
            "could not connect",
            format!("{}.", capitalized(&dial.to_string())),
        ),
        Error::TimedOut(TimedOut::ClientHello) => say(
            Kind::Unused,
            "unused",
            "Your program opened this connection and then sent nothing. Browsers do so in \
             advance. (Where the server should speak first, as with SMTP or SSH, exempt the host.)",
        ),
        Error::InvalidMessage(_) if nothing_sent => say(
            Kind::Unused,
            "unused",
            "Your program opened this connection and closed it without a message, as browsers do.",
        ),
        Error::Tls(tls) => say(
            Kind::Failed,
            "TLS failed",
            format!("The server ended the handshake: {tls}."),
        ),
        other => say(
            Kind::Failed,
            "broke off",
            format!("{}.", capitalized(&other.to_string())),
        ),
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
