//! An attacker on the first link who forges bytes that were meant for the second one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mtls_core::proto::carrier::Chunk;

use crate::link::segment::{ACK, PRIO, PSH, Segment, forged_options};
use crate::link::{Attack, Sent};

/// Their knowledge of the server's bytes on the first link.
#[derive(Clone, Debug)]
struct Seen {
    /// The last segment with a mapping: the further segments of its data have none.
    mapped: Segment,
    /// The sequence number after the last byte.
    end: u32,
    /// The timestamps of the last segment, with data or without: older ones are refused (RFC 7323).
    timestamps: (u32, u32),
}

/// An attacker who reads the first link, and sends the client one segment there: with the next
/// sequence numbers of the subflow and of the connection, as soon as the client directs the server to
/// the other subflow.
#[derive(Clone, Debug)]
pub struct Forger {
    payload: Vec<u8>,
    seen: Arc<Mutex<Option<Seen>>>,
    sent: Arc<AtomicUsize>,
}

impl Forger {
    /// An attacker who sends these bytes.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            seen: Arc::default(),
            sent: Arc::default(),
        }
    }

    /// An attacker who sends a chunk of the side exchange.
    #[must_use]
    pub fn of_side_chunk() -> Self {
        let body = [0x4d; 100];
        let header = Chunk::Side(body.len()).header();
        Self::new(&[&header[..], &body].concat())
    }

    /// The number of segments that they have sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// For both directions of the first link.
    #[must_use]
    pub fn attacks(&self) -> [Attack; 2] {
        let (up, down) = (self.clone(), self.clone());
        [
            Box::new(move |packet| up.attack_client(packet)),
            Box::new(move |packet| {
                down.remember(&packet);
                vec![Sent::On(packet)]
            }),
        ]
    }

    /// Remembers the last segment of the server.
    fn remember(&self, packet: &[u8]) {
        let Some(segment) = Segment::parse(packet) else {
            return;
        };
        let Some(timestamps) = segment.timestamps() else {
            return;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let end = segment.sequence.wrapping_add(segment.data.len() as u32);
        if segment.mapping().is_some() {
            *seen = Some(Seen {
                mapped: segment,
                end,
                timestamps,
            });
        } else if let Some(seen) = seen.as_mut().filter(|seen| seen.mapped.to == segment.to) {
            seen.end = end;
            seen.timestamps = timestamps;
        }
    }

    fn attack_client(&self, packet: Vec<u8>) -> Vec<Sent> {
        let segment = Segment::parse(&packet);
        let prio = segment.as_ref().and_then(|segment| segment.mptcp(PRIO));
        let is_backup = prio.is_some_and(|prio| prio[2] & 1 != 0);
        let mut sent = vec![Sent::On(packet)];
        if is_backup && self.sent() == 0 {
            let forged = self.forge().into_iter();
            sent.extend(forged.map(|segment| Sent::Back(segment.packet())));
        }
        sent
    }

    fn forge(&self) -> Option<Segment> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen {
            mapped,
            end,
            timestamps: (time, echo),
        } = seen.as_ref()?;
        let (number, relative, len) = mapped.mapping()?;
        let next = (number + u64::from(len), relative + u32::from(len));
        let payload = u16::try_from(self.payload.len()).ok()?;
        self.sent.fetch_add(1, Ordering::SeqCst);
        Some(Segment {
            sequence: *end,
            flags: ACK | PSH,
            options: forged_options((time.wrapping_add(1), *echo), (next.0, next.1, payload)),
            data: self.payload.clone(),
            ..mapped.clone()
        })
    }
}
