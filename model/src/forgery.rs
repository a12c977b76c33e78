//! Every frame that attackers can construct and that could matter.

use std::borrow::Cow;

use mtls_core::proto::binding::{Association, Binding, Bindings, Nonce, SideContext, Value};
use mtls_core::proto::frame::{Frame, FrameBody, RejectCode};

use super::knowledge::Knowledge;
use super::mutant::Mutant;
use super::scenario::Scenario;
use super::state::State;
use super::symbols::{Attacker, Random, Transcript, attacker_nonce};

/// A frame, described by its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forgery {
    /// An Open with the nonce of the client's n-th, or one of the attacker's own.
    Open {
        /// The handshake.
        random: Random,
        /// The owner of the nonce.
        nonce: OpenNonce,
        /// With which offer.
        bindings: Bindings,
    },
    /// A Done.
    Done(Random),
    /// A Confirm.
    Confirm(Random, Source),
    /// A Reject.
    Reject(Random, RejectCode),
    /// The n-th Proof that the attacker has seen, as it was.
    Replay(usize),
    /// A Proof of the attacker's own.
    Proof(Binding, Source),
}

/// The source of the nonce in a forged Open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenNonce {
    /// The n-th Open that the attacker has seen.
    Seen(usize),
    /// The attacker.
    Own,
}

/// The source of a forged value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Computed, for the client's own handshake.
    ComputedForClient,
    /// Computed, for the server's n-th handshake.
    ComputedForServer(usize),
    /// The value of the n-th Proof seen: reflected.
    SeenProof(usize),
    /// The value of the n-th Confirm seen.
    SeenConfirm(usize),
    /// Anything else.
    Garbage,
}

/// An attacker, and all that they know at this moment.
#[derive(Debug)]
pub struct Forger<'a> {
    scenario: &'a Scenario,
    state: &'a State,
    attacker: Attacker,
    knowledge: Cow<'a, Knowledge>,
}

impl<'a> Forger<'a> {
    /// The knowledge of this attacker, alone or shared with the other.
    pub fn new(scenario: &'a Scenario, state: &'a State, attacker: Attacker) -> Self {
        let own = state.knowledge(attacker);
        let knowledge = match scenario.talk {
            true => Cow::Owned(own.with(state.knowledge(attacker.other()))),
            false => Cow::Borrowed(own),
        };
        Self {
            scenario,
            state,
            attacker,
            knowledge,
        }
    }

    /// Every frame worth sending to the server on a connection.
    ///
    /// Left out is what the server's machine cannot tell from what is there: a second way to be
    /// wrong, a frame for a handshake that does not exist.
    pub fn to_server(&self, connection: usize) -> Vec<Forgery> {
        let mut forgeries = Vec::new();
        for random in Random::ALL {
            if !self.knows_association(random) {
                continue;
            }
            self.opens(random, &mut forgeries);
            let association = random.association();
            let Some(exchange) = self.state.server.connections[connection].exchange(association)
            else {
                continue;
            };
            forgeries.push(Forgery::Done(random));
            forgeries.push(Forgery::Reject(random, RejectCode::Malformed));
            if exchange.proven.is_some() {
                self.sources(|source| forgeries.push(Forgery::Confirm(random, source)));
            }
        }
        forgeries
    }

    /// Every frame worth sending to the client on a side path: about its own handshake.
    pub fn to_client(&self) -> Vec<Forgery> {
        let codes = [
            RejectCode::Unknown,
            RejectCode::Busy,
            RejectCode::NotTls13,
            RejectCode::Malformed,
        ];
        let mut forgeries: Vec<_> = codes
            .map(|code| Forgery::Reject(Random::Client, code))
            .into();
        forgeries.push(Forgery::Done(Random::Client));
        forgeries.extend((0..self.knowledge.proofs.len()).map(Forgery::Replay));
        for binding in [Binding::Exporter, Binding::Hello] {
            if self.scenario.bindings.contains(binding) {
                self.sources(|source| forgeries.push(Forgery::Proof(binding, source)));
            }
        }
        forgeries
    }

    fn opens(&self, random: Random, forgeries: &mut Vec<Forgery>) {
        let association = random.association();
        let mut open = |nonce, bindings| {
            forgeries.push(Forgery::Open {
                random,
                nonce,
                bindings,
            });
        };
        open(OpenNonce::Own, self.scenario.bindings);
        for (nth, seen) in self.knowledge.opens.iter().enumerate() {
            if seen.association == association {
                open(OpenNonce::Seen(nth), self.scenario.bindings);
                // The offer is cut down on its way.
                if self.scenario.bindings == Bindings::ALL {
                    open(OpenNonce::Seen(nth), Binding::Hello.into());
                }
            }
        }
    }

