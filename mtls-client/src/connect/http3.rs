//! Connections of HTTP/3.

use std::collections::HashMap;
use std::sync::Mutex;

use hyper::header::{ALT_SVC, HeaderMap};
use mtls_core::path::Endpoint;
use mtls_core::quic::{QuicConnection, QuicConnector};
use mtls_core::{ClientStream, MultipathConnector, Verdict};
use quinn::VarInt;
use tokio::net::TcpStream;

use super::attempt::Attempt;
use super::close::close;
use crate::args::http3::Http3Args;
use crate::failure::Failure;

/// H3_NO_ERROR (RFC 9114, section 8.1).
const NO_ERROR: u32 = 0x100;
/// The most hosts whose alternative services are known.
const MAX_ALTERNATIVES: usize = 256;

/// The use of HTTP/3; by default none.
#[derive(Default)]
pub(crate) struct Http3 {
    connectors: Option<Connectors>,
    only: bool,
    /// The UDP ports that verified responses have named.
    alternatives: Mutex<HashMap<Endpoint, u16>>,
}

/// As the connectors of TCP.
struct Connectors {
    configured: QuicConnector,
    default: QuicConnector,
}

/// A connection that the policy accepts.
pub(crate) enum AnyConnection {
    Tcp(Box<ClientStream<TcpStream>>),
    Quic(QuicConnection),
}

impl AnyConnection {
    pub(super) fn attempt(&self, to: &Endpoint) -> Attempt {
        match self {
            Self::Tcp(stream) => Attempt::connected(to, stream),
            Self::Quic(connection) => {
                Attempt::with_verdict(to, connection.verdict(), connection.evidence())
            }
        }
    }

    /// Ends a connection without a request.
    pub(crate) async fn close(self) {
        match self {
            Self::Tcp(stream) => close(*stream).await,
            Self::Quic(connection) => {
                connection
                    .into_inner()
                    .close(VarInt::from_u32(NO_ERROR), b"");
            }
        }
    }
}

impl Http3 {
    pub(super) fn new(
        args: &Http3Args,
        configured: &MultipathConnector,
        default: &MultipathConnector,
    ) -> Result<Self, Failure> {
        let option = match (args.http3, args.http3_only) {
            (false, false) => return Ok(Self::default()),
            (_, true) => "--http3-only",
            (true, _) => "--http3",
        };
        let build = |connector| {
            let built = QuicConnector::builder(connector).alpn(&[b"h3"]).build();
            built.map_err(|error| Failure::usage(option, error))
        };
        Ok(Self {
            connectors: Some(Connectors {
                configured: build(configured)?,
                default: build(default)?,
            }),
            only: args.http3_only,
            alternatives: Mutex::default(),
        })
    }

    /// The connector with `--side-endpoint`, or that with the side verifier at the target.
    pub(super) fn connector(&self, configured: bool) -> Option<&QuicConnector> {
        let connectors = self.connectors.as_ref()?;
        Some(match configured {
            true => &connectors.configured,
            false => &connectors.default,
        })
    }

    /// Whether TCP is not tried.
    pub(crate) fn is_only(&self) -> bool {
        self.only
    }

    /// Waits until no connection is left.
    pub(super) async fn wait_idle(&self) {
        if let Some(connectors) = &self.connectors {
            connectors.configured.wait_idle().await;
            connectors.default.wait_idle().await;
        }
    }

    /// The UDP port of a host.
    pub(super) fn port(&self, to: &Endpoint) -> u16 {
        let alternatives = self.alternatives.lock();
        let port = alternatives.ok().and_then(|known| known.get(to).copied());
        port.unwrap_or(to.port)
    }

    /// Uses the field `Alt-Svc` of a response, if its connection was verified: an attacker could name
    /// any port otherwise.
    pub(crate) fn follow(&self, to: &Endpoint, verdict: &Verdict, fields: &HeaderMap) {
        let value = fields.get(ALT_SVC).and_then(|value| value.to_str().ok());
        let (Some(value), Some(_), Some(_)) = (value, verdict.verified(), &self.connectors) else {
            return;
        };
        let Ok(mut alternatives) = self.alternatives.lock() else {
            return;
        };
        match http3_port(value) {
            Some(port) if alternatives.len() < MAX_ALTERNATIVES => {
                alternatives.insert(to.clone(), port);
            }
            _ => {
                alternatives.remove(to);
            }
        }
    }
}

/// The port of the first alternative for HTTP/3 on the same host (RFC 7838, section 3).
fn http3_port(value: &str) -> Option<u16> {
    let entries = value.split(',').map(str::trim);
    let mut ports = entries.filter_map(|entry| {
        let authority = entry.strip_prefix("h3=\"")?;
        let (authority, parameters) = authority.split_once('"')?;
        let expired = parameters
            .split(';')
            .any(|parameter| parameter.trim() == "ma=0");
        let port = authority.strip_prefix(':')?.parse().ok()?;
        (!expired && port != 0).then_some(port)
    });
    ports.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alternative_is_a_port_of_the_same_host() {
        for (value, expected) in [
            ("h3=\":443\"; ma=86400", Some(443)),
            ("h2=\":80\", h3=\":8443\"", Some(8443)),
            ("h3=\"other.test:443\"", None),
            ("h3=\":443\"; ma=0", None),
            ("h3-29=\":443\"", None),
            ("h3=\":0\"", None),
            ("h3=\":70000\"", None),
            ("clear", None),
            ("h3=", None),
        ] {
            assert_eq!(http3_port(value), expected, "{value}");
        }
    }
}
