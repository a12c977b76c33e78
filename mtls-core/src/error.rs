//! Error types, grouped by who must act.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;

use crate::known_hosts::{HostEntry, KeyPin, KnownHostsError};
use crate::path::{DialError, Endpoint, Independence};
use crate::proto::client::SideFailure;
use crate::proto::error::FrameError;
use crate::registry::RegisterError;
use crate::tls_message::tls_error_message;
use crate::verdict::evidence::Evidence;
use crate::verdict::method::Method;
use crate::verdict::policy::Policy;
use crate::verdict::resumption::ResumptionFailure;
use crate::verdict::{Reason, Verdict};

/// Error of a connection that was not made.
///
/// A failure of the primary path takes precedence over one of a side path. Messages name the path, the
/// cause and, where there is one, the remedy.
///
/// ```
/// use mtls_core::{Error, Reason};
///
/// fn advice(error: &Error) -> &'static str {
///     match error {
///         Error::Interception(_) => "save the evidence; do not retry over the same paths",
///         Error::Unverified(refused) if matches!(refused.reason, Reason::NotIndependent) => {
///             "choose another side path"
///         }
///         Error::Unverified(_) => "retry, or check the side path",
///         Error::ApiMisuse(_) => "change the settings",
///         _ => "retry as with plain TLS",
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller passed an invalid setting.
    ApiMisuse(ApiMisuse),
    /// The primary path could not be dialled.
    Dial(Box<DialError>),
    /// TLS failed on the primary path: the peer misbehaved, has nothing in common with this end,
    /// or showed a certificate that is not trusted.
    Tls(rustls::Error),
    /// One end speaks SMKEX ([`smkex`](crate::smkex)), and the other does not.
    NotSmkex(NotSmkex),
    /// A connection to a client: what it sent is neither TLS nor the side protocol, or ended
    /// too soon.
    InvalidMessage(InvalidMessage),
    /// **An attacker is on one of the paths**, or the servers of a fleet do not share their registry.
    /// Never under [`Policy::Observe`](crate::Policy::Observe), which reports it in the verdict.
    Interception(Box<Evidence>),
    /// Server: a side connection sent a wrong value for this handshake, and none sent the right one.
    Disputed(Box<Verdict>),
    /// The policy refuses a connection that was not verified.
    Unverified(Box<Unverified>),
    /// The connection violates the entry of a known host ([`known_hosts`](crate::known_hosts)).
    KnownHost(Box<KnownHostViolation>),
    /// The known hosts could not be looked up, so nothing was sent.
    KnownHosts(KnownHostsError),
    /// Server: the shared registry does not let this machine complete handshakes.
    Registry(RegisterError),
    /// The primary path took too long.
    TimedOut(TimedOut),
    /// The primary connection broke.
    Io(io::Error),
    /// The primary connection, of QUIC, was not established or broke.
    #[cfg(feature = "quic")]
    Quic(quinn::ConnectionError),
}

/// A connection that the policy refuses.
///
/// ```
/// use mtls_core::{Error, Unverified};
///
/// /// The refused connection, for a log or a page.
/// fn refused(error: Error) -> Option<Unverified> {
///     match error {
///         Error::Unverified(unverified) => Some(*unverified),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unverified {
    /// The side path that failed, counted from 0, if one did.
    pub side: Option<usize>,
    /// The reason.
    pub reason: Reason,
    /// The error of dialling that side path, if it was not dialled.
    pub dial: Option<Arc<DialError>>,
    /// Of a suspicion: the certificates that both paths presented.
    pub evidence: Option<Box<Evidence>>,
    /// Everything that is known of the connection.
    pub verdict: Verdict,
}

/// A connection that violates the entry of a known host.
///
/// ```
/// use mtls_core::{Error, Violation};
///
/// /// Whether the user should compare the server's new key before they accept it.
/// fn shows_a_new_key(error: &Error) -> bool {
///     let Error::KnownHost(violated) = error else {
///         return false;
///     };
///     matches!(violated.violation, Violation::KeyChanged(_))
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownHostViolation {
    /// The host and port of the entry.
    pub host: Endpoint,
    /// The entry.
    pub entry: HostEntry,
    /// The violation.
    pub violation: Violation,
    /// Everything that is known of the connection.
    pub verdict: Verdict,
}

/// The way in which a connection violates the entry of its host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Violation {
    /// The server was verified before, and this connection was not. Without the entry the policy
    /// would have accepted it, or the server seems to support no verification any more.
    Unverified(Box<Unverified>),
    /// The server showed another raw public key than before.
    KeyChanged(KeyPin),
}

