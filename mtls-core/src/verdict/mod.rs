//! The verdict: the result of verifying one connection.

pub(crate) mod evidence;
pub(crate) mod inheritance;
pub(crate) mod method;
pub(crate) mod mptcp;
pub(crate) mod policy;
mod report;
pub(crate) mod resumption;

use std::fmt;

use serde::{Serialize, Serializer};

use crate::path::Independence;
use crate::proto::binding::{Association, Binding};
use crate::proto::client::{InterceptionReason, SideFailure, SideProof};
use crate::proto::error::HelloError;
use crate::registry::SideStatus;

use inheritance::{Inheritance, Origin};
use method::Method;
use mptcp::MptcpFailure;
use resumption::{ResumptionFailure, ResumptionProof};

pub use report::{Inside, PathReport, PathRole, Times, TlsReport};
pub(crate) use report::{RAW_PUBLIC_KEY, hex, hex_sha256, public_key};

/// Everything that is known of one connection's verification. Never a bool: look at
/// [`outcome`](Self::outcome).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Verified, unverified, or intercepted.
    pub outcome: Outcome,
    /// The method that led to the outcome: the weaker one where the side paths differ, and that of
    /// the [origin](Verified::inheritance) of an inherited verification.
    pub method: Method,
    /// The handshake's name on side connections (`docs/protocol.md`, section 3.1); `None` where
    /// the ClientHello could not be read.
    pub association: Option<Association>,
    /// The primary path first, then the side paths: a client's in the order of their
    /// configuration, a server's in the order of their confirmations.
    pub paths: Vec<PathReport>,
    /// The TLS connection.
    pub tls: TlsReport,
    /// The times of its steps.
    pub times: Times,
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A client: every side path verified the handshake. A server: at least one did; what that
    /// means, and what not, is in `docs/threat-model.md`.
    Verified(Verified),
    /// Nothing was shown, either way.
    Unverified(Reason),
    /// Client, with [`ClientSettings::allow_pinned`](crate::ClientSettings::allow_pinned): no side
    /// path could be connected, for this reason, and the server showed a public key that earlier
    /// verified connections had shown. Less than verified: a stolen key is not detected.
    Pinned(Reason),
    /// One of the paths is attacked. A stream carries this only under
    /// [`Policy::Observe`](crate::verdict::policy::Policy::Observe).
    Intercepted(InterceptionReason),
}

/// Proof that a handshake was verified: only a check that succeeded makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    sides: Vec<SideProof>,
    resumptions: Vec<ResumptionProof>,
    inheritance: Option<Inheritance>,
}

impl Verified {
    /// `None` without a single proof: nothing verified means not verified.
    pub(crate) fn new(sides: Vec<SideProof>, resumptions: Vec<ResumptionProof>) -> Option<Self> {
        (!sides.is_empty() || !resumptions.is_empty()).then_some(Self {
            sides,
            resumptions,
            inheritance: None,
        })
    }

    /// A resumed session that descends from a verified connection.
    pub(crate) fn inherited(inheritance: Inheritance) -> Self {
        Self {
            sides: Vec::new(),
            resumptions: Vec::new(),
            inheritance: Some(inheritance),
        }
    }

    /// The proofs of the side paths that verified by the side protocol, one for each.
    pub fn sides(&self) -> &[SideProof] {
        &self.sides
    }

    /// The proofs of the side paths that verified by resumption, which are weaker.
    pub fn resumptions(&self) -> &[ResumptionProof] {
        &self.resumptions
    }

    /// The inheritance from an earlier connection; `None` where side paths verified this one. A
    /// verification is either inherited or made, so both other lists are empty if it is inherited.
    pub fn inheritance(&self) -> Option<&Inheritance> {
        self.inheritance.as_ref()
    }

    /// The weakest method of the side paths: [`Method::Side`] or [`Method::Resumption`]. That of the
    /// origin where the verification is inherited.
    pub fn method(&self) -> Method {
        match (&self.inheritance, self.resumptions.is_empty()) {
            (Some(inheritance), _) => inheritance.origin().method,
            (None, true) => Method::Side,
            (None, false) => Method::Resumption,
        }
    }