    fn sources(&self, mut push: impl FnMut(Source)) {
        if self.state.client.tls.is_some() {
            push(Source::ComputedForClient);
        }
        for nth in 0..self.state.server.handshakes.len() {
            push(Source::ComputedForServer(nth));
        }
        for nth in 0..self.knowledge.proofs.len() {
            push(Source::SeenProof(nth));
        }
        for nth in 0..self.knowledge.confirms.len() {
            push(Source::SeenConfirm(nth));
        }
        push(Source::Garbage);
    }

    /// The frame to the server; `None` where the attacker cannot make it.
    pub fn frame_to_server(&self, connection: usize, forgery: Forgery) -> Option<Frame> {
        let (random, body) = match forgery {
            Forgery::Open {
                random,
                nonce,
                bindings,
            } => {
                let nonce_c = self.nonce(nonce)?;
                (random, FrameBody::Open { nonce_c, bindings })
            }
            Forgery::Done(random) => (random, FrameBody::Done),
            Forgery::Reject(random, code) => (random, FrameBody::Reject { code }),
            Forgery::Confirm(random, source) => {
                let connection = &self.state.server.connections[connection];
                let (binding, context) = connection.exchange(random.association())?.context()?;
                let value = self.value(source, binding, &context, |values| values.1)?;
                (random, FrameBody::Confirm { value })
            }
            Forgery::Replay(_) | Forgery::Proof(..) => return None,
        };
        Some(frame(random.association(), body))
    }

    /// The frame to the client on a side path; `None` where the attacker cannot make it.
    pub fn frame_to_client(&self, forgery: Forgery) -> Option<Frame> {
        let association = Random::Client.association();
        let body = match forgery {
            Forgery::Done(_) => FrameBody::Done,
            Forgery::Reject(_, code) => FrameBody::Reject { code },
            Forgery::Replay(nth) => {
                let seen = self.knowledge.proofs.get(nth)?;
                FrameBody::Proof {
                    nonce_s: seen.nonce_s,
                    binding: seen.binding,
                    value: seen.value,
                }
            }
            Forgery::Proof(binding, source) => {
                // The client's last Open is the one that is live.
                let open = self.knowledge.opens.last()?;
                let nonce_s = attacker_nonce();
                let offered = self.scenario.bindings;
                let context =
                    SideContext::new(&association, &open.nonce_c, offered, &nonce_s, binding);
                FrameBody::Proof {
                    nonce_s,
                    binding,
                    value: self.value(source, binding, &context, |values| values.0)?,
                }
            }
            Forgery::Open { .. } | Forgery::Confirm(..) => return None,
        };
        Some(frame(association, body))
    }

    fn nonce(&self, nonce: OpenNonce) -> Option<Nonce> {
        match nonce {
            OpenNonce::Own => Some(attacker_nonce()),
            OpenNonce::Seen(nth) => Some(self.knowledge.opens.get(nth)?.nonce_c),
        }
    }

    fn value(
        &self,
        source: Source,
        binding: Binding,
        context: &SideContext,
        role: impl Fn((Value, Value)) -> Value,
    ) -> Option<Value> {
        let computed = |transcript: &Transcript| {
            self.can_compute(transcript, binding).then(|| {
                let values = transcript.values(binding, context, self.scenario.mutant);
                role((values.server, values.client))
            })
        };
        match source {
            Source::ComputedForClient => computed(self.state.client.tls.as_ref()?),
            Source::ComputedForServer(nth) => {
                computed(&self.state.server.handshakes.get(nth)?.transcript)
            }
            Source::SeenProof(nth) => Some(self.knowledge.proofs.get(nth)?.value),
            Source::SeenConfirm(nth) => self.knowledge.confirms.get(nth).copied(),
            Source::Garbage => Some(Value([0xee; Value::LEN])),
        }
    }

    /// The exporter needs keys; the hellos are visible to every reader of their path.
    fn can_compute(&self, transcript: &Transcript, binding: Binding) -> bool {
        let held = transcript.held_by(self.attacker)
            || (self.scenario.talk && transcript.held_by(self.attacker.other()));
        let randoms = self.scenario.mutant == Some(Mutant::RandomsOnly);
        let reads = self.scenario.reads_primary(self.attacker)
            && transcript.random == Random::Client
            && (binding == Binding::Hello || randoms);
        held || reads
    }

    fn knows_association(&self, random: Random) -> bool {
        match random {
            Random::Client => self.knows_random(random) || !self.knowledge.opens.is_empty(),
            Random::Of(owner) => owner == self.attacker || self.scenario.talk,
        }
    }

    /// An association does not reveal the random that it is computed from.
    pub fn knows_random(&self, random: Random) -> bool {
        match random {
            Random::Client => self.scenario.reads_primary(self.attacker),
            Random::Of(owner) => owner == self.attacker,
        }
    }
}

fn frame(association: Association, body: FrameBody) -> Frame {
    Frame { association, body }
}
