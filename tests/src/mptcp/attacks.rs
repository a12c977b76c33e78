//! Attackers on one link of a Multipath TCP connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mtls_core::proto::carrier::CHUNK_HEADER;
use mtls_core::proto::frame::GREETING;

use crate::link::segment::{ACK, JOIN, PRIO, RST, SYN, Segment, change, pass};
use crate::link::{Attack, Sent};

/// The number of packets that an attacker on a link has changed, dropped, or added to.
#[derive(Clone, Debug, Default)]
pub struct Interference(Arc<AtomicUsize>);

impl Interference {
    /// The number so far.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts the packets that these attacks do not pass on as they are.
    #[must_use]
    pub fn count(&self, attacks: [Attack; 2]) -> [Attack; 2] {
        attacks.map(|mut attack| -> Attack {
            let count = Arc::clone(&self.0);
            Box::new(move |packet| {
                let sent = attack(packet.clone());
                let interfered = sent != [Sent::On(packet)];
                count.fetch_add(usize::from(interfered), Ordering::SeqCst);
                sent
            })
        })
    }
}

/// An attacker who removes the options of Multipath TCP from the first packets of connections.
#[must_use]
pub fn strip_mp_capable() -> [Attack; 2] {
    let strip = || {
        change(|mut segment| {
            if segment.flags & SYN != 0 {
                segment.strip_mptcp();
            }
            Some(segment)
        })
    };
    [strip(), strip()]
}

/// An attacker who drops the client's MP_PRIO.
#[must_use]
pub fn drop_prio() -> [Attack; 2] {
    let drop = change(|segment| segment.mptcp(PRIO).is_none().then_some(segment));
    [drop, pass()]
}

/// An attacker who resets second subflows in place of the server.
#[must_use]
pub fn reset_joins() -> [Attack; 2] {
    let reset = change(|segment| {
        let is_join = segment.flags & SYN != 0 && segment.mptcp(JOIN).is_some();
        Some(match is_join {
            true => Segment {
                flags: RST | ACK,
                options: Vec::new(),
                ..segment
            },
            false => segment,
        })
    });
    [pass(), reset]
}

/// An attacker who lets second subflows be established, and drops everything from the first data of one
/// on.
#[must_use]
pub fn cut_exchange() -> [Attack; 2] {
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = || {
        let is_cut = Arc::clone(&is_cut);
        change(move |segment| {
            let is_data = segment.is_mptcp() && !segment.data.is_empty();
            let is_cut = is_cut.fetch_or(is_data, Ordering::SeqCst) || is_data;
            (!is_cut).then_some(segment)
        })
    };
    [cut(), cut()]
}

/// An attacker who changes the last byte of the server's Proof, in the length that it has.
#[must_use]
pub fn change_proof() -> [Attack; 2] {
    let change = change(|mut segment| {
        // Without a Proof, a chunk of the server has its greeting alone.
        let is_proof = segment.is_mptcp() && segment.data.len() > CHUNK_HEADER + GREETING.len();
        if let Some(last) = segment.data.last_mut().filter(|_| is_proof) {
            *last ^= 1;
        }
        Some(segment)
    });
    [pass(), change]
}
