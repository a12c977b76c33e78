//! Failures of connections, described by path, cause and remedy.

use std::fmt;

use mtls_core::known_hosts::KnownHostsError;
use mtls_core::path::{DialError, DialFailure, DialFailureClass, DialStage, Endpoint};
use mtls_core::proto::client::SideFailure;
use mtls_core::{
    Error, KnownHostViolation, NotSmkex, Reason, ResumptionFailure, TimedOut, Unverified,
    Violation, certificate_error_message, tls_error_message,
};
use rustls::{AlertDescription, CertificateError};

use super::path_set::PathSet;
use crate::exit::Exit;
use crate::failure::Failure;

/// Describes why a connection was not made. [`Error::Interception`] also has evidence.
pub(crate) fn connection_failure(error: &Error, to: &Endpoint, paths: &PathSet) -> Failure {
    let path = format!("the primary path `{}`", paths.primary);
    match error {
        Error::Dial(error) => primary_dial(error, &path),
        Error::Tls(rustls::Error::InvalidCertificate(reason)) => not_trusted(reason, to, &path),
        Error::NotSmkex(NotSmkex::Server(error)) => not_smkex(error, to, &path),
        Error::Tls(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
            nothing_in_common(to, &path)
        }
        Error::Tls(error) => tls_failed(&tls_error_message(error), to, &path),
        Error::Io(error) => tls_failed(error, to, &path),
        Error::Quic(error) => quic_failed(error, to, &path),
        Error::TimedOut(what) => {
            Failure::new(Exit::TimedOut, "timed-out", timed_out(*what, to, &path))
        }
        Error::Unverified(unverified) => not_verified(unverified, to, paths),
        Error::KnownHost(violation) => violated(violation, paths),
        Error::KnownHosts(error) => unusable_known_hosts(error),
        Error::ApiMisuse(misuse) => Failure::new(Exit::Usage, "usage", misuse.to_string()),
        Error::Interception(evidence) => Failure::new(
            Exit::Interception,
            "interception",
            format!("interception detected: {}", evidence.reason),
        ),
        other => Failure::new(
            Exit::Tls,
            "tls-failed",
            format!("{to} over {path}: {other}"),
        ),
    }
}

fn primary_dial(error: &DialError, path: &str) -> Failure {
    if let DialFailure::Mptcp(_)
    | DialFailure::SubflowNotPermitted
    | DialFailure::KernelManagesSubflows = error.reason
    {
        // The reason has its own remedy, and may be that of a side path inside the connection.
        let message = format!("could not use the path `{}`: {}", error.via, error.reason);
        return Failure::new(Exit::Connect, "could-not-connect", message);
    }
    let (exit, token, remedy) = match error.class() {
        DialFailureClass::Resolve => (
            Exit::Resolve,
            "could-not-resolve",
            "check the name, give its address with --resolve, or name a nameserver with --dns",
        ),
        DialFailureClass::TimedOut => (Exit::TimedOut, "timed-out", timed_out_remedy(error)),
        _ => (
            Exit::Connect,
            "could-not-connect",
            "check host and port, or choose another path with --primary",
        ),
    };
    let message = format!(
        "could not reach {} over {path}: {}; {remedy}",
        error.to, error.reason
    );
    Failure::new(exit, token, message)
}

fn timed_out_remedy(error: &DialError) -> &'static str {
    match error.reason {
        DialFailure::TimedOut {
            stage: DialStage::Resolving,
            ..
        } => {
            "name another nameserver with --dns, give the address with --resolve, or allow more time \
             with --connect-timeout"
        }
        _ => "check the network of that path, or allow more time with --connect-timeout",
    }
}

fn not_trusted(reason: &CertificateError, to: &Endpoint, path: &str) -> Failure {
    let remedy = match reason {
        CertificateError::UnknownIssuer => {
            "to trust its CA, name it with --cacert FILE or --system-roots"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "check the host name"
        }
        _ => "ask the server's operator to replace it",
    };
    let message = format!(
        "the certificate received from {to} over {path} is not trusted: {}; {remedy}",
        certificate_error_message(reason)
    );
    Failure::new(Exit::NotTrusted, "certificate-not-trusted", message)
}

fn tls_failed(error: &dyn fmt::Display, to: &Endpoint, path: &str) -> Failure {
    let message =
        format!("TLS with {to} failed over {path}: {error}; check that a TLS server listens there");
    Failure::new(Exit::Tls, "tls-failed", message)
}

fn quic_failed(error: &dyn fmt::Display, to: &Endpoint, path: &str) -> Failure {
    let message = format!(
        "QUIC with {to} failed over {path}: {error}; check that the server speaks HTTP/3 and that UDP \
         reaches it, or use --http3 instead of --http3-only"
    );
    Failure::new(Exit::QuicConnect, "quic-failed", message)
}

fn not_smkex(error: &rustls::Error, to: &Endpoint, path: &str) -> Failure {
    let message = format!(
        "SMKEX with {to} failed over {path}: {}; the server uses a certificate, or supports no \
         parameters of this client: omit --smkex",
        tls_error_message(error)
    );
    Failure::new(Exit::Tls, "not-smkex", message)
}

fn nothing_in_common(to: &Endpoint, path: &str) -> Failure {
    let message = format!(
        "TLS with {to} failed over {path}: the server rejected the parameters of this client \
         (handshake_failure); a server without a certificate needs --smkex"
    );
    Failure::new(Exit::Tls, "tls-failed", message)
}

