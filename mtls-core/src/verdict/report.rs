//! Reports: the paths, the TLS connection and the times of a verdict.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::resumption::ResumptionDirection;
use crate::path::{
    Dialed, Independence, MptcpReport, PathKind, ResolvedBy, Route, RouteInfo, mptcp_report,
};
#[cfg(feature = "quic")]
use crate::proto::hello::Negotiated;

/// The kind of key of a SMKEX server ([`TlsReport::server_key`]).
pub(crate) const RAW_PUBLIC_KEY: &str = "raw-public-key";

/// One path of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PathReport {
    /// Primary or side.
    pub role: PathRole,
    /// The kind of path; `None` for a stream that the caller opened.
    pub via: Option<PathKind>,
    /// The address at this end.
    pub local: Option<SocketAddr>,
    /// The address at the other end: the proxy's, where there is one.
    pub peer: Option<SocketAddr>,
    /// The source of the host's addresses; `None` where it was given as an address, or nothing is
    /// known.
    pub resolver: Option<ResolvedBy>,
    /// `verified`, a reason, or `None` for the primary path.
    pub result: Option<&'static str>,
    /// Was the connection there before?
    pub reused: bool,
    /// Verification by resumption: whether the server showed the same key on this side path and on
    /// the primary path, each of which signed its own handshake. A weaker fact than any
    /// verification: it holds for every holder of that key. `None` without a full handshake on the
    /// side path.
    pub same_key: Option<bool>,
    /// Verification by resumption: the path whose session was resumed; `None` where that failed.
    pub resumed: Option<ResumptionDirection>,
    /// Verification by resumption: how TLS failed on this side path.
    pub error: Option<String>,
    /// Multipath TCP, where the path uses it ([`Path::mptcp`](crate::path::Path)) and the kernel
    /// tells.
    pub mptcp: Option<MptcpReport>,
    /// A side path inside the primary connection: the way in which its result was reached.
    pub inside: Option<Inside>,
    /// The socket is one of Multipath TCP.
    pub(crate) is_mptcp: bool,
    /// This end of the subflow of a side path inside the connection: no byte of the handshake used it.
    pub(crate) side_subflow: Option<SocketAddr>,
    pub(crate) route: Option<Route>,
    pub(crate) primary: Option<PrimaryRoute>,
}

/// The route of the primary path, if it is known, in the report of a side path.
#[derive(Clone, Debug)]
pub(crate) struct PrimaryRoute {
    pub(crate) route: Option<Route>,
    /// Those of the other subflows that have brought bytes.
    pub(crate) further: Vec<RouteInfo>,
}

impl PathReport {
    /// The interface that it leaves by, where that is known.
    ///
    /// An unbound path is looked up in the kernel's routes by the first call, in some µs.
    pub fn interface(&self) -> Option<&str> {
        self.route.as_ref()?.interface.as_deref()
    }

    /// The independence from the primary path; `None` for the primary path itself, and at a server.
    ///
    /// Looks both paths up as [`interface`](Self::interface) does.
    pub fn independence(&self) -> Option<Independence> {
        let PrimaryRoute { route, further } = self.primary.as_ref()?;
        let (Some(primary), Some(side)) = (route, &self.route) else {
            return Some(Independence::Unknown);
        };
        let own = self.further_routes();
        let sides = || own.iter().chain([&**side]);
        let primaries = further.iter().chain([&**primary]);
        let pairs = primaries.flat_map(|one| sides().map(move |other| (one, other)));
        Some(Independence::weakest(
            pairs.map(|(one, other)| Independence::between(one, other)),
        ))
    }

    /// As the primary path of a side path.
    pub(crate) fn as_primary(&self) -> PrimaryRoute {
        PrimaryRoute {
            route: self.route.clone(),
            further: self.further_routes(),
        }
    }

    fn further_routes(&self) -> Vec<RouteInfo> {
        let reports = self.mptcp.iter();
        let further = reports.flat_map(|report| report.further_routes(self.side_subflow));
        further.collect()
    }

