//! The client's end of one verification over one side path (`docs/protocol.md`, sections 5 and 6).

use std::collections::VecDeque;
use std::time::Instant;

use super::binding::{Association, Binding, Bindings, Nonce, SideContext, Value, Values};
use super::error::SideMisbehaved;
use super::frame::{Frame, FrameBody, RejectCode};

/// Verifies one TLS handshake over one side path (`docs/protocol.md`, section 5.7).
///
/// Inputs, in the order in which a driver meets them: [`handle_link`](Self::handle_link)
/// (or [`handle_unreachable`](Self::handle_unreachable)), [`set_deadline`](Self::set_deadline)
/// when the ClientHello leaves, [`handle_peer`](Self::handle_peer),
/// [`handle_frame`](Self::handle_frame) (or [`handle_garbage`](Self::handle_garbage)),
/// [`handle_tls_complete`](Self::handle_tls_complete), [`handle_values`](Self::handle_values) (or
/// [`handle_no_values`](Self::handle_no_values)),
/// [`handle_disconnected`](Self::handle_disconnected),
/// [`handle_timeout`](Self::handle_timeout). After each, drain [`poll_transmit`](Self::poll_transmit)
/// and [`poll_check`](Self::poll_check), and read [`outcome`](Self::outcome); wake at
/// [`poll_timeout`](Self::poll_timeout).
///
/// The machine never sees a key: it requests values, and compares them itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientVerifier {
    association: Association,
    offered: Bindings,
    tls: Tls,
    link: Link,
    peer: Peer,
    reopened: u8,
    deadline: Option<Instant>,
    state: State,
    transmit: VecDeque<Frame>,
}

/// A request for the values of both roles: the driver exports them from its TLS connection and
/// answers with [`ClientVerifier::handle_values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// The binding to compute the values from.
    pub binding: Binding,
    /// The context to compute them in.
    pub context: SideContext,
}

/// One side path's proof that the peer of the TLS handshake is the one that answered here.
///
/// Only a check that succeeded makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SideProof {
    binding: Binding,
    context: SideContext,
}

impl SideProof {
    pub(super) fn new(binding: Binding, context: SideContext) -> Self {
        Self { binding, context }
    }

    /// The binding that was compared.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// The context of this side path, from which its channel binding is exported
    /// (`docs/protocol.md`, section 4.4).
    pub fn context(&self) -> &SideContext {
        &self.context
    }
}

/// Reason of a side path that did not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SideFailure {
    /// No connection to the side endpoint.
    Unreachable,
    /// Connected, but the first bytes were not the greeting, or none came: the server does not
    /// speak the protocol, or an attacker suppresses it.
    NoGreeting,
    /// Greeted, then silent until the deadline.
    Silent,
    /// Greeted, then closed.
    Closed,
    /// The server rejected the verification.
    Rejected(RejectCode),
    /// The server sent what the protocol does not allow.
    Misbehaved(SideMisbehaved),
    /// The two paths lead to different peers.
    Interception(InterceptionReason),
}

impl SideFailure {
    /// May a client that only prefers verification go on without it? Nothing but a side path that
    /// cannot be dialled, or whose first bytes are not the greeting (`docs/protocol.md`, section 6.1).
    pub fn allows_fallback(self) -> bool {
        matches!(self, Self::Unreachable | Self::NoGreeting)
    }
}

/// The sign of an interception (`docs/protocol.md`, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterceptionReason {
    /// The value in the server's Proof is not the one of this handshake.
    WrongValue,
    /// The server never saw this handshake.
    UnknownHandshake,
    /// One end holds a TLS 1.3 handshake where the other holds one of an older version.
    Downgrade,
}

/// The state of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientOutcome {
    /// Neither verified nor failed yet.
    Pending,
    /// The Proof checked, and the Confirm is on its way.
    Verified(SideProof),
    /// It will not verify any more.
    Failed(SideFailure),
}

/// The version that the TLS handshake ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.3.
    Tls13,
    /// An older version, whose hellos do not carry the key exchange.
    Older,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tls {
    Handshaking,
    Complete(TlsVersion),
}

/// The progress of a side connection, as its driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Peer {
    /// Not connected yet.
    Dialling,
    /// Connected; no greeting yet.
    Connected,
    /// The server's greeting has been read: it speaks the protocol.
    Greeted,
}

/// The side connection as this verification sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Link {
    /// None yet, or lost and another wanted.
    Wanted,
    /// There, but the server has dropped our Open: a new one goes with Done.
    Idle,
    /// There, with a live Open.
    Open { nonce_c: Nonce, done_sent: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// No Proof yet.
    AwaitingProof,
    /// A Proof is here; its value is checked when TLS is complete.
    Proven {
        check: Check,
        value: Value,
        requested: bool,
    },
    /// The server said that its handshake was not TLS 1.3; this end's is not complete yet.
    OlderAtServer,
    Ended(ClientOutcome),
}