/// An invalid setting or argument, which the caller must change.
///
/// ```
/// use mtls_core::relay::ClientRelay;
/// use mtls_core::{ApiMisuse, ClientSettings, Error, Policy};
///
/// let provider = rustls::crypto::aws_lc_rs::default_provider();
/// let without_side_path = ClientSettings::new(Policy::Require);
/// let refused = ClientRelay::builder(&provider, without_side_path).build();
/// assert!(matches!(refused, Err(Error::ApiMisuse(ApiMisuse::NoSidePath))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// A connector without a side path.
    NoSidePath,
    /// A deadline or timeout of zero.
    ZeroDuration(&'static str),
    /// A limit of zero.
    ZeroLimit(&'static str),
    /// A host that is no server name of TLS.
    InvalidServerName(String),
    /// No binding on offer.
    NoBinding,
    /// A TLS configuration with application protocols, where the builder sets them.
    AlpnAlreadySet,
    /// A policy other than [`Policy::Require`] with [`smkex`](crate::smkex).
    SmkexPolicy(Policy),
    /// Session tickets with [`smkex`](crate::smkex), which resumes no sessions.
    SmkexTickets,
    /// Tickets of a side path in advance, for a connector that could not verify by them.
    Prefetch,
    /// Inheritance without session tickets.
    InheritTickets,
    /// A method other than the side protocol, where there is no resumption.
    SmkexMethod,
    /// A TLS configuration for an acceptor that makes its own.
    SmkexConfig,
    /// A proxy as the primary path of QUIC, which is carried by UDP: SOCKS5 and CONNECT proxies here
    /// carry TCP.
    QuicProxy(String),
    /// A side path inside a Multipath TCP connection, for QUIC.
    QuicSubflow(String),
    /// A method other than the side protocol for QUIC.
    QuicMethod(Method),
    /// A QUIC connection whose registry answers later, on an endpoint that cannot hold its datagrams
    /// back until then.
    QuicEndpoint,
    /// More than one side path inside the primary connection.
    SeveralSubflows,
    /// A side path inside the primary connection, which is not one of Multipath TCP, or of a caller
    /// that opens it.
    SubflowWithoutMptcp,
    /// A side path inside the primary connection with another method than the side protocol, with
    /// inheritance, or in a relay.
    SubflowMethod,
    /// A URI that names no server to connect to.
    InvalidUri(String),
    /// A URI whose scheme is not `https`, to a connector that does not take it.
    NotHttps(String),
}

/// The end of a connection that does not speak SMKEX, to one that does.
///
/// ```
/// use mtls_core::{Error, NotSmkex};
///
/// /// Whether to connect again with certificates.
/// fn has_certificates(error: &Error) -> bool {
///     matches!(error, Error::NotSmkex(NotSmkex::Server(_)))
/// }
/// # assert!(has_certificates(&Error::NotSmkex(NotSmkex::Server(rustls::Error::HandshakeNotComplete))));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NotSmkex {
    /// The server has a certificate and no raw public key, or refused the handshake.
    Server(rustls::Error),
    /// The client requires a certificate.
    Client(rustls::Error),
}

/// Invalid first bytes, or an invalid side protocol, from a client.
///
/// ```
/// use mtls_core::{Error, InvalidMessage};
///
/// // A health check that connects and closes needs no line in a log.
/// fn is_worth_a_log_line(error: &Error) -> bool {
///     !matches!(error, Error::InvalidMessage(InvalidMessage::EndedEarly))
/// }
/// # assert!(!is_worth_a_log_line(&InvalidMessage::EndedEarly.into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// It closed before it had sent a ClientHello or a greeting.
    EndedEarly,
    /// Its first byte starts neither a TLS handshake record nor the greeting.
    NeitherTlsNorSide(u8),
    /// TLS on a listener that takes only side connections.
    TlsOnSideListener,
    /// Its bytes on a side connection are not the side protocol.
    Side(FrameError),
}