    /// Looks the subflows up, where the path uses Multipath TCP: those of now.
    pub(crate) fn look_up_subflows(&mut self) {
        if let (true, Some(local), Some(peer)) = (self.is_mptcp, self.local, self.peer) {
            self.mptcp = mptcp_report(local, peer);
        }
    }

    pub(crate) fn unknown(role: PathRole) -> Self {
        Self {
            role,
            via: None,
            local: None,
            peer: None,
            resolver: None,
            result: None,
            reused: false,
            same_key: None,
            resumed: None,
            error: None,
            mptcp: None,
            inside: None,
            is_mptcp: false,
            side_subflow: None,
            route: None,
            primary: None,
        }
    }

    pub(crate) fn dialed<S>(role: PathRole, dialed: &Dialed<S>) -> Self {
        Self {
            via: Some(dialed.via.clone()),
            local: dialed.local,
            peer: dialed.peer,
            resolver: dialed.resolver.clone(),
            route: Some(dialed.route.clone()),
            is_mptcp: dialed.mptcp,
            ..Self::unknown(role)
        }
    }
}

impl Serialize for PathReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            role: PathRole,
            via: &'a Option<PathKind>,
            local: Option<SocketAddr>,
            peer: Option<SocketAddr>,
            interface: Option<&'a str>,
            resolver: &'a Option<ResolvedBy>,
            independence: Option<Independence>,
            result: Option<&'static str>,
            reused: bool,
            same_key: Option<bool>,
            resumed: Option<ResumptionDirection>,
            error: &'a Option<String>,
            mptcp: &'a Option<MptcpReport>,
            inside: Option<Inside>,
        }
        Fields {
            role: self.role,
            via: &self.via,
            local: self.local,
            peer: self.peer,
            interface: self.interface(),
            resolver: &self.resolver,
            independence: self.independence(),
            result: self.result,
            reused: self.reused,
            same_key: self.same_key,
            resumed: self.resumed,
            error: &self.error,
            mptcp: &self.mptcp,
            inside: self.inside,
        }
        .serialize(serializer)
    }
}

/// The way in which a side path inside a Multipath TCP connection was verified, or was not
/// (`docs/protocol.md`, section 15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Inside {
    /// On the second subflow; the counters of both subflows matched at both ends.
    SecondSubflow,
    /// Over a connection of its own, because the kernels had moved bytes after a loss.
    RepeatedAfterLoss,
}

/// The role of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathRole {
    /// Carries the TLS connection.
    Primary,
    /// Carries the verification.
    Side,
}

/// The TLS connection, as this end saw it.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct TlsReport {
    /// `quic`, where the connection is one of QUIC; `None` for a byte stream such as TCP.
    pub transport: Option<&'static str>,
    /// The version, such as `TLSv1.3`.
    pub version: Option<String>,
    /// The cipher suite, by its name in the registry of IANA.
    pub cipher_suite: Option<String>,
    /// The key-exchange group.
    pub key_exchange: Option<String>,
    /// `full`, `full-with-retry` or `resumed`.
    pub handshake: Option<&'static str>,
    /// The application protocol that was agreed on (ALPN).
    pub alpn: Option<String>,
    /// The server's kind of key: `certificate` or `raw-public-key` ([`smkex`](crate::smkex)); `None`
    /// where this end cannot see it.
    pub server_key: Option<&'static str>,
    /// SHA-256 of each certificate of the peer's chain, the leaf first, in hexadecimal; of a raw
    /// public key, that of its SubjectPublicKeyInfo.
    pub peer_chain_sha256: Vec<String>,
    /// SHA-256 of the peer's public key (SubjectPublicKeyInfo), in hexadecimal; `None` where this
    /// end cannot see it.
    pub peer_key_sha256: Option<String>,
}

