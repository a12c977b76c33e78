//! A session of quinn's whose handshake bytes are observed.

use std::any::Any;

use quinn::ConnectionId;
use quinn::crypto::{ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{Side, TransportError};

/// Observes the handshake messages of one session.
pub(super) trait Observer: Send + Sync + 'static {
    /// Has `step` process the peer's messages.
    fn read(
        &mut self,
        messages: &[u8],
        step: impl FnOnce() -> Result<bool, TransportError>,
    ) -> Result<bool, TransportError>;

    /// Messages that this end will send, before they do.
    fn written(&mut self, messages: &[u8]);
}

/// Hands everything to quinn's own session.
pub(super) struct ObservedSession<O> {
    pub(super) inner: Box<dyn Session>,
    pub(super) observer: O,
}

impl<O: Observer> Session for ObservedSession<O> {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let inner = &mut self.inner;
        self.observer.read(buf, || inner.read_handshake(buf))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let start = buf.len();
        let keys = self.inner.write_handshake(buf);
        if let Some(written @ [_, ..]) = buf.get(start..) {
            self.observer.written(written);
        }
        keys
    }

    /// 0-RTT is off.
    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}
