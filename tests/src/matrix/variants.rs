//! The variants of a cell's attack, which run one after another.

use super::cell::{Cell, Presence, Protocol};
use super::mptcp;

/// Number of variants that an attacker tries who is alone on a side path.
pub(super) const SIDE_TRIES: usize = 3;

/// The variant in which attackers who are apart have agreed on a ticket key in advance.
pub(super) const AGREED_IN_ADVANCE: usize = 1;
/// The variant in which an attacker resets the side path.
pub(super) const RESETS: usize = 2;

/// The attack of an active attacker on the primary path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrimaryAttack {
    InTheMiddle,
    /// The same, with the client's random toward the server.
    CopiesRandom,
    InjectsVersionNegotiation,
    InjectsRetry,
}

/// The number of variants.
pub(super) fn tries(cell: &Cell) -> usize {
    let attackers = &cell.attackers;
    if cell.skipped().is_some() {
        return 0;
    }
    if cell.protocol.uses_namespaces() {
        return mptcp::variants(attackers).len();
    }
    let primary = match attackers.primary {
        Presence::Active => primary_attacks(cell.protocol).len(),
        Presence::Absent | Presence::Passive => 1,
    };
    let alone = !attackers.communicate || attackers.primary == Presence::Absent;
    let alone = alone && attackers.sides.contains(&Presence::Active);
    match cell.protocol.is_multipath() && alone {
        true => primary.max(SIDE_TRIES),
        false => primary,
    }
}

/// The attack on the primary path in this variant.
pub(super) fn primary_attack(protocol: Protocol, number: usize) -> PrimaryAttack {
    let attacks = primary_attacks(protocol);
    attacks[number % attacks.len()]
}

/// A copied random is of use only against a protocol that compares handshakes.
fn primary_attacks(protocol: Protocol) -> &'static [PrimaryAttack] {
    use PrimaryAttack::{CopiesRandom, InTheMiddle, InjectsRetry, InjectsVersionNegotiation};
    match protocol {
        Protocol::Unauthenticated | Protocol::Tls => &[InTheMiddle],
        Protocol::Quic => &[InTheMiddle, InjectsVersionNegotiation, InjectsRetry],
        Protocol::MtlsQuic => &[
            InTheMiddle,
            CopiesRandom,
            InjectsVersionNegotiation,
            InjectsRetry,
        ],
        _ => &[InTheMiddle, CopiesRandom],
    }
}
