//! Reading a client's Initial packets, as any observer of the path can (RFC 9001, section 5.2), and
//! forging the packets that are not protected by the handshake.

use quinn::ConnectionId;
use quinn::crypto::ServerConfig;
use rustls::Side;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};

use super::super::hello::Fields;

/// QUIC version 1.
const V1: [u8; 4] = [0, 0, 0, 1];
/// The length of the bytes before `random`: handshake header and `legacy_version` (RFC 8446, sections 4
/// and 4.1.2).
const RANDOM_AT: usize = 4 + 2;
/// The bytes of a packet that protect its header (RFC 9001, section 5.4.2).
const SAMPLE: usize = 16;
/// The longest packet number.
const NUMBER: usize = 4;
/// A version that no end knows (RFC 9000, section 15).
const UNKNOWN_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];
/// The connection ID by which a forged Retry makes the client address the server.
const FORGED_ID: [u8; 8] = *b"forged!!";

/// The invariant fields of a packet with a long header (RFC 8999, section 5.1).
struct LongHeader<'a> {
    version: &'a [u8],
    destination: &'a [u8],
    source: &'a [u8],
    rest: &'a [u8],
}

/// The beginning of a client's CRYPTO stream, from packets in any order.
#[derive(Debug, Default)]
pub(super) struct ClientCrypto(Vec<(usize, Vec<u8>)>);

impl ClientCrypto {
    /// Takes the frames of a datagram of the client, if it begins with an Initial packet.
    pub(super) fn take(&mut self, datagram: &[u8]) {
        if let Some(payload) = decrypt(datagram) {
            self.0.extend(crypto_frames(&payload));
            self.0.sort();
        }
    }

    /// The random of the ClientHello, as soon as it is there.
    pub(super) fn random(&self) -> Option<[u8; 32]> {
        let mut stream = Vec::new();
        for (offset, bytes) in &self.0 {
            let known = stream.len().checked_sub(*offset)?;
            stream.extend_from_slice(bytes.get(known..).unwrap_or_default());
        }
        stream.get(RANDOM_AT..RANDOM_AT + 32)?.try_into().ok()
    }
}

/// A Version Negotiation packet (RFC 9000, section 17.2.1) in response to a datagram of the client.
pub(super) fn version_negotiation(datagram: &[u8]) -> Option<Vec<u8>> {
    let header = LongHeader::read(datagram)?;
    let mut packet = vec![0x80, 0, 0, 0, 0];
    for id in [header.source, header.destination] {
        put_id(&mut packet, id)?;
    }
    packet.extend(UNKNOWN_VERSION);
    Some(packet)
}

/// A Retry packet (RFC 9000, section 17.2.5) in response to an Initial packet of the client. `keys` is any
/// server's: the integrity tag needs no secret.
pub(super) fn retry(keys: &dyn ServerConfig, datagram: &[u8]) -> Option<Vec<u8>> {
    let header = LongHeader::read(datagram)?;
    let mut packet = vec![0xf0];
    packet.extend(V1);
    put_id(&mut packet, header.source)?;
    put_id(&mut packet, &FORGED_ID)?;
    packet.extend(b"a token of the attacker's");
    let original = ConnectionId::new(header.destination);
    let tag = keys.retry_tag(u32::from_be_bytes(V1), &original, &packet);
    packet.extend(tag);
    Some(packet)
}

fn put_id(packet: &mut Vec<u8>, id: &[u8]) -> Option<()> {
    packet.push(id.len().try_into().ok()?);
    packet.extend(id);
    Some(())
}

impl<'a> LongHeader<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        let first = fields.take(1)?;
        let header = Self {
            version: fields.take(4)?,
            destination: fields.take_vector::<1>()?,
            source: fields.take_vector::<1>()?,
            rest: fields.0,
        };
        (first[0] & 0x80 != 0 && header.destination.len() <= 20).then_some(header)
    }
}

/// The frames of an Initial packet of the client at the beginning of a datagram.
fn decrypt(datagram: &[u8]) -> Option<Vec<u8>> {
    let header = LongHeader::read(datagram)?;
    let is_initial = datagram[0] & 0xf0 == 0xc0 && header.version == V1;
    let mut rest = Fields(header.rest);
    let token = rest.take_varint().filter(|_| is_initial)?;
    rest.take(token)?;
    let length = rest.take_varint()?;
    let number_at = datagram.len() - rest.0.len();
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let suite_of_quic = suite.quic_suite()?.quic;
    let keys = Keys::initial(
        Version::V1,
        suite,
        suite_of_quic,
        header.destination,
        Side::Server,
    );

    let mut packet = datagram.get(..number_at + length)?.to_vec();
    let (head, protected) = packet.split_at_mut(number_at);
    let (number, sample) = protected.split_at_mut_checked(NUMBER)?;
    let sample = sample.get(..SAMPLE)?;
    let header_key = &keys.remote.header;
    header_key
        .decrypt_in_place(sample, &mut head[0], number)
        .ok()?;
    let number_length = usize::from(packet[0] & 3) + 1;
    let (header, payload) = packet.split_at_mut(number_at + number_length);
    // The first packets of a connection have small numbers, so none is truncated.
    let number = header[number_at..]
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let frames = keys.remote.packet.decrypt_in_place(number, header, payload);
    Some(frames.ok()?.to_vec())
}

/// The CRYPTO frames of a payload, with their offsets; a client's first packets have no others but
/// PADDING and PING.
fn crypto_frames(payload: &[u8]) -> Vec<(usize, Vec<u8>)> {
    const PADDING: usize = 0;
    const PING: usize = 1;
    const CRYPTO: usize = 6;
    let mut found = Vec::new();
    let mut frames = Fields(payload);
    while let Some(kind @ (PADDING | PING | CRYPTO)) = frames.take_varint() {
        if kind == CRYPTO {
            let offset = frames.take_varint();
            let bytes = frames.take_varint().and_then(|length| frames.take(length));
            let (Some(offset), Some(bytes)) = (offset, bytes) else {
                break;
            };
            found.push((offset, bytes.to_vec()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_in_pieces_out_of_order_is_put_together() {
        let hello: Vec<u8> = (0..60).collect();
        let mut crypto = ClientCrypto::default();
        for (from, to) in [(20, 60), (0, 10)] {
            crypto.0.push((from, hello[from..to].to_vec()));
            crypto.0.sort();
            assert_eq!(crypto.random(), None);
        }
        crypto.0.push((5, hello[5..25].to_vec()));
        crypto.0.sort();
        assert_eq!(crypto.random().expect("a random")[..], hello[6..38]);
    }

    #[test]
    fn connection_ids_change_places_in_a_version_negotiation() {
        let initial = [0xc3, 0, 0, 0, 1, 2, 7, 8, 3, 1, 2, 3, 0, 0];
        let reply = version_negotiation(&initial).expect("a packet");
        assert_eq!(reply[..12], [0x80, 0, 0, 0, 0, 3, 1, 2, 3, 2, 7, 8]);
        assert_eq!(reply[12..], UNKNOWN_VERSION);
        assert_eq!(version_negotiation(&initial[..8]), None, "cut off");
        assert_eq!(version_negotiation(&[0x43; 40]), None, "a short header");
    }

    #[test]
    fn other_datagrams_have_no_hello() {
        for datagram in [&[][..], &[0xc3], &[0xc3; 1200], &[0x43; 1200]] {
            assert_eq!(decrypt(datagram), None);
        }
    }
}
