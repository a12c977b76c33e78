//! Errors of dialling a path: one variant for each step.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::kind::PathKind;

/// Error of a dial.
///
/// ```
/// use std::time::Duration;
///
/// use mtls_core::path::{DialError, DialFailure, DialFailureClass, DialStage, PathKind};
///
/// # fn main() -> Result<(), mtls_core::path::EndpointError> {
/// let stage = DialStage::Connecting;
/// let after = Duration::from_secs(5);
/// let failure = DialFailure::TimedOut { stage, after };
/// let error = DialError::new(PathKind::Direct, "example.org:443".parse()?, failure);
/// assert_eq!(error.class(), DialFailureClass::TimedOut);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DialError {
    /// The path.
    pub via: PathKind,
    /// The target.
    pub to: Endpoint,
    /// The reason.
    pub reason: DialFailure,
}

impl DialError {
    /// A dial to `to` that failed over the path `via`.
    #[must_use]
    pub fn new(via: PathKind, to: Endpoint, reason: DialFailure) -> Self {
        Self { via, to, reason }
    }

    /// The step that failed, for the exit status of a program.
    #[must_use]
    pub fn class(&self) -> DialFailureClass {
        match &self.reason {
            DialFailure::Resolve { .. } | DialFailure::NoUsableAddress { .. } => {
                DialFailureClass::Resolve
            }
            DialFailure::TimedOut { .. } => DialFailureClass::TimedOut,
            DialFailure::Connect { error, .. } if error.kind() == io::ErrorKind::TimedOut => {
                DialFailureClass::TimedOut
            }
            DialFailure::Connect { .. }
            | DialFailure::Interface { .. }
            | DialFailure::Source { .. }
            | DialFailure::Proxy { .. }
            | DialFailure::Mptcp(_)
            | DialFailure::SubflowNotPermitted
            | DialFailure::KernelManagesSubflows
            | DialFailure::NoSubflow
            | DialFailure::Other(_) => DialFailureClass::Connect,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "could not reach {} over the path `{}`: {}",
            self.to, self.via, self.reason
        )
    }
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            DialFailure::Connect { error, .. }
            | DialFailure::Interface { error, .. }
            | DialFailure::Source { error, .. }
            | DialFailure::Mptcp(error)
            | DialFailure::Other(error) => Some(error.as_ref()),
            DialFailure::Proxy { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

/// The step of a dial that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DialFailureClass {
    /// A name could not be resolved, or not to an address that the path can reach.
    Resolve,
    /// No connection was established.
    Connect,
    /// The time limit has passed.
    TimedOut,
}

/// Reason of a failed dial.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DialFailure {
    /// The name could not be resolved.
    Resolve {
        /// The name: the target's, or the proxy's.
        name: String,
        /// The resolver.
        resolver: String,
        /// Its response.
        reason: String,
    },
    /// No address accepted the connection; this is the first one.
    Connect {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: Arc<io::Error>,
    },
    /// The path's time limit has passed.
    TimedOut {
        /// The step.
        stage: DialStage,
        /// The time limit.
        after: Duration,
    },
    /// The host has no address of the family of the path's source.
    NoUsableAddress {
        /// The host.
        host: String,
        /// The path's source.
        source: IpAddr,
    },
    /// The socket could not be bound to the path's interface.
    Interface {
        /// The interface.
        name: String,
        /// The system's reason.
        error: Arc<io::Error>,
    },
    /// The socket could not be bound to the path's source address.
    Source {
        /// The address.
        source: IpAddr,
        /// The system's reason.
        error: Arc<io::Error>,
    },
    /// The proxy refused.
    Proxy {
        /// The proxy.
        proxy: Endpoint,
        /// Its reason.
        refusal: ProxyRefusal,
    },
    /// The system could not create a socket of Multipath TCP.
    Mptcp(Arc<io::Error>),
    /// The process may not add subflows.
    SubflowNotPermitted,
    /// The kernel adds subflows itself, and no process can.
    KernelManagesSubflows,
    /// The further subflow was not established.
    NoSubflow,
    /// The system could not create a socket.
    Other(Arc<io::Error>),
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve {
                name,
                resolver,
                reason,
            } => {
                write!(f, "could not resolve `{name}` ({resolver}): {reason}")
            }
            Self::Connect { address, error } => {
                write!(f, "could not connect to {address}: {error}")
            }
            Self::TimedOut { stage, after } => {
                write!(f, "timed out while {stage}, after {} ms", after.as_millis())
            }
            Self::NoUsableAddress { host, source } => write!(
                f,
                "`{host}` has no IPv{} address, which the source {source} of the path needs",
                if source.is_ipv4() { 4 } else { 6 }
            ),
            Self::Interface { name, error } => fmt_interface(f, name, error),
            Self::Source { source, error } => fmt_source(f, *source, error),
            Self::Proxy { proxy, refusal } => write!(f, "the proxy {proxy} {refusal}"),
            Self::Mptcp(error) => write!(
                f,
                "this system has no Multipath TCP: {error}; enable it with `sysctl -w \
                 net.mptcp.enabled=1` in its network namespace (Linux 5.6 or later), or connect without \
                 it"
            ),
            Self::SubflowNotPermitted => f.write_str(
                "not permitted to add a subflow; run with CAP_NET_ADMIN, or use a side connection of \
                 its own (`if:NAME`)",
            ),
            Self::KernelManagesSubflows => f.write_str(
                "the kernel adds subflows itself here; run `sysctl -w \
                 net.mptcp.path_manager=userspace` (before Linux 6.16: `net.mptcp.pm_type=1`), or use \
                 a side connection of its own (`if:NAME`)",
            ),
            Self::NoSubflow => f.write_str("the further subflow was not established"),
            Self::Other(error) => write!(f, "could not open a socket: {error}"),
        }
    }
}

