//! Changes that an attacker on a side path makes to frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mtls_core::proto::binding::{Binding, Value};
use mtls_core::proto::frame::{Frame, FrameBody, RejectCode};

use super::{End, Record, SideAttack, Step};

/// Sends the client's own frames back to it.
pub fn reflect() -> SideAttack {
    SideAttack::Frames(Arc::new(|from, frame| match from {
        End::Client => Step {
            to_client: vec![frame],
            ..Step::default()
        },
        End::Server => Step::keep(),
    }))
}

/// Makes a Proof of the client's own Open: its nonce, and its nonce again for a value.
pub fn reflect_as_proof() -> SideAttack {
    SideAttack::Frames(Arc::new(|from, frame| match (from, frame.body) {
        (End::Client, FrameBody::Open { nonce_c, .. }) => {
            let body = FrameBody::Proof {
                nonce_s: nonce_c,
                binding: Binding::Exporter,
                value: Value(nonce_c),
            };
            Step::send(End::Server, vec![Frame { body, ..frame }])
        }
        _ => Step::keep(),
    }))
}

/// Answers every Open with the first Proof of an earlier session, under the new one's name.
pub fn replay(earlier: &Record) -> SideAttack {
    let proof = earlier
        .frames()
        .into_iter()
        .find(|(_, frame)| matches!(frame.body, FrameBody::Proof { .. }));
    SideAttack::Frames(Arc::new(move |from, frame| {
        match (from, frame.body, proof) {
            (End::Client, FrameBody::Open { .. }, Some((_, Frame { body, .. }))) => {
                Step::send(End::Server, vec![Frame { body, ..frame }])
            }
            _ => Step::keep(),
        }
    }))
}

/// Once `armed`, gives each of two sessions on one side connection the Proof of the other.
pub fn swap_proofs(armed: &Arc<AtomicBool>) -> SideAttack {
    let armed = Arc::clone(armed);
    let held: Mutex<Option<Frame>> = Mutex::new(None);
    SideAttack::Frames(Arc::new(move |from, frame| {
        let is_proof = matches!(frame.body, FrameBody::Proof { .. });
        if !is_proof || !armed.load(Ordering::SeqCst) {
            return Step::pass(from, frame);
        }
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.take() {
            None => {
                *held = Some(frame);
                Step::keep()
            }
            Some(other) => {
                let swapped = [(frame, other), (other, frame)];
                let swapped = swapped.map(|(name, proof)| Frame {
                    association: name.association,
                    body: proof.body,
                });
                Step::send(from, swapped.to_vec())
            }
        }
    }))
}

/// Sends every frame of the server twice.
pub fn double() -> SideAttack {
    SideAttack::Frames(Arc::new(|from, frame| match from {
        End::Client => Step::pass(from, frame),
        End::Server => Step::send(from, vec![frame, frame]),
    }))
}

/// Answers every Open with a Reject.
pub fn reject(code: RejectCode) -> SideAttack {
    SideAttack::Frames(Arc::new(move |from, frame| match (from, frame.body) {
        (End::Client, FrameBody::Open { .. }) => {
            let body = FrameBody::Reject { code };
            Step::send(End::Server, vec![Frame { body, ..frame }])
        }
        _ => Step::keep(),
    }))
}

/// Changes the server's Proof in this way.
pub fn change_proof(change: impl Fn(FrameBody) -> FrameBody + Send + Sync + 'static) -> SideAttack {
    SideAttack::Frames(Arc::new(move |from, frame| match frame.body {
        FrameBody::Proof { .. } => Step::send(
            from,
            vec![Frame {
                body: change(frame.body),
                ..frame
            }],
        ),
        _ => Step::pass(from, frame),
    }))
}

/// Once `armed`, closes the connection at the next frame of which `matches` says so, and is
/// disarmed.
pub fn close_once(
    armed: &Arc<AtomicBool>,
    matches: impl Fn(End, &FrameBody) -> bool + Send + Sync + 'static,
) -> SideAttack {
    let armed = Arc::clone(armed);
    SideAttack::Frames(Arc::new(move |from, frame| {
        match matches(from, &frame.body) && armed.swap(false, Ordering::SeqCst) {
            true => Step::close(),
            false => Step::pass(from, frame),
        }
    }))
}