/// The most reopens of a verification: once after a connection that died, on either side of
/// that once after an early wait that ended, and once where its Open outran the news that the
/// handshake's first flight has left, and was turned away by a flood.
const MAX_REOPENS: u8 = 4;

impl ClientVerifier {
    /// A verification of the handshake named by `association`, with these bindings on offer.
    pub fn new(association: Association, offered: Bindings) -> Self {
        Self {
            association,
            offered,
            tls: Tls::Handshaking,
            link: Link::Wanted,
            peer: Peer::Dialling,
            reopened: 0,
            deadline: None,
            state: State::AwaitingProof,
            transmit: VecDeque::new(),
        }
    }

    /// The handshake that is verified.
    pub fn association(&self) -> Association {
        self.association
    }

    /// Sets the absolute deadline (`docs/protocol.md`, section 7); it starts when the ClientHello
    /// leaves.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// A side connection is assigned, fresh (and perhaps still dialled) or reused: asks at once,
    /// so that the question leaves with the connection's first bytes. `nonce_c` must be fresh.
    pub fn handle_link(&mut self, nonce_c: Nonce) {
        if matches!(self.state, State::AwaitingProof) && self.link == Link::Wanted {
            self.open(nonce_c);
        }
    }

    /// The side connection cannot be dialled.
    pub fn handle_unreachable(&mut self) {
        self.fail(SideFailure::Unreachable);
    }

    /// Sets the progress of the side connection in use. A step back is ignored.
    pub fn handle_peer(&mut self, peer: Peer) {
        self.peer = self.peer.max(peer);
    }

    /// Returns whether the verification waits for a side connection.
    pub fn wants_connection(&self) -> bool {
        matches!(self.state, State::AwaitingProof) && self.link == Link::Wanted
    }

    /// The side connection has ended. One that was `reused` may have died before this
    /// verification began, so another is wanted in its place; a fresh one that ends is a failure.
    pub fn handle_disconnected(&mut self, reused: bool) {
        if matches!(self.state, State::OlderAtServer | State::Ended(_)) {
            return; // what there is to learn has been learnt
        }
        // A Proof that cannot be confirmed on its own connection is of no use to the server.
        self.state = State::AwaitingProof;
        if reused && self.reopened < MAX_REOPENS {
            self.reopened += 1;
            self.peer = Peer::Dialling;
            self.link = Link::Wanted;
        } else if self.peer == Peer::Greeted {
            self.fail(SideFailure::Closed);
        } else {
            self.fail(SideFailure::NoGreeting);
        }
    }