    /// The statement that is proven, as a token for programs: `same-handshake`, or
    /// `same-ticket-domain` by resumption and by inheritance.
    pub fn proves(&self) -> &'static str {
        match self.inheritance {
            Some(_) => Method::Resumption.proves(),
            None => self.method().proves(),
        }
    }

    /// The weakest binding of the side paths; `None` where one verified by resumption, which binds
    /// no handshake, and where the verification is inherited.
    pub fn binding(&self) -> Option<Binding> {
        let hello = |proof: &SideProof| proof.binding() == Binding::Hello;
        match (self.proves(), self.sides.iter().any(hello)) {
            ("same-handshake", true) => Some(Binding::Hello),
            ("same-handshake", false) => Some(Binding::Exporter),
            _ => None,
        }
    }
}

/// Reason of a connection that is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Client: a side path failed.
    Side(SideFailure),
    /// Client: a side path did not verify by resumption.
    Resumption(ResumptionFailure),
    /// Client: the side path inside the Multipath TCP connection did not verify.
    Mptcp(MptcpFailure),
    /// Client: the paths are not independent, and the policy demands that.
    NotIndependent,
    /// Client, under [`Policy::Prefer`](crate::Policy::Prefer): an earlier connection has shown that
    /// the server supports no verification over these side paths, so none was tried
    /// ([`known_hosts`](crate::known_hosts)).
    KnownUnsupported,
    /// Server, under [`Policy::Prefer`](crate::Policy::Prefer): the client has sent no
    /// application data yet, which decides the verdict.
    Undecided,
    /// Server: no side connection has sent an Open for this handshake.
    NoSideConnection,
    /// Server: a side connection has sent an Open, and not confirmed in time.
    NotConfirmed,
    /// Server: the registry did not take the handshake.
    NotRegistered,
    /// The handshake was not TLS 1.3.
    NotTls13,
    /// Relay: the client's first byte begins no TLS handshake.
    NotTls,
    /// Relay: the client offers early data, which the issuer of its ticket can read
    /// (`docs/protocol.md`, section 8.2).
    EarlyData,
    /// Relay: the hellos cannot be bound.
    Hello(HelloError),
}

impl Reason {
    /// A token for programs: lower-case words joined by `-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Side(failure) => failure.as_str(),
            Self::Resumption(failure) => failure.as_str(),
            Self::Mptcp(failure) => failure.as_str(),
            Self::NotIndependent => "not-independent",
            Self::KnownUnsupported => "known-unsupported",
            Self::Undecided => "undecided",
            Self::NoSideConnection => "no-side-connection",
            Self::NotConfirmed => "not-confirmed",
            Self::NotRegistered => "not-registered",
            Self::NotTls13 => "not-tls13",
            Self::NotTls => "not-tls",
            Self::EarlyData => "early-data",
            Self::Hello(_) => "unusable-hello",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Side(failure) => failure.fmt(f),
            Self::Resumption(failure) => failure.fmt(f),
            Self::Mptcp(failure) => failure.fmt(f),
            Self::NotIndependent => f.write_str("the paths are not independent"),
            Self::KnownUnsupported => f.write_str(
                "the server supported no verification a short time ago, so none was tried",
            ),
            Self::Undecided => {
                f.write_str("the verdict waits for the client's first application data")
            }
            Self::NoSideConnection => {
                f.write_str("no side connection sent an Open for this handshake")
            }
            Self::NotConfirmed => f.write_str("the side connection did not confirm in time"),
            Self::NotRegistered => f.write_str("the registry did not take the handshake"),
            Self::NotTls13 => f.write_str("the handshake was not TLS 1.3"),
            Self::NotTls => f.write_str("the client does not speak TLS"),
            Self::EarlyData => f.write_str(
                "the client offers early data, which an attacker who once gave it a ticket can \
                 read: turn early data off in the client",
            ),
            Self::Hello(error) => error.fmt(f),
        }
    }
}

