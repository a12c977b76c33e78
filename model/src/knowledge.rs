//! Knowledge: the frames that each attacker has seen, from which [`Forger`](super::forgery::Forger)
//! builds the frames that they can forge.

use mtls_core::proto::binding::{Association, Binding, Nonce, Value};
use mtls_core::proto::frame::{Frame, FrameBody};

/// The parts of frames that one attacker has seen, each once, in the order of their bytes, so
/// attackers who have seen the same parts are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Knowledge {
    /// The nonces of the client's Opens.
    pub opens: Vec<SeenOpen>,
    /// Proofs.
    pub proofs: Vec<SeenProof>,
    /// The values of Confirms.
    pub confirms: Vec<Value>,
}

/// An Open of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeenOpen {
    /// Its handshake.
    pub association: Association,
    /// Its nonce.
    pub nonce_c: Nonce,
}

/// A Proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeenProof {
    /// Its nonce.
    pub nonce_s: Nonce,
    /// Its binding.
    pub binding: Binding,
    /// Its value.
    pub value: Value,
}

impl Knowledge {
    /// Learns a frame.
    pub fn learn(&mut self, frame: &Frame) {
        match frame.body {
            FrameBody::Open { nonce_c, .. } => {
                let association = frame.association;
                insert(
                    &mut self.opens,
                    SeenOpen {
                        association,
                        nonce_c,
                    },
                    |open| (open.association, open.nonce_c),
                );
            }
            FrameBody::Proof {
                nonce_s,
                binding,
                value,
            } => {
                let proof = SeenProof {
                    nonce_s,
                    binding,
                    value,
                };
                insert(&mut self.proofs, proof, |proof| {
                    (proof.nonce_s, proof.value.0)
                });
            }
            FrameBody::Confirm { value } => insert(&mut self.confirms, value, |value| value.0),
            FrameBody::Done | FrameBody::Reject { .. } => {}
        }
    }

    /// The union of both attackers' knowledge.
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for open in &other.opens {
            insert(&mut both.opens, *open, |open| {
                (open.association, open.nonce_c)
            });
        }
        for proof in &other.proofs {
            insert(&mut both.proofs, *proof, |proof| {
                (proof.nonce_s, proof.value.0)
            });
        }
        for value in &other.confirms {
            insert(&mut both.confirms, *value, |value| value.0);
        }
        both
    }
}

fn insert<T, K: Ord>(items: &mut Vec<T>, item: T, key: impl Fn(&T) -> K) {
    if let Err(place) = items.binary_search_by_key(&key(&item), &key) {
        items.insert(place, item);
    }
}
