//! Why something failed: for the exit status, for programs, and for people.

use std::fmt;

use mtls_core::path::{DialError, DialFailure, DialFailureClass, DialStage, Endpoint};
use mtls_core::proto::client::SideFailure;
use mtls_core::{
    Error, NotSmkex, Reason, TimedOut, Unverified, certificate_error_message, tls_error_message,
};
use rustls::{AlertDescription, CertificateError};

use crate::connect::settings::Settings;
use crate::exit::Exit;

/// A failure: one or two sentences that say what happened, on which path, and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// For programs: lower-case words joined by `-`.
    pub(crate) token: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, token: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            exit,
            token,
            message,
        }
    }

    /// Why the connection was not made. [`Error::Interception`] is more than that: it comes with
    /// evidence.
    pub(crate) fn of_connection(error: &Error, to: &Endpoint, settings: &Settings) -> Self {
        let path = format!("the primary path `{}`", settings.primary);
        match error {
            Error::Dial(error) => primary_dial(error, &path),
            Error::Tls(rustls::Error::InvalidCertificate(reason)) => not_trusted(reason, to, &path),
            Error::NotSmkex(NotSmkex::Server(error)) => not_smkex(error, to, &path),
            Error::Tls(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
                nothing_in_common(to, &path)
            }
            Error::Tls(error) => tls_failed(&tls_error_message(error), to, &path),
            Error::Io(error) => tls_failed(error, to, &path),
            Error::TimedOut(what) => {
                Self::new(Exit::TimedOut, "timed-out", timed_out(*what, to, &path))
            }
            Error::Unverified(unverified) => not_verified(unverified, to, settings),
            Error::ApiMisuse(misuse) => Self::new(Exit::Usage, "usage", misuse.to_string()),
            Error::Interception(evidence) => Self::new(
                Exit::Interception,
                "interception",
                format!("interception detected: {}", evidence.reason),
            ),
            other => Self::new(Exit::Tls, "tls-failed", format!("{to} on {path}: {other}.")),
        }
    }

    /// `--max-time` was over.
    pub(crate) fn max_time(doing: &str) -> Self {
        let message = format!(
            "timed out while {doing}. Allow more with --max-time, or see with -vv what takes so long."
        );
        Self::new(Exit::TimedOut, "timed-out", message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn primary_dial(error: &DialError, path: &str) -> Failure {
    let (exit, token, advice) = match error.class() {
        DialFailureClass::Resolve => (
            Exit::Resolve,
            "could-not-resolve",
            "Check the name, give its address with --resolve, or name a nameserver with --dns.",
        ),
        DialFailureClass::TimedOut => (Exit::TimedOut, "timed-out", timed_out_advice(error)),
        _ => (
            Exit::Connect,
            "could-not-connect",
            "Check host and port, or choose another path with --primary.",
        ),
    };
    let message = format!(
        "could not reach {} over {path}: {}. {advice}",
        error.to, error.reason
    );
    Failure::new(exit, token, message)
}

fn timed_out_advice(error: &DialError) -> &'static str {
    match error.reason {
        DialFailure::TimedOut {
            stage: DialStage::Resolving,
            ..
        } => {
            "Name another nameserver with --dns, give the address with --resolve, or allow more with \
             --connect-timeout."
        }
        _ => "Check the network behind that path, or allow more with --connect-timeout.",
    }
}

fn not_trusted(reason: &CertificateError, to: &Endpoint, path: &str) -> Failure {
    let advice = match reason {
        CertificateError::UnknownIssuer => {
            "If you know its CA, name that with --cacert FILE or --system-roots."
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "Check the host's name."
        }
        _ => "The server's operator has to change it.",
    };
    let message = format!(
        "the certificate that came from {to} over {path} is not trusted: {}. {advice}",
        certificate_error_message(reason)
    );
    Failure::new(Exit::NotTrusted, "certificate-not-trusted", message)
}

fn tls_failed(error: &dyn fmt::Display, to: &Endpoint, path: &str) -> Failure {
    let message = format!(
        "TLS with {to} failed over {path}: {error}. Check that a TLS server listens there."
    );
    Failure::new(Exit::Tls, "tls-failed", message)
}

fn not_smkex(error: &rustls::Error, to: &Endpoint, path: &str) -> Failure {
    let message = format!(
        "{to} does not speak SMKEX over {path} ({}): it shows a certificate, or has nothing \
         in common with this client. Leave --smkex away.",
        tls_error_message(error)
    );
    Failure::new(Exit::Tls, "not-smkex", message)
}

fn nothing_in_common(to: &Endpoint, path: &str) -> Failure {
    let message = format!(
        "TLS with {to} failed over {path}: the server refused the handshake (handshake_failure). \
         It has nothing in common with this client; one without a certificate wants --smkex."
    );
    Failure::new(Exit::Tls, "tls-failed", message)
}

fn timed_out(what: TimedOut, to: &Endpoint, path: &str) -> String {
    match what {
        TimedOut::Deadline => format!(
            "TLS with {to} over {path} was not complete at the verification's deadline; nothing \
             was sent. Allow more with --deadline if the network is that slow."
        ),
        _ => format!(
            "the TLS handshake with {to} over {path} timed out. Allow more with --connect-timeout."
        ),
    }
}

fn not_verified(unverified: &Unverified, to: &Endpoint, settings: &Settings) -> Failure {
    let exit = match unverified.reason {
        Reason::Side(SideFailure::NoGreeting) => Exit::NoProtocol,
        _ => Exit::Unverified,
    };
    let path = unverified
        .side
        .and_then(|index| Some((index, settings.sides.get(index)?)));
    let path = match path {
        Some((index, path)) => format!("side path {} `{path}`: ", index + 1),
        None => String::new(),
    };
    let what = match (&unverified.dial, unverified.reason) {
        (Some(error), Reason::Side(SideFailure::Unreachable)) => {
            format!("could not reach {}: {}", error.to, error.reason)
        }
        (_, Reason::NotIndependent) => unverified.verdict.independence.to_string(),
        (_, reason) => reason.to_string(),
    };
    let dial = unverified.dial.as_ref().map(|error| error.class());
    let message = format!(
        "{to} is not verified, so nothing was sent: {path}{what}. {}",
        advice(unverified.reason, dial)
    );
    Failure::new(exit, unverified.reason.as_str(), message)
}

fn advice(reason: Reason, dial: Option<DialFailureClass>) -> &'static str {
    match reason {
        Reason::Side(SideFailure::Unreachable) if dial == Some(DialFailureClass::Resolve) => {
            "Name a nameserver for that path with --dns, or give the address with --resolve."
        }
        Reason::NotIndependent => {
            "Send the side over another network: --side if:NAME, or through a proxy."
        }
        Reason::Side(SideFailure::Unreachable) => {
            "Check that path, or say with --side-endpoint where the side verifier is."
        }
        Reason::Side(SideFailure::NoGreeting) => {
            "If the server has a side verifier elsewhere, name it with --side-endpoint; to go on \
             without one, use --policy prefer."
        }
        Reason::NotTls13 | Reason::Side(SideFailure::Rejected(_)) => {
            "Ask the server's operator, or try another side path."
        }
        _ => "Somebody may be in the way: try another side path with --side.",
    }
}
