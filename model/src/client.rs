//! The honest client: real [`ClientVerifier`]s, one for each side path, driven as in
//! `side/client/verification.rs`, and evaluated as in `evaluate/client.rs`.

use mtls_core::Policy;
use mtls_core::proto::binding::{Bindings, Nonce};
use mtls_core::proto::client::{
    ClientOutcome, ClientVerifier, InterceptionReason, Peer, SideFailure, TlsVersion,
};
use mtls_core::proto::frame::{Frame, FrameBody};

use super::Mutant;
use super::symbols::{DEADLINE, Random, Transcript, client_nonce, epoch};

/// The client, all of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    mutant: Option<Mutant>,
    /// The handshake that it ended with.
    pub tls: Option<Transcript>,
    /// Its side paths.
    pub sides: Vec<ClientSide>,
}

/// One side path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientSide {
    verifier: ClientVerifier,
    opens: u8,
    reused: bool,
    /// How far the side connection in use has come.
    pub peer: Peer,
    /// Has a Proof come, right or wrong?
    proof_came: bool,
}

/// The result of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// The application has it, and its verdict says "verified".
    Verified,
    /// The application has it, without verification.
    Unverified,
    /// The application does not have it.
    Refused,
}

/// An event of a side connection that is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkEvent {
    /// It cannot be dialled.
    Unreachable,
    /// It is connected.
    Connected,
    /// The greeting comes.
    Greeting,
    /// Bytes come that are not the protocol.
    Garbage,
    /// It ends.
    End,
}

/// The output of a side path's machine: frames, and whether it needs another connection.
#[derive(Debug)]
pub struct Sent {
    /// The frames.
    pub frames: Vec<Frame>,
    /// The connection was given up, and these frames go to another.
    pub redialled: bool,
}

impl Client {
    /// A client whose ClientHello has just left, and which asks over so many side paths. A
    /// connection from the pool has been greeted before.
    pub fn new(
        bindings: Bindings,
        sides: usize,
        pooled: bool,
        mutant: Option<Mutant>,
    ) -> (Self, Vec<Sent>) {
        let side = ClientSide {
            verifier: ClientVerifier::new(Random::Client.association(), bindings),
            opens: 0,
            reused: pooled,
            peer: Peer::Dialling,
            proof_came: false,
        };
        let mut client = Self {
            mutant,
            tls: None,
            sides: vec![side; sides],
        };
        let sent = (0..sides)
            .map(|side| {
                client.drive(side, |verifier, nonce| {
                    verifier.handle_link(nonce);
                    verifier.set_deadline(epoch() + DEADLINE);
                })
            })
            .collect();
        (client, sent)
    }

    /// TLS is complete, with the server or an attacker.
    pub fn complete(&mut self, transcript: Transcript) -> Vec<Sent> {
        self.tls = Some(transcript);
        (0..self.sides.len())
            .map(|side| {
                self.drive(side, |verifier, nonce| {
                    verifier.handle_tls_complete(transcript.version, nonce);
                })
            })
            .collect()
    }

    /// A frame arrives.
    pub fn frame(&mut self, side: usize, frame: &Frame) -> Sent {
        let path = &mut self.sides[side];
        path.proof_came |= matches!(frame.body, FrameBody::Proof { .. });
        self.drive(side, |verifier, nonce| verifier.handle_frame(frame, nonce))
    }

    /// Something else happens to a side connection.
    pub fn link(&mut self, side: usize, event: LinkEvent) -> Sent {
        let path = &mut self.sides[side];
        let reused = path.reused;
        match event {
            LinkEvent::Connected => path.peer = Peer::Connected,
            LinkEvent::Greeting => path.peer = Peer::Greeted,
            LinkEvent::Unreachable | LinkEvent::Garbage | LinkEvent::End => {}
        }
        let peer = path.peer;
        self.drive(side, |verifier, _| {
            verifier.handle_peer(peer);
            match event {
                LinkEvent::Unreachable => verifier.handle_unreachable(),
                LinkEvent::Connected | LinkEvent::Greeting => {}
                LinkEvent::Garbage => verifier.handle_garbage(),
                LinkEvent::End => verifier.handle_disconnected(reused),
            }
        })
    }