/// The step that exceeded its time limit.
///
/// ```
/// use mtls_core::{Error, TimedOut};
///
/// /// A server without a free slot is overloaded; a silent client is not its fault.
/// fn is_overload(error: &Error) -> bool {
///     matches!(error, Error::TimedOut(TimedOut::Busy))
/// }
/// # assert!(is_overload(&Error::TimedOut(TimedOut::Busy)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimedOut {
    /// The first bytes of a client.
    ClientHello,
    /// The TLS handshake.
    Handshake,
    /// TLS was not complete when the verification's deadline passed.
    Deadline,
    /// No slot for one more handshake became free.
    Busy,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiMisuse(misuse) => misuse.fmt(f),
            Self::Dial(error) => write!(f, "primary path: {error}"),
            Self::Tls(error @ rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
                write!(
                    f,
                    "primary path: TLS failed: {error}: the server has nothing in common with this \
                     client, or no certificate because it speaks SMKEX"
                )
            }
            Self::Tls(error) => {
                write!(f, "primary path: TLS failed: {}", tls_error_message(error))
            }
            Self::NotSmkex(end) => end.fmt(f),
            Self::InvalidMessage(message) => message.fmt(f),
            Self::Interception(evidence) => write!(
                f,
                "interception detected: {evidence}; an attacker is on one of the paths, or the server's \
                 machines do not share their registry; nothing was sent"
            ),
            Self::Disputed(_) => f.write_str(
                "a side connection sent a wrong value for this handshake: an attacker is on one of the \
                 paths",
            ),
            Self::Unverified(unverified) => unverified.fmt(f),
            Self::KnownHost(violation) => violation.fmt(f),
            Self::KnownHosts(error) => write!(f, "{error}; nothing was sent"),
            Self::Registry(error) => write!(f, "handshake refused: {error}"),
            Self::TimedOut(what) => what.fmt(f),
            Self::Io(error) => write!(f, "primary path: {error}"),
            #[cfg(feature = "quic")]
            Self::Quic(error) => write!(f, "primary path: QUIC failed: {error}"),
        }
    }
}

impl fmt::Display for NotSmkex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => write!(
                f,
                "primary path: the server does not speak SMKEX ({error}): it has no raw public \
                 key; connect with certificates"
            ),
            Self::Client(error) => write!(
                f,
                "the client does not speak SMKEX ({error}): it requires a certificate, and this \
                 server has a raw public key instead"
            ),
        }
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(side) = self.side {
            write!(f, "side path {}: ", side + 1)?;
        }
        match (&self.dial, self.reason) {
            (
                Some(error),
                Reason::Side(SideFailure::Unreachable)
                | Reason::Resumption(ResumptionFailure::SideUnreachable),
            ) => error.fmt(f)?,
            (_, Reason::NotIndependent) => write!(
                f,
                "the paths are not independent: {}",
                self.verdict.independence()
            )?,
            (_, reason) => reason.fmt(f)?,
        }
        if let Some(error) = self.side_error() {
            write!(f, ": {error}")?;
        }
        f.write_str("; nothing was sent, because the policy demands verification")
    }
}

impl fmt::Display for KnownHostViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.violation {
            Violation::Unverified(unverified) => write!(
                f,
                "{host} was verified before and must be again: {unverified}; an attacker may be on a \
                 path, or the server changed: remove its entry only if its operator confirms that"
            ),
            Violation::KeyChanged(key) => write!(
                f,
                "{host} showed another raw public key than before, sha256 {key}; nothing was sent: an \
                 attacker may be on all paths, or the server has a new key: accept it only if its \
                 operator confirms that"
            ),
        }
    }
}

impl fmt::Display for ApiMisuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSidePath => f.write_str("no side path: add one with `side(Path::…)`"),
            Self::ZeroDuration(name) => write!(f, "`{name}` must be longer than zero"),
            Self::ZeroLimit(name) => write!(f, "`{name}` must be at least 1"),
            Self::InvalidServerName(name) => {
                write!(f, "`{name}` is neither a DNS name nor an IP address")
            }
            Self::NoBinding => {
                f.write_str("no binding is offered: offer `exporter`, `hello` or both")
            }
            Self::AlpnAlreadySet => f.write_str(
                "the TLS configuration names application protocols (ALPN), which `enable_http1` and \
                 `enable_http2` set: omit them",
            ),
            Self::SmkexPolicy(policy) => write!(
                f,
                "SMKEX allows no policy `{policy}`: only the verification authenticates the server; \
                 set `require`"
            ),
            Self::SmkexTickets => {
                f.write_str("SMKEX resumes no sessions: omit `tickets`, or set it to 0")
            }
            Self::Prefetch => f.write_str(
                "`prefetch` needs `Method::Resumption`, a single side path, tickets, and no client \
                 certificate: the side path must not see that",
            ),
            Self::InheritTickets => f.write_str(
                "`inherit` needs session tickets, which `tickets(0)` turns off and SMKEX has not: \
                 omit one of them",
            ),
            Self::SmkexMethod => f.write_str(
                "SMKEX resumes no sessions: omit `method`, or set it to `Method::Side`",
            ),
            Self::SmkexConfig => f.write_str(
                "SMKEX has no certificate to renew: leave its TLS configuration as it is",
            ),
            Self::QuicProxy(proxy) => write!(
                f,
                "QUIC cannot use the proxy `{proxy}` as its primary path: it is carried by UDP, and the \
                 proxy carries TCP; use `direct`, `if:NAME` or `src:IP`, or connect by TCP"
            ),
            Self::QuicSubflow(side) => write!(
                f,
                "QUIC cannot use the side path `{side}`: it is inside a connection of Multipath TCP, and \
                 QUIC is carried by UDP; use `if:NAME` or `src:IP`, or connect by TCP"
            ),
            Self::QuicMethod(method) => write!(
                f,
                "QUIC is not verified by the method `{method}`: set `Method::Side` or `Method::Auto`"
            ),
            Self::QuicEndpoint => f.write_str(
                "this endpoint cannot hold datagrams back until the registry has answered: make it with \
                 `QuicAcceptor::endpoint`",
            ),
            Self::SeveralSubflows => {
                f.write_str("only one side path can be inside the connection (`mptcp:…`)")
            }
            Self::SubflowWithoutMptcp => f.write_str(
                "a side path inside the connection (`mptcp:…`) needs a primary path of Multipath TCP, \
                 which the connector dials: call `mptcp(true)` on it",
            ),
            Self::SubflowMethod => f.write_str(
                "a side path inside the connection (`mptcp:…`) verifies by the side protocol, for an \
                 end with keys: omit another method and inheritance, and use `if:NAME` with a relay",
            ),
            Self::InvalidUri(uri) => {
                write!(
                    f,
                    "`{uri}` names no server: expected `https://HOST[:PORT]/…`"
                )
            }
            Self::NotHttps(uri) => write!(
                f,
                "`{uri}` is not https: nothing could verify it, so this connector refuses it; \
                 use https, or `https_or_http` with a policy other than `require`"
            ),
        }
    }
}

