//! The server's end of one side connection (`docs/protocol.md`, sections 3 and 5).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::binding::{Association, Binding, Bindings, Nonce, SideContext, SideSecrets, Value};
use super::client::SideProof;
use super::frame::{Frame, FrameBody, RejectCode};

/// Answers the verifications that one side connection carries (`docs/protocol.md`, section 5.8).
///
/// Inputs: [`handle_frame`](Self::handle_frame), [`handle_lookup`](Self::handle_lookup) in answer
/// to [`ServerEvent::Lookup`], [`handle_timeout`](Self::handle_timeout). After each, drain
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event); wake at
/// [`poll_timeout`](Self::poll_timeout). The machine never calls the registry: its driver does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerVerifier {
    limits: ServerLimits,
    exchanges: BTreeMap<Association, Exchange>,
    transmit: VecDeque<Frame>,
    events: VecDeque<ServerEvent>,
}

/// The bounds of one side connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServerLimits {
    /// The bindings that this end has to offer.
    pub bindings: Bindings,
    /// The most verifications on one side connection at a time. One more gets Reject(busy).
    pub exchanges: usize,
    /// The time that an Open before its handshake waits (`docs/protocol.md`, section 3.3).
    pub early_wait: Duration,
    /// The time that a Proof waits for its Confirm.
    pub confirm_wait: Duration,
}

impl Default for ServerLimits {
    /// Both bindings, 256 verifications, 5 s of early wait, 10 s for a Confirm.
    fn default() -> Self {
        Self {
            bindings: Bindings::ALL,
            exchanges: 256,
            early_wait: Duration::from_secs(5),
            confirm_wait: Duration::from_secs(10),
        }
    }
}

/// A task for the driver of a [`ServerVerifier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerEvent {
    /// Look the handshake up, and answer with [`ServerVerifier::handle_lookup`].
    Lookup {
        /// The handshake.
        association: Association,
        /// Wait until the handshake's first flight has been flushed (an Open), or answer at once
        /// (a Done)? A later look-up replaces an earlier one for the same association.
        mode: LookupMode,
    },
    /// Cancel the lookup of this handshake: no exchange needs it any more.
    CancelLookup(Association),
    /// The client's value checked: the handshake is verified over this side connection.
    Confirmed(Confirmation),
    /// The client's value was wrong; the fields say which handshake it was for.
    Disputed(Confirmation),
}

/// The time at which a lookup is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupMode {
    /// Until the handshake is registered and its first flight has left.
    UntilFlushed,
    /// Not at all.
    Immediate,
}

/// One registration of a handshake. A later one under the same association, whose client random
/// an attacker copied, is another: a confirmation of one says nothing about the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistrationId(pub u128);

/// A client's value that checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Confirmation {
    /// The handshake.
    pub association: Association,
    /// The registration.
    pub registration: RegistrationId,
    /// The binding that was compared.
    pub binding: Binding,
    /// The context of this side path, for its channel binding.
    pub context: SideContext,
}

impl Confirmation {
    /// The proof that this confirmation is.
    pub fn proof(&self) -> SideProof {
        SideProof::new(self.binding, self.context)
    }
}

/// The result of a lookup.
#[derive(Clone, Debug)]
pub enum Lookup<'a> {
    /// The handshake, with what its values are computed from.
    Found {
        /// The registration of the handshake.
        registration: RegistrationId,
        /// The secrets that its values are computed from.
        keys: &'a HandshakeKeys,
    },
    /// No such handshake.
    Unknown,
    /// A bound of the registry was reached.
    Busy,
    /// The registry did not answer.
    Unavailable,
}