fn fmt_interface(f: &mut fmt::Formatter<'_>, name: &str, error: &io::Error) -> fmt::Result {
    match error.kind() {
        io::ErrorKind::PermissionDenied => write!(
            f,
            "not permitted to bind to the interface `{name}`: {error}; run with CAP_NET_RAW, or \
             use a source address (`src:IP`)"
        ),
        io::ErrorKind::Unsupported => {
            write!(
                f,
                "this system cannot bind to the interface `{name}`; use `src:IP`"
            )
        }
        // ENODEV has no kind of its own.
        _ => write!(
            f,
            "could not bind to the interface `{name}`: {error}; check that it exists"
        ),
    }
}

fn fmt_source(f: &mut fmt::Formatter<'_>, source: IpAddr, error: &io::Error) -> fmt::Result {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            write!(
                f,
                "{source} is not an address of this host; use one of its addresses (`ip address` lists them)"
            )
        }
        _ => write!(f, "could not bind to the source {source}: {error}"),
    }
}

/// A step of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DialStage {
    /// Resolving a name.
    Resolving,
    /// Connecting, to the target or to the proxy.
    Connecting,
    /// Waiting for the proxy's response.
    AwaitingProxy,
}

impl fmt::Display for DialStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "resolving a name",
            Self::Connecting => "connecting",
            Self::AwaitingProxy => "waiting for the proxy's response",
        })
    }
}

/// Reason of a proxy's refusal.
///
/// ```
/// use mtls_core::path::{DialError, DialFailure, ProxyRefusal};
///
/// fn needs_credentials(error: &DialError) -> bool {
///     matches!(
///         &error.reason,
///         DialFailure::Proxy {
///             refusal: ProxyRefusal::NoMethod { .. }
///                 | ProxyRefusal::Credentials
///                 | ProxyRefusal::HttpStatus(407),
///             ..
///         }
///     )
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProxyRefusal {
    /// A SOCKS5 reply other than "succeeded" (RFC 1928, section 6).
    Socks5Reply(u8),
    /// The SOCKS5 proxy accepts none of the authentication methods that were offered.
    NoMethod {
        /// A user name and password were among them.
        with_credentials: bool,
    },
    /// The SOCKS5 proxy rejected the user name and password (RFC 1929).
    Credentials,
    /// An HTTP status other than 2xx.
    HttpStatus(u16),
    /// Its response does not follow the protocol.
    Malformed(&'static str),
    /// The head of its HTTP response is longer than this many bytes.
    TooLong(usize),
    /// The target has a zone, which names an interface of this host; the proxy received no request.
    Zone,
    /// It closed the connection before its response was complete.
    Closed,
    /// The connection to it failed.
    Io(Arc<io::Error>),
}

impl From<io::Error> for ProxyRefusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socks5Reply(code) => {
                write!(f, "refused: {} (SOCKS reply {code})", socks5_reply(*code))
            }
            Self::NoMethod {
                with_credentials: true,
            } => f.write_str("accepts neither a user name and password nor their absence"),
            Self::NoMethod {
                with_credentials: false,
            } => f.write_str("requires credentials; write them as USER:PASSWORD@ before its host"),
            Self::Credentials => f.write_str("rejected the user name and password; check them"),
            Self::HttpStatus(407) => f.write_str(
                "refused with HTTP status 407: it requires other credentials; write them as \
                 USER:PASSWORD@ before its host",
            ),
            Self::HttpStatus(code) => {
                write!(f, "refused with HTTP status {code}{}", http_hint(*code))
            }
            Self::Malformed(what) => {
                write!(
                    f,
                    "sent an invalid response: {what}; check that it is a proxy of this kind"
                )
            }
            Self::TooLong(limit) => write!(f, "sent a response longer than {limit} bytes"),
            Self::Zone => f.write_str(
                "cannot connect to an address with a zone, which names an interface of this host; \
                 use a path without a proxy",
            ),
            Self::Closed => f.write_str("closed the connection before its response was complete"),
            Self::Io(error) => write!(f, "did not respond: {error}"),
        }
    }
}

impl std::error::Error for ProxyRefusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

/// RFC 1928, section 6.
fn socks5_reply(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "its rules do not allow the target",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown reason",
    }
}

fn http_hint(code: u16) -> &'static str {
    match code {
        403 => ": its rules do not allow the target",
        405 | 501 => ": it does not support CONNECT",
        502 | 503 => ": it cannot reach the target",
        504 => ": the target did not respond in time",
        _ => "",
    }
}