    /// The deadline passes.
    pub fn deadline(&mut self) -> Vec<Sent> {
        (0..self.sides.len())
            .map(|side| {
                self.drive(side, |verifier, _| {
                    verifier.handle_timeout(epoch() + DEADLINE);
                })
            })
            .collect()
    }

    /// As the connector's loop: an event, then the check, then another connection where one is
    /// wanted, then what there is to send.
    fn drive(&mut self, side: usize, event: impl FnOnce(&mut ClientVerifier, Nonce)) -> Sent {
        let tls = self.tls;
        let mutant = self.mutant;
        let path = &mut self.sides[side];
        event(&mut path.verifier, client_nonce(side, path.opens));
        if let Some(check) = path.verifier.poll_check()
            && let Some(transcript) = tls
        {
            let values = transcript.values(check.binding, &check.context, mutant);
            path.verifier.handle_values(&values);
        }
        let mut frames = path.transmit();
        let redialled = path.verifier.wants_connection();
        if redialled {
            path.reused = false;
            path.peer = Peer::Dialling;
            path.verifier.handle_link(client_nonce(side, path.opens));
            // Frames for the lost connection are lost with it.
            frames = path.transmit();
        }
        Sent { frames, redialled }
    }

    /// Has every side path verified or failed, or one of them shown an interception?
    pub fn is_resolved(&self) -> bool {
        let intercepted = |side: &ClientSide| {
            matches!(
                side.outcome(),
                ClientOutcome::Failed(SideFailure::Interception(_))
            )
        };
        self.sides.iter().any(intercepted)
            || self
                .sides
                .iter()
                .all(|side| side.outcome() != ClientOutcome::Pending)
    }

    /// The result of the connection under a policy; `None` while it is undecided.
    ///
    /// These are the rules of the connector's `judge`, with the library's own
    /// [`SideFailure::allows_fallback`].
    pub fn judge(&self, policy: Policy) -> Option<Judgement> {
        self.tls?;
        if self.mutant == Some(Mutant::AcceptBeforeVerify)
            && self.sides.iter().all(|side| side.proof_came)
        {
            return Some(Judgement::Verified);
        }
        if !self.is_resolved() {
            return None;
        }
        let verified = |side: &ClientSide| matches!(side.outcome(), ClientOutcome::Verified(_));
        if self.sides.iter().all(verified)
            || (self.mutant == Some(Mutant::OneSideIsEnough) && self.sides.iter().any(verified))
        {
            return Some(Judgement::Verified);
        }
        let falls_back = self.sides.iter().all(|side| match side.outcome() {
            ClientOutcome::Failed(failure) => self.allows_fallback(failure),
            ClientOutcome::Verified(_) => true,
            ClientOutcome::Pending => false,
        });
        Some(match policy {
            Policy::Observe => Judgement::Unverified,
            Policy::Prefer if falls_back => Judgement::Unverified,
            Policy::Prefer | Policy::Require => Judgement::Refused,
        })
    }

    fn allows_fallback(&self, failure: SideFailure) -> bool {
        let soft = match self.mutant {
            Some(Mutant::SoftFailure) => {
                failure == SideFailure::Interception(InterceptionReason::WrongValue)
            }
            Some(Mutant::FallbackOnReject) => {
                matches!(failure, SideFailure::Rejected(_) | SideFailure::Silent)
            }
            _ => false,
        };
        soft || failure.allows_fallback()
    }

    /// Did TLS end with a version that cannot be verified?
    pub fn is_downgraded(&self) -> bool {
        self.tls
            .is_some_and(|transcript| transcript.version == TlsVersion::Older)
    }
}

impl ClientSide {
    /// The state of this side path.
    pub fn outcome(&self) -> ClientOutcome {
        self.verifier.outcome()
    }

    /// Has it ended?
    pub fn has_ended(&self) -> bool {
        self.outcome() != ClientOutcome::Pending
    }

    /// Is a timer set?
    pub fn has_deadline(&self) -> bool {
        self.verifier.poll_timeout().is_some()
    }

    /// Does it use a connection of the pool?
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    fn transmit(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.verifier.poll_transmit() {
            if matches!(frame.body, FrameBody::Open { .. }) {
                self.opens += 1;
            }
            frames.push(frame);
        }
        frames
    }
}