fn timed_out(what: TimedOut, to: &Endpoint, path: &str) -> String {
    match what {
        TimedOut::Deadline => format!(
            "TLS with {to} failed over {path}: the handshake was not complete at the deadline of \
             the verification, and nothing was sent; allow more time with --deadline"
        ),
        _ => format!(
            "TLS with {to} failed over {path}: the handshake timed out; allow more time with \
             --connect-timeout"
        ),
    }
}

fn not_verified(unverified: &Unverified, to: &Endpoint, paths: &PathSet) -> Failure {
    let exit = match unverified.reason {
        Reason::Side(SideFailure::NoGreeting)
        | Reason::Resumption(ResumptionFailure::Unsupported) => Exit::NoProtocol,
        Reason::Resumption(failure) if failure.is_suspicious() => Exit::Suspicion,
        _ => Exit::Unverified,
    };
    let path = unverified
        .side
        .and_then(|index| Some((index, paths.sides.get(index)?)));
    let path = match path {
        Some((index, path)) => format!("side path {} `{path}`: ", index + 1),
        None => String::new(),
    };
    let cause = match (&unverified.dial, unverified.reason) {
        (
            Some(error),
            Reason::Side(SideFailure::Unreachable)
            | Reason::Resumption(ResumptionFailure::SideUnreachable),
        ) => {
            format!("could not reach {}: {}", error.to, error.reason)
        }
        (_, Reason::NotIndependent) => unverified.verdict.independence().to_string(),
        (_, reason) => match side_error(unverified) {
            Some(error) => format!("{reason}: {error}"),
            None => reason.to_string(),
        },
    };
    let dial = unverified.dial.as_ref().map(|error| error.class());
    let message = format!(
        "{to} is not verified, and nothing was sent: {path}{cause}; {}",
        remedy(unverified, dial)
    );
    Failure::new(exit, unverified.reason.as_str(), message)
}

/// A connection that violates the entry of a known host.
fn violated(violation: &KnownHostViolation, paths: &PathSet) -> Failure {
    let KnownHostViolation { host, entry, .. } = violation;
    let (token, message) = match &violation.violation {
        Violation::KeyChanged(key) => (
            "known-key-changed",
            format!(
                "{host} showed another raw public key than before, and nothing was sent: sha256 \
                 {key}; ask its operator whether the key is new, and accept it with \
                 --accept-new-key, or remove the entry with `mtls-client hosts forget {host}`"
            ),
        ),
        Violation::Unverified(unverified) => (
            "known-host-violated",
            format!(
                "{}; {host} is known as a server that {}, so it must be verified: try other paths, \
                 or, if its operator confirms that it changed, remove the entry with `mtls-client \
                 hosts forget {host}`",
                not_verified(unverified, host, paths).message,
                entry.support,
            ),
        ),
        other => ("known-host-violated", format!("{host}: {other:?}")),
    };
    Failure::new(Exit::KnownHost, token, message)
}

/// A store of known hosts that cannot be used.
pub(crate) fn unusable_known_hosts(error: &KnownHostsError) -> Failure {
    let message = format!("{error}, or use --known-hosts FILE for another file");
    Failure::new(Exit::KnownHost, "known-hosts-unusable", message)
}

/// How TLS failed on the side path.
fn side_error(unverified: &Unverified) -> Option<&str> {
    let path = unverified.verdict.paths.get(1 + unverified.side?)?;
    path.error.as_deref()
}

fn remedy(unverified: &Unverified, dial: Option<DialFailureClass>) -> &'static str {
    let is_smkex = unverified.verdict.tls.server_key == Some("raw-public-key");
    match unverified.reason {
        Reason::Side(SideFailure::Unreachable)
        | Reason::Resumption(ResumptionFailure::SideUnreachable)
            if dial == Some(DialFailureClass::Resolve) =>
        {
            "name a nameserver for that path with --dns, or give the address with --resolve"
        }
        Reason::NotIndependent => {
            "use another network for the side path: --side if:NAME, or a proxy"
        }
        Reason::Side(SideFailure::Unreachable) => {
            "check that path, or name the side verifier with --side-endpoint"
        }
        Reason::Resumption(failure) => resumption_remedy(failure),
        Reason::Mptcp(_) => "to use a connection of its own, write --side if:NAME",
        // SMKEX has no other method and no other policy.
        Reason::Side(SideFailure::NoGreeting) if is_smkex => {
            "if the side verifier has another address, name it with --side-endpoint; if the server \
             has a certificate too, omit --smkex"
        }
        Reason::Side(SideFailure::NoGreeting) => {
            "if the side verifier has another address, name it with --side-endpoint; to verify \
             without one, use --method auto, and to continue unverified, --policy prefer"
        }
        Reason::NotTls13 | Reason::Side(SideFailure::Rejected(_)) => {
            "ask the server's operator, or try another side path"
        }
        _ => "an attacker may be on a path: try another side path with --side",
    }
}

fn resumption_remedy(failure: ResumptionFailure) -> &'static str {
    match failure {
        ResumptionFailure::Unsupported => "to continue unverified, use --policy prefer",
        ResumptionFailure::Inconclusive => "try again, or try another side path with --side",
        ResumptionFailure::SideUnreachable => "check that path, or try another one with --side",
        ResumptionFailure::SideFailed => {
            "check that a TLS server listens there, or try another side path with --side"
        }
        _ => {
            "try other paths: if all give this result, the server's machines share no ticket key, \
             and resumption cannot verify them"
        }
    }
}
