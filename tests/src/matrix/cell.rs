//! One cell of the table: the attackers, the protocol, the expected result and the attempts.

use clap::ValueEnum;
use serde::{Serialize, Serializer};

use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};

/// The protocol under attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Unauthenticated key exchange over one path, as in tcpcrypt: TLS 1.3 with raw public keys
    /// that are not checked.
    Unauthenticated,
    /// TLS 1.3 with certificates.
    Tls,
    /// SMKEX: the side protocol without certificates.
    Smkex,
    /// Multipath TLS with the hello binding.
    MtlsHello,
    /// Multipath TLS with the exporter binding.
    MtlsExporter,
    /// TLS 1.3 between two ends without multipath support, with a relay at each.
    Relays,
    /// Verification by resumption of a server that does not support multipath TLS.
    Resumption,
    /// Multipath TLS, or verification by resumption where the server sends no greeting.
    Auto,
    /// QUIC with certificates, as quinn speaks it.
    Quic,
    /// Multipath TLS over QUIC, with the exporter binding.
    MtlsQuic,
    /// Multipath TLS inside one Multipath TCP connection, with the exporter binding.
    MtlsMptcp,
}

/// The credentials of the attackers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Their own key, and a certificate that no trusted CA has issued.
    HonestCas,
    /// A certificate from a CA that the client trusts.
    RogueCa,
    /// The server's private key.
    StolenKey,
    /// A certificate from a CA that the client trusts, and the key of the server's session tickets.
    StolenTicketKey,
}

/// The result for a client, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It used the connection, and no attacker read a secret.
    Protected,
    /// There was no connection, and no attacker read a secret.
    Refused,
    /// The experiment failed for another reason.
    Failed,
    /// An attacker read a secret.
    Broken,
}

/// The role of an attacker on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Passive,
    Active,
}

/// The attackers on the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attackers {
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    pub(super) primary: Presence,
    pub(super) sides: &'static [Presence],
    /// Whether they communicate in time.
    pub(super) communicate: bool,
    /// Whether it is a single attacker next to the server, where the paths meet.
    pub(super) next_to_server: bool,
}

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) attackers: Attackers,
    pub(super) trust: Trust,
    pub(super) protocol: Protocol,
    /// The expected result, or the reason why there is no attack.
    pub(super) expected: Result<Outcome, String>,
    /// The attacks, in their order.
    pub(super) attempts: Vec<Attempt>,
}

/// One attack on a client of its own, and its result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Attempt {
    pub(super) result: Outcome,
    /// A description of the attack.
    pub(super) attack: String,
    /// The client's result.
    pub(super) client: String,
    /// The attackers' results.
    pub(super) attackers: Vec<AttackerReport>,
    pub(super) milliseconds: u64,
}

/// The result of an attack for one attacker.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AttackerReport {
    pub(super) who: &'static str,
    /// The data that they saw: bytes on the wire for a reader, bytes of the application for a man in
    /// the middle, side connections for an attacker on a side path.
    pub(super) saw: String,
    /// The secrets of the two ends that they read in the clear.
    pub(super) secrets: Vec<&'static str>,
}

impl AttackerReport {
    /// A report of an attacker who has read these of the two secrets.
    pub(super) fn new(who: &'static str, saw: String, has_request: bool, has_page: bool) -> Self {
        let secrets = [(REQUEST_SECRET, has_request), (PAGE_SECRET, has_page)].into_iter();
        Self {
            who,
            saw,
            secrets: secrets
                .filter_map(|(secret, has)| has.then_some(secret))
                .collect(),
        }
    }
}

impl Cell {
    /// The reason why there is no attack, if there is none.
    pub(super) fn skipped(&self) -> Option<&str> {
        self.expected.as_ref().err().map(String::as_str)
    }

    /// The observed result: the worst of the attempts.
    pub(super) fn observed(&self) -> Outcome {
        self.worst()
            .map_or(Outcome::Failed, |attempt| attempt.result)
    }

    /// The expected and the observed result, if they differ.
    pub(super) fn difference(&self) -> Option<(Outcome, Outcome)> {
        let (expected, observed) = (*self.expected.as_ref().ok()?, self.observed());
        (expected != observed).then_some((expected, observed))
    }

    pub(super) fn as_expected(&self) -> bool {
        self.difference().is_none()
    }

    /// The worst attempt.
    pub(super) fn worst(&self) -> Option<&Attempt> {
        // The first of those that are equally bad.
        self.attempts
            .iter()
            .rev()
            .max_by_key(|attempt| attempt.result)
    }
}

impl Protocol {
    pub(super) const ALL: [Self; 11] = [
        Self::Unauthenticated,
        Self::Tls,
        Self::Smkex,
        Self::MtlsHello,
        Self::MtlsExporter,
        Self::Relays,
        Self::Resumption,
        Self::Auto,
        Self::Quic,
        Self::MtlsQuic,
        Self::MtlsMptcp,
    ];

    /// Whether it uses more than one path.
    pub(super) fn is_multipath(self) -> bool {
        !matches!(self, Self::Unauthenticated | Self::Tls | Self::Quic)
    }

    /// Whether the client may resume sessions over side paths.
    pub(super) fn resumes_sessions(self) -> bool {
        matches!(self, Self::Resumption | Self::Auto)
    }

    /// Whether the primary path is QUIC.
    pub(super) fn is_quic(self) -> bool {
        matches!(self, Self::Quic | Self::MtlsQuic)
    }

    /// Whether its attacks run in network namespaces.
    pub(super) fn uses_namespaces(self) -> bool {
        self == Self::MtlsMptcp
    }

    /// Whether the server has a certificate.
    pub(super) fn has_certificates(self) -> bool {
        !matches!(self, Self::Unauthenticated | Self::Smkex)
    }

    /// The head of its column.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "DH alone",
            Self::Tls => "TLS",
            Self::Smkex => "SMKEX",
            Self::MtlsHello => "MTLS hello",
            Self::MtlsExporter => "MTLS export",
            Self::Relays => "MTLS relays",
            Self::Resumption => "Resumption",
            Self::Auto => "Auto",
            Self::Quic => "QUIC",
            Self::MtlsQuic => "MTLS QUIC",
            Self::MtlsMptcp => "MTLS MPTCP",
        }
    }
}

impl Trust {
    pub(super) const ALL: [Self; 4] = [
        Self::HonestCas,
        Self::RogueCa,
        Self::StolenKey,
        Self::StolenTicketKey,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::HonestCas => "Honest certificate authorities",
            Self::RogueCa => "A rogue authority has certified the attackers",
            Self::StolenKey => "The attackers have stolen the server's key",
            Self::StolenTicketKey => {
                "A rogue authority has certified the attackers, and they have stolen the server's \
                 ticket key"
            }
        }
    }
}

impl Outcome {
    /// A word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Broken => "broken",
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            trust: Trust,
            attackers: &'static str,
            protocol: Protocol,
            expected: Option<Outcome>,
            observed: Option<Outcome>,
            as_expected: bool,
            skipped: Option<&'a str>,
            attempts: &'a [Attempt],
        }
        let expected = self.expected.as_ref().ok().copied();
        Fields {
            trust: self.trust,
            attackers: self.attackers.name,
            protocol: self.protocol,
            expected,
            observed: expected.map(|_| self.observed()),
            as_expected: self.as_expected(),
            skipped: self.skipped(),
            attempts: &self.attempts,
        }
        .serialize(serializer)
    }
}