impl Outcome {
    /// The outcome that a server's side connections have shown; `None` if they have shown none.
    pub(crate) fn from_status(status: &SideStatus) -> Option<Self> {
        let sides = &status.confirmations;
        let proofs = sides.iter().map(|side| side.confirmation.proof()).collect();
        match Verified::new(proofs, Vec::new()) {
            Some(verified) => Some(Self::Verified(verified)),
            None if status.disputed => Some(Self::Intercepted(InterceptionReason::WrongValue)),
            None if status.opened => Some(Self::Unverified(Reason::NotConfirmed)),
            None => None,
        }
    }

    /// `verified`, `unverified`, `pinned` or `intercepted`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Verified(_) => "verified",
            Self::Unverified(_) => "unverified",
            Self::Pinned(_) => "pinned",
            Self::Intercepted(_) => "intercepted",
        }
    }

    /// The reason as a token, where there is one.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Verified(_) => None,
            Self::Unverified(reason) | Self::Pinned(reason) => Some(reason.as_str()),
            Self::Intercepted(reason) => Some(reason.as_str()),
        }
    }
}

impl Verdict {
    /// The weakest independence of any side path from the primary path; that of the origin where the
    /// verification is inherited. Servers cannot know.
    ///
    /// The first call looks unbound paths up in the kernel's routes, in some µs for each.
    pub fn independence(&self) -> Independence {
        if let Some(inheritance) = self.inheritance() {
            return inheritance.origin().independence();
        }
        let sides = self.paths.iter().filter_map(PathReport::independence);
        Independence::weakest(sides)
    }

    /// The proofs, when the connection is verified.
    pub fn verified(&self) -> Option<&Verified> {
        match &self.outcome {
            Outcome::Verified(verified) => Some(verified),
            _ => None,
        }
    }

    /// The inheritance, when the verification is inherited.
    pub fn inheritance(&self) -> Option<&Inheritance> {
        self.verified().and_then(Verified::inheritance)
    }

    /// Brings a server's verdict up to what its side connections have said.
    pub(crate) fn apply_status(&mut self, status: &SideStatus) {
        let Some(outcome) = Outcome::from_status(status) else {
            return;
        };
        self.outcome = outcome;
        let sides = &status.confirmations;
        self.paths.retain(|path| path.role == PathRole::Primary);
        self.paths.extend(sides.iter().map(|side| PathReport {
            peer: Some(side.peer),
            result: Some("verified"),
            ..PathReport::unknown(PathRole::Side)
        }));
    }

    /// The binding that was reached: the weakest of the side paths.
    pub fn binding(&self) -> Option<Binding> {
        self.verified().and_then(Verified::binding)
    }
}

impl Serialize for Verdict {
    /// `{"verdict", "reason", "method", "proves", "origin", "age_s", "binding", "association",
    /// "independence", "paths", "tls", "times_ms"}`. Null without an inheritance: `origin`, and
    /// `age_s`, its age in seconds.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            verdict: &'static str,
            reason: Option<&'static str>,
            method: Method,
            proves: Option<&'static str>,
            origin: Option<&'a Origin>,
            age_s: Option<u64>,
            binding: Option<&'static str>,
            association: Option<String>,
            independence: Independence,
            paths: &'a [PathReport],
            tls: &'a TlsReport,
            times_ms: Times,
        }
        Fields {
            verdict: self.outcome.as_str(),
            reason: self.outcome.reason(),
            method: self.method,
            proves: self.verified().map(Verified::proves),
            origin: self.inheritance().map(Inheritance::origin),
            age_s: self.inheritance().map(|found| found.age().as_secs()),
            binding: self.binding().map(Binding::as_str),
            association: self.association.map(|association| association.to_string()),
            independence: self.independence(),
            paths: &self.paths,
            tls: &self.tls,
            times_ms: self.times,
        }
        .serialize(serializer)
    }
}