/// A registered handshake: what a server keeps of it to compute values from.
#[derive(Clone, Debug)]
pub enum HandshakeKeys {
    /// A TLS 1.3 handshake.
    Tls13(SideSecrets),
    /// A handshake of an older version, which cannot be verified.
    Older,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Exchange {
    state: ExchangeState,
    expires: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ExchangeState {
    /// An Open that has no Proof yet.
    Opened(OpenRequest),
    /// The Proof has been sent.
    Proven {
        confirmation: Confirmation,
        expected: Value,
    },
}

/// The content of an Open, and whether a Done has followed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct OpenRequest {
    nonce_c: Nonce,
    offered: Bindings,
    done: bool,
}

impl ServerVerifier {
    /// A side connection whose greeting has been read.
    pub fn new(limits: ServerLimits) -> Self {
        Self {
            limits,
            exchanges: BTreeMap::new(),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The number of verifications under way.
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    /// A frame from the client.
    pub fn handle_frame(&mut self, frame: &Frame, now: Instant) {
        let association = frame.association;
        match frame.body {
            FrameBody::Open { nonce_c, bindings } => {
                self.handle_open(association, nonce_c, bindings, now);
            }
            FrameBody::Done => self.handle_done(association),
            FrameBody::Confirm { value } => self.handle_confirm(association, value),
            FrameBody::Reject { .. } => self.drop_exchange(association),
            FrameBody::Proof { .. } => self.reject(association, RejectCode::Malformed),
        }
    }

    /// The answer to a look-up. `nonce_s` must be fresh.
    ///
    /// A handshake that is unknown is rejected as such only when the client has said Done: only
    /// then has its ClientHello surely arrived wherever it went. Before that the Open is rejected
    /// as early, so a registry should not answer, but wait, as long as it can.
    pub fn handle_lookup(
        &mut self,
        association: Association,
        found: &Lookup<'_>,
        nonce_s: Nonce,
        now: Instant,
    ) {
        let Some(Exchange {
            state: ExchangeState::Opened(request),
            ..
        }) = self.exchanges.get(&association).copied()
        else {
            return;
        };
        let proven = match *found {
            Lookup::Found { registration, keys } => {
                self.send_proof(association, registration, &request, keys, nonce_s)
            }
            Lookup::Unknown if request.done => Err(RejectCode::Unknown),
            Lookup::Unknown => Err(RejectCode::EarlyWaitExpired),
            Lookup::Busy => Err(RejectCode::Busy),
            Lookup::Unavailable => Err(RejectCode::RegistryUnavailable),
        };
        match proven {
            Ok(state) => {
                let expires = now + self.limits.confirm_wait;
                self.exchanges
                    .insert(association, Exchange { state, expires });
            }
            Err(code) => self.reject(association, code),
        }
    }

    /// Sends the Proof, and says what the Confirm has to be.
    fn send_proof(
        &mut self,
        association: Association,
        registration: RegistrationId,
        request: &OpenRequest,
        keys: &HandshakeKeys,
        nonce_s: Nonce,
    ) -> Result<ExchangeState, RejectCode> {
        let HandshakeKeys::Tls13(secrets) = keys else {
            return Err(RejectCode::NotTls13);
        };
        let OpenRequest {
            nonce_c, offered, ..
        } = *request;
        let available = secrets.bindings().intersection(self.limits.bindings);
        let binding = offered
            .strongest_common(available)
            .ok_or(RejectCode::NoCommonBinding)?;
        let context = SideContext::new(&association, &nonce_c, offered, &nonce_s, binding);
        let values = secrets
            .values(binding, &context)
            .ok_or(RejectCode::NoCommonBinding)?;
        self.send(
            association,
            FrameBody::Proof {
                nonce_s,
                binding,
                value: values.server,
            },
        );
        Ok(ExchangeState::Proven {
            confirmation: Confirmation {
                association,
                registration,
                binding,
                context,
            },
            expected: values.client,
        })
    }

    /// Handles the passage of time: rejects early Opens that waited long enough, and drops Proofs
    /// without a Confirm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let expired: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.expires <= now)
            .map(|(association, exchange)| (*association, exchange.state))
            .collect();
        for (association, state) in expired {
            match state {
                ExchangeState::Opened(_) => {
                    self.events
                        .push_back(ServerEvent::CancelLookup(association));
                    self.reject(association, RejectCode::EarlyWaitExpired);
                }
                ExchangeState::Proven { .. } => {
                    self.exchanges.remove(&association);
                }
            }
        }
    }

    /// The time at which to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.exchanges
            .values()
            .map(|exchange| exchange.expires)
            .min()
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        self.transmit.pop_front()
    }

    /// The next thing for the driver to do.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    fn handle_open(
        &mut self,
        association: Association,
        nonce_c: Nonce,
        offered: Bindings,
        now: Instant,
    ) {
        match self.exchanges.get(&association) {
            // One question at a time: a second Open, the same nonce or another, is out of order.
            Some(_) => {
                self.drop_exchange(association);
                return self.reject(association, RejectCode::Malformed);
            }
            None if self.exchanges.len() >= self.limits.exchanges => {
                return self.reject(association, RejectCode::Busy);
            }
            None => {}
        }
        if offered.strongest_common(self.limits.bindings).is_none() {
            return self.reject(association, RejectCode::NoCommonBinding);
        }
        let opened = Exchange {
            state: ExchangeState::Opened(OpenRequest {
                nonce_c,
                offered,
                done: false,
            }),
            expires: now + self.limits.early_wait,
        };
        self.exchanges.insert(association, opened);
        self.look_up(association, LookupMode::UntilFlushed);
    }

    fn handle_done(&mut self, association: Association) {
        // A Done that crosses a Proof or a Reject finds no open question and is ignored.
        if let Some(Exchange {
            state: ExchangeState::Opened(request),
            ..
        }) = self.exchanges.get_mut(&association)
            && !std::mem::replace(&mut request.done, true)
        {
            self.look_up(association, LookupMode::Immediate);
        }
    }

    fn handle_confirm(&mut self, association: Association, value: Value) {
        match self
            .exchanges
            .remove(&association)
            .map(|exchange| exchange.state)
        {
            Some(ExchangeState::Proven {
                confirmation,
                expected,
            }) if expected == value => {
                self.events.push_back(ServerEvent::Confirmed(confirmation));
            }
            Some(ExchangeState::Proven { confirmation, .. }) => {
                self.events.push_back(ServerEvent::Disputed(confirmation));
                self.reject(association, RejectCode::WrongValue);
            }
            Some(ExchangeState::Opened(_)) => {
                self.events
                    .push_back(ServerEvent::CancelLookup(association));
                self.reject(association, RejectCode::Malformed);
            }
            None => self.reject(association, RejectCode::Malformed),
        }
    }

    fn drop_exchange(&mut self, association: Association) {
        if let Some(Exchange {
            state: ExchangeState::Opened(_),
            ..
        }) = self.exchanges.remove(&association)
        {
            self.events
                .push_back(ServerEvent::CancelLookup(association));
        }
    }

    fn look_up(&mut self, association: Association, mode: LookupMode) {
        self.events
            .push_back(ServerEvent::Lookup { association, mode });
    }

    fn reject(&mut self, association: Association, code: RejectCode) {
        self.exchanges.remove(&association);
        self.send(association, FrameBody::Reject { code });
    }

    fn send(&mut self, association: Association, body: FrameBody) {
        self.transmit.push_back(Frame { association, body });
    }
}