impl TlsReport {
    /// Describes a connection, at either end, whose server showed this kind of key.
    pub(crate) fn of(connection: &rustls::CommonState, server_key: &'static str) -> Self {
        Self {
            transport: None,
            version: connection.protocol_version().map(|version| match version {
                rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
                rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
                other => format!("{other:?}"),
            }),
            cipher_suite: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str().map(cipher_suite_name)),
            key_exchange: connection
                .negotiated_key_exchange_group()
                .map(|group| format!("{:?}", group.name())),
            handshake: connection.handshake_kind().map(|kind| match kind {
                HandshakeKind::Full => "full",
                HandshakeKind::FullWithHelloRetryRequest => "full-with-retry",
                HandshakeKind::Resumed => "resumed",
            }),
            ..Self::with_peer(
                connection.alpn_protocol(),
                connection.peer_certificates().unwrap_or_default(),
                server_key,
            )
        }
    }

    /// Describes a connection of QUIC, whose ServerHello selected these parameters.
    #[cfg(feature = "quic")]
    pub(crate) fn of_quic(
        negotiated: Option<Negotiated>,
        alpn: Option<&[u8]>,
        chain: &[CertificateDer<'_>],
        server_key: &'static str,
    ) -> Self {
        let suite = negotiated.map(|hello| rustls::CipherSuite::from(hello.cipher_suite));
        Self {
            transport: Some("quic"),
            version: Some("TLSv1.3".to_owned()),
            cipher_suite: suite.and_then(|suite| suite.as_str().map(cipher_suite_name)),
            key_exchange: negotiated
                .map(|hello| format!("{:?}", rustls::NamedGroup::from(hello.group))),
            handshake: negotiated.map(|hello| match (hello.resumed, hello.retried) {
                (true, _) => "resumed",
                (false, true) => "full-with-retry",
                (false, false) => "full",
            }),
            ..Self::with_peer(alpn, chain, server_key)
        }
    }

    fn with_peer(
        alpn: Option<&[u8]>,
        chain: &[CertificateDer<'_>],
        server_key: &'static str,
    ) -> Self {
        let chain_sha256 = chain.iter().map(|certificate| hex_sha256(certificate));
        Self {
            alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
            server_key: Some(server_key),
            peer_chain_sha256: chain_sha256.collect(),
            peer_key_sha256: peer_key(chain, server_key),
            ..Self::default()
        }
    }
}

/// The hash of the peer's public key: a raw one stands in the certificate's place (RFC 7250).
fn peer_key(chain: &[CertificateDer<'_>], server_key: &'static str) -> Option<String> {
    match server_key {
        RAW_PUBLIC_KEY => chain.first().map(|key| hex_sha256(key)),
        _ => public_key(chain).map(|key| hex_sha256(&key)),
    }
}

/// The public key of a certificate (SubjectPublicKeyInfo), where that can be parsed.
pub(crate) fn public_key(chain: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    let certificate = ParsedCertificate::try_from(chain.first()?).ok()?;
    Some(certificate.subject_public_key_info().to_vec())
}

/// rustls calls `TLS_AES_128_GCM_SHA256` by `TLS13_AES_128_GCM_SHA256`.
fn cipher_suite_name(name: &str) -> String {
    name.replacen("TLS13_", "TLS_", 1)
}

/// SHA-256 in hexadecimal.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 0xf)];
    bytes.iter().flat_map(digits).collect()
}

/// The times of a connection's steps, counted from its start.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Times {
    /// The primary path was connected; `None` at a server.
    #[serde(serialize_with = "milliseconds")]
    pub connected: Option<Duration>,
    /// TLS was complete.
    #[serde(serialize_with = "milliseconds")]
    pub tls: Option<Duration>,
    /// The verdict was reached. At a server under
    /// [`Policy::Prefer`](crate::Policy::Prefer) this includes the time until the client
    /// sent its first bytes.
    #[serde(serialize_with = "milliseconds")]
    pub verdict: Option<Duration>,
}

fn milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| (time.as_secs_f64() * 1e6).round() / 1e3)
        .serialize(serializer)
}
