//! The subflows of a Multipath TCP connection, in a verdict.

use core::net::SocketAddr;

use serde::Serialize;

use super::independence::RouteInfo;

/// Multipath TCP (RFC 8684) on a connection that was to use it
/// (`Path::mptcp`), when the verdict was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MptcpReport {
    /// The connection fell back to TCP: the peer does not support Multipath TCP, or a middlebox
    /// removes its options. It then has one subflow for good.
    pub fallback: bool,
    /// The subflows, the first one first. One that has ended is not among them.
    pub subflows: Vec<SubflowReport>,
}

/// One subflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubflowReport {
    /// The address at this end.
    pub local: SocketAddr,
    /// The address at the other end.
    pub peer: SocketAddr,
    /// The interface that it leaves by, where that is known.
    pub interface: Option<String>,
    /// The bytes that it has received.
    pub bytes_received: u64,
}

impl MptcpReport {
    /// The routes of the subflows that have brought bytes, besides the first and the one `without`.
    pub(crate) fn further_routes(
        &self,
        without: Option<SocketAddr>,
    ) -> impl Iterator<Item = RouteInfo> {
        let further = self.subflows.iter().skip(1);
        let with_bytes = further
            .filter(move |subflow| subflow.bytes_received > 0 && Some(subflow.local) != without);
        with_bytes.map(|subflow| RouteInfo {
            interface: subflow.interface.clone(),
            source: Some(subflow.local.ip()),
            ..RouteInfo::default()
        })
    }
}
