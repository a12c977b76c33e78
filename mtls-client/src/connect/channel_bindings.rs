//! Channel bindings, for protocols above TLS.

use mtls_core::ClientStream;
use serde::Serialize;

/// The label of the channel binding `tls-exporter` (RFC 9266, section 3).
const TLS_EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// The channel bindings of one connection, in hexadecimal. They are not secret (RFC 5056,
/// section 2.1).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ChannelBindings {
    /// RFC 9266. `None` below TLS 1.3, where it is not unique for every handshake.
    #[serde(rename = "tls-exporter")]
    pub(crate) tls_exporter: Option<String>,
    /// One for each side path that verified, in their order (`docs/protocol.md`, section 4.4).
    pub(crate) multipath: Vec<String>,
}

impl ChannelBindings {
    pub(crate) fn of<IO>(stream: &ClientStream<IO>) -> Self {
        let (_, connection) = stream.get_ref().get_ref();
        let is_tls13 = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        // RFC 9266 requires a context of zero length, which is not the same as none.
        let exported = is_tls13
            .then(|| connection.export_keying_material([0; 32], TLS_EXPORTER, Some(b"")))
            .and_then(Result::ok);
        let multipath = stream.channel_bindings().unwrap_or_default();
        Self {
            tls_exporter: exported.map(hexadecimal),
            multipath: multipath.into_iter().map(hexadecimal).collect(),
        }
    }
}

fn hexadecimal(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