    /// The peer sent bytes that are not the side protocol.
    pub fn handle_garbage(&mut self) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        self.fail(match self.peer {
            Peer::Greeted => SideFailure::Misbehaved(SideMisbehaved::InvalidFrame),
            Peer::Dialling | Peer::Connected => SideFailure::NoGreeting,
        });
    }

    /// TLS is complete on the primary path. `nonce_c` must be fresh; it is used where no Open is
    /// live any more.
    pub fn handle_tls_complete(&mut self, version: TlsVersion, nonce_c: Nonce) {
        if matches!(self.tls, Tls::Complete(_)) {
            return;
        }
        self.tls = Tls::Complete(version);
        match (self.state, self.link) {
            (State::Proven { .. }, _) if version == TlsVersion::Older => {
                self.fail(SideFailure::Interception(InterceptionReason::Downgrade));
            }
            (State::OlderAtServer, _) => self.older_at_server(),
            (State::AwaitingProof, Link::Open { nonce_c, .. }) => self.send_done(nonce_c),
            (State::AwaitingProof, Link::Idle) => self.open(nonce_c),
            _ => {}
        }
    }

    /// A frame about this association. `nonce_c` must be fresh; it is used where the frame calls
    /// for a new Open.
    pub fn handle_frame(&mut self, frame: &Frame, nonce_c: Nonce) {
        if frame.association != self.association || matches!(self.state, State::Ended(_)) {
            return;
        }
        match frame.body {
            FrameBody::Proof {
                nonce_s,
                binding,
                value,
            } => self.handle_proof(nonce_s, binding, value),
            FrameBody::Reject { code } => self.handle_reject(code, nonce_c),
            FrameBody::Open { .. } | FrameBody::Confirm { .. } | FrameBody::Done => {
                self.misbehaved(SideMisbehaved::ClientFrameFromServer);
            }
        }
    }

    /// A request for values, once for each Proof that can be checked.
    pub fn poll_check(&mut self) -> Option<Check> {
        match &mut self.state {
            State::Proven {
                check, requested, ..
            } if !*requested && self.tls == Tls::Complete(TlsVersion::Tls13) => {
                *requested = true;
                Some(*check)
            }
            _ => None,
        }
    }

    /// The answer to [`poll_check`](Self::poll_check): the values of this end's own handshake.
    pub fn handle_values(&mut self, values: &Values) {
        let State::Proven {
            check,
            value,
            requested: true,
        } = self.state
        else {
            return;
        };
        if values.server != value {
            self.fail(SideFailure::Interception(InterceptionReason::WrongValue));
            return;
        }
        self.send(FrameBody::Confirm {
            value: values.client,
        });
        self.state = State::Ended(ClientOutcome::Verified(SideProof::new(
            check.binding,
            check.context,
        )));
    }

    /// The other answer: this end has no values for the binding that the server chose, since it
    /// could not read its own hellos.
    pub fn handle_no_values(&mut self) {
        self.send(FrameBody::Reject {
            code: RejectCode::NoCommonBinding,
        });
        self.fail(SideFailure::Rejected(RejectCode::NoCommonBinding));
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.fail(match self.peer {
                Peer::Dialling => SideFailure::Unreachable,
                Peer::Connected => SideFailure::NoGreeting,
                Peer::Greeted => SideFailure::Silent,
            });
        }
    }

    /// The time at which to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Ended(_) => None,
            _ => self.deadline,
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        self.transmit.pop_front()
    }

    /// Returns whether no Proof has arrived yet.
    pub fn awaits_proof(&self) -> bool {
        self.state == State::AwaitingProof
    }

    /// The state of the verification.
    pub fn outcome(&self) -> ClientOutcome {
        match self.state {
            State::Ended(outcome) => outcome,
            _ => ClientOutcome::Pending,
        }
    }

    fn handle_proof(&mut self, nonce_s: Nonce, binding: Binding, value: Value) {
        let Link::Open { nonce_c, .. } = self.link else {
            return self.misbehaved(SideMisbehaved::ProofWithoutOpen);
        };
        if self.state != State::AwaitingProof {
            return self.misbehaved(SideMisbehaved::SecondProof);
        }
        if !self.offered.contains(binding) {
            return self.misbehaved(SideMisbehaved::BindingNotOffered);
        }
        if self.tls == Tls::Complete(TlsVersion::Older) {
            return self.fail(SideFailure::Interception(InterceptionReason::Downgrade));
        }
        let context =
            SideContext::new(&self.association, &nonce_c, self.offered, &nonce_s, binding);
        self.state = State::Proven {
            check: Check { binding, context },
            value,
            requested: false,
        };
    }

    fn handle_reject(&mut self, code: RejectCode, nonce_c: Nonce) {
        let done_sent = matches!(
            self.link,
            Link::Open {
                done_sent: true,
                ..
            }
        );
        match code {
            // Both say "not now": Done is answered at once and needs no waiting place.
            RejectCode::EarlyWaitExpired | RejectCode::Busy if self.may_reopen() => {
                self.reopened += 1;
                self.link = Link::Idle;
                if matches!(self.tls, Tls::Complete(_)) {
                    self.open(nonce_c);
                }
            }
            RejectCode::Unknown if done_sent => self.fail(SideFailure::Interception(
                InterceptionReason::UnknownHandshake,
            )),
            RejectCode::Unknown => self.misbehaved(SideMisbehaved::UnknownWithoutDone),
            RejectCode::NotTls13 => self.older_at_server(),
            code => self.fail(SideFailure::Rejected(code)),
        }
    }

    /// The server's handshake was not TLS 1.3. If this end's was, they are two handshakes.
    fn older_at_server(&mut self) {
        match self.tls {
            Tls::Handshaking => self.state = State::OlderAtServer,
            Tls::Complete(TlsVersion::Older) => {
                self.fail(SideFailure::Rejected(RejectCode::NotTls13));
            }
            Tls::Complete(TlsVersion::Tls13) => {
                self.fail(SideFailure::Interception(InterceptionReason::Downgrade));
            }
        }
    }

    fn may_reopen(&self) -> bool {
        matches!(self.state, State::AwaitingProof) && self.reopened < MAX_REOPENS
    }

    fn open(&mut self, nonce_c: Nonce) {
        self.link = Link::Open {
            nonce_c,
            done_sent: false,
        };
        self.send(FrameBody::Open {
            nonce_c,
            bindings: self.offered,
        });
        if matches!(self.tls, Tls::Complete(_)) {
            self.send_done(nonce_c);
        }
    }

    fn send_done(&mut self, nonce_c: Nonce) {
        self.link = Link::Open {
            nonce_c,
            done_sent: true,
        };
        self.send(FrameBody::Done);
    }

    fn send(&mut self, body: FrameBody) {
        self.transmit.push_back(Frame {
            association: self.association,
            body,
        });
    }

    fn misbehaved(&mut self, what: SideMisbehaved) {
        self.send(FrameBody::Reject {
            code: RejectCode::Malformed,
        });
        self.fail(SideFailure::Misbehaved(what));
    }

    fn fail(&mut self, failure: SideFailure) {
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(ClientOutcome::Failed(failure));
        }
    }
}
