//! Tokens for labels: lower-case words, joined by `-`, and a bounded number of them.

use mtls_core::proto::frame::FrameBody;
use mtls_core::registry::RegisterError;
use mtls_core::{Error, InvalidMessage, TimedOut};
use rustls::AlertDescription;

/// The failure of a connection.
pub(super) fn failure(error: &Error) -> &'static str {
    match error {
        Error::Dial(_) => "target-unreachable",
        Error::Tls(error) => tls(error),
        Error::NotSmkex(_) => "not-smkex",
        Error::InvalidMessage(message) => match message {
            InvalidMessage::EndedEarly => "ended-early",
            InvalidMessage::NeitherTlsNorSide(_) => "neither-tls-nor-side",
            InvalidMessage::TlsOnSideListener => "tls-on-side-listener",
            _ => "invalid-message",
        },
        Error::Disputed(_) => "disputed",
        Error::Unverified(unverified) => unverified.reason.as_str(),
        Error::TimedOut(timed_out) => match timed_out {
            TimedOut::ClientHello => "timed-out-client-hello",
            TimedOut::Handshake => "timed-out-handshake",
            TimedOut::Deadline => "timed-out-deadline",
            TimedOut::Busy => "busy",
            _ => "timed-out",
        },
        Error::Registry(error) => unregistered(*error),
        Error::Io(_) => "io",
        Error::Quic(_) => "quic",
        _ => "other",
    }
}

fn tls(error: &rustls::Error) -> &'static str {
    use rustls::Error::{
        AlertReceived, InvalidCertificate, InvalidMessage, NoCertificatesPresented,
        PeerIncompatible, PeerMisbehaved,
    };
    match error {
        AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown,
        ) => "tls-client-distrusts-certificate",
        AlertReceived(_) => "tls-alert-received",
        PeerIncompatible(_) => "tls-incompatible",
        PeerMisbehaved(_) => "tls-misbehaved",
        NoCertificatesPresented => "tls-no-client-certificate",
        InvalidCertificate(_) => "tls-invalid-client-certificate",
        InvalidMessage(_) => "tls-invalid-message",
        _ => "tls-other",
    }
}

/// The reason why a handshake was not registered.
pub(super) fn unregistered(error: RegisterError) -> &'static str {
    match error {
        RegisterError::Taken => "taken",
        RegisterError::Full { .. } => "full",
        RegisterError::Unavailable => "registry-unavailable",
        RegisterError::Isolated => "registry-isolated",
        _ => "other",
    }
}

/// The fault of a side connection.
pub(super) fn side_fault(error: &Error) -> &'static str {
    match error {
        Error::InvalidMessage(InvalidMessage::Side(error)) => error.as_str(),
        Error::Io(_) => "io",
        _ => "other",
    }
}

/// A frame's kind, and the code of a Reject.
pub(super) fn frame(body: &FrameBody) -> (&'static str, &'static str) {
    let code = match body {
        FrameBody::Reject { code } => code.as_str(),
        _ => "none",
    };
    (body.as_str(), code)
}
