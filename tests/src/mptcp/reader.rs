//! A reader of links.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::link::segment::Segment;
use crate::link::{Attack, Sent};

/// The most bytes of data that are kept of one direction of a subflow.
const KEPT: usize = 256 * 1024;

type Ends = (([u8; 4], u16), ([u8; 4], u16));

/// A passive attacker on one link or several: keeps the data of each subflow, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct LinkReader(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    bytes: usize,
    subflows: HashMap<Ends, Vec<u8>>,
}

impl LinkReader {
    /// For both directions of a link.
    #[must_use]
    pub fn attacks(&self) -> [Attack; 2] {
        [self.clone(), self.clone()].map(|reader| -> Attack {
            Box::new(move |packet| {
                reader.read(&packet);
                vec![Sent::On(packet)]
            })
        })
    }

    /// The number of bytes of IP packets that have passed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Whether this text passed in the clear.
    #[must_use]
    pub fn contain(&self, text: &str) -> bool {
        let seen = self.lock();
        let mut subflows = seen.subflows.values();
        subflows.any(|data| {
            let mut parts = data.windows(text.len());
            parts.any(|part| part == text.as_bytes())
        })
    }

    fn read(&self, packet: &[u8]) {
        let mut seen = self.lock();
        seen.bytes += packet.len();
        if let Some(segment) = Segment::parse(packet) {
            let kept = seen.subflows.entry((segment.from, segment.to)).or_default();
            let room = KEPT.saturating_sub(kept.len()).min(segment.data.len());
            kept.extend_from_slice(&segment.data[..room]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::segment::ACK;
    use crate::secrets::REQUEST_SECRET;

    /// Finding nothing in TLS means something only if a secret in the clear is found.
    #[test]
    fn a_secret_that_passes_in_two_segments_is_found_among_those_of_other_subflows() {
        let reader = LinkReader::default();
        let [mut up, _] = reader.attacks();
        let (one, other) = REQUEST_SECRET.as_bytes().split_at(5);
        for (port, data) in [(1, one), (2, one), (1, other)] {
            let segment = Segment {
                from: ([10, 0, 1, 2], port),
                to: ([10, 99, 0, 1], 443),
                sequence: 0,
                acknowledgement: 0,
                flags: ACK,
                window: 500,
                options: Vec::new(),
                data: data.to_vec(),
            };
            let packet = segment.packet();
            assert!(!reader.contain(REQUEST_SECRET));
            assert_eq!(up(packet.clone()), [Sent::On(packet)]);
        }
        assert!(reader.contain(REQUEST_SECRET) && !reader.contain("another secret"));
        assert!(reader.bytes() > REQUEST_SECRET.len());
    }
}