impl fmt::Display for InvalidMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndedEarly => f.write_str("the client closed before its hello was complete"),
            Self::NeitherTlsNorSide(byte) => write!(
                f,
                "expected TLS or the side protocol's greeting, got a first byte of {byte:#04x}"
            ),
            Self::TlsOnSideListener => {
                f.write_str("expected a side connection, got TLS: this listener takes no TLS")
            }
            Self::Side(error) => write!(f, "side connection: {error}"),
        }
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientHello => "timed out: the client sent no complete hello",
            Self::Handshake => "primary path: the TLS handshake timed out",
            Self::Deadline => {
                "primary path: TLS was not complete at the verification's deadline; nothing was sent"
            }
            Self::Busy => "timed out: too many handshakes are under way",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Dial(error) => Some(&**error),
            Self::Tls(error)
            | Self::NotSmkex(NotSmkex::Server(error) | NotSmkex::Client(error)) => Some(error),
            Self::Registry(error) => Some(error),
            Self::Io(error) => Some(error),
            #[cfg(feature = "quic")]
            Self::Quic(error) => Some(error),
            Self::KnownHosts(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ApiMisuse> for Error {
    fn from(misuse: ApiMisuse) -> Self {
        Self::ApiMisuse(misuse)
    }
}

impl From<KnownHostsError> for Error {
    fn from(error: KnownHostsError) -> Self {
        Self::KnownHosts(error)
    }
}

impl From<InvalidMessage> for Error {
    fn from(message: InvalidMessage) -> Self {
        Self::InvalidMessage(message)
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<io::Error> for Error {
    /// A TLS error that tokio-rustls has wrapped is taken out again.
    fn from(error: io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => Self::Tls(tls.clone()),
            None => Self::Io(error),
        }
    }
}

impl From<Error> for io::Error {
    /// The error itself, where it is one of I/O; else it is the inner error.
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            Error::TimedOut(_) => Self::new(io::ErrorKind::TimedOut, error),
            Error::Tls(_) | Error::InvalidMessage(_) => {
                Self::new(io::ErrorKind::InvalidData, error)
            }
            Error::Disputed(_)
            | Error::Unverified(_)
            | Error::KnownHost(_)
            | Error::KnownHosts(_)
            | Error::Interception(_) => Self::new(io::ErrorKind::PermissionDenied, error),
            _ => Self::other(error),
        }
    }
}

impl Unverified {
    /// The independence that was found.
    pub fn independence(&self) -> Independence {
        self.verdict.independence()
    }

    /// The TLS error of the side path that failed.
    fn side_error(&self) -> Option<&str> {
        let path = self.verdict.paths.get(1 + self.side?)?;
        path.error.as_deref()
    }
}

pub(crate) fn non_zero_durations(durations: &[(&'static str, Duration)]) -> Result<(), ApiMisuse> {
    match durations.iter().find(|(_, duration)| duration.is_zero()) {
        Some((name, _)) => Err(ApiMisuse::ZeroDuration(name)),
        None => Ok(()),
    }
}
