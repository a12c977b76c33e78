//! The honest server: real [`ServerVerifier`]s, one for each side connection, driven as
//! in `side/server/connection.rs`.

use mtls_core::proto::binding::{Association, Binding, Bindings, Nonce, SideContext, Value};
use mtls_core::proto::client::TlsVersion;
use mtls_core::proto::frame::{Frame, FrameBody, RejectCode};
use mtls_core::proto::server::{
    Confirmation, Lookup, RegistrationId, ServerEvent, ServerLimits, ServerVerifier,
};

use super::Mutant;
use super::registry::{Answer, LookupRequester, Pending, Registry, RegistryLimits, Woken};
use super::symbols::{Transcript, epoch, server_nonce};

/// The server, all of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    mutant: Option<Mutant>,
    /// Every handshake that began; the index is the registration.
    pub handshakes: Vec<Handshake>,
    /// The registry.
    pub registry: Registry,
    /// Every side connection.
    pub connections: Vec<Connection>,
    /// Has a confirmation ever counted for a registration that it was not computed for?
    pub miscounted: bool,
}

/// A primary connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handshake {
    /// Its handshake.
    pub transcript: Transcript,
    /// Did the registry take it?
    pub registered: bool,
    /// Whether the registry knows that the first flight has been sent.
    pub flushed: bool,
    /// Has the connection ended?
    pub ended: bool,
    /// Has a side connection sent an Open for it?
    pub opened: bool,
    /// The value of `opened` that a server under `Prefer` used, where it decided before the client's first
    /// bytes.
    decided: Option<bool>,
    /// Is it confirmed?
    pub confirmed: bool,
}

impl Handshake {
    /// Does a server under `Prefer` wait for the Confirm when the client's first bytes arrive now?
    pub fn waits_for_confirm(&self) -> bool {
        self.decided.unwrap_or(self.opened)
    }
}

/// A side connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    limits: ServerLimits,
    verifier: ServerVerifier,
    proofs: u8,
    known: bool,
    lookups: Vec<(Association, Pending)>,
    /// The last exchange for each handshake, as the peer of the side connection sees it.
    pub exchanges: Vec<Exchange>,
}

/// An Open, and the Proof that answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exchange {
    /// The handshake.
    pub association: Association,
    /// The Open's nonce.
    pub nonce_c: Nonce,
    /// The Open's bindings.
    pub offered: Bindings,
    /// The Proof's nonce and binding.
    pub proven: Option<(Nonce, Binding)>,
}

impl Exchange {
    /// The context of the Proof.
    pub fn context(&self) -> Option<(Binding, SideContext)> {
        let (nonce_s, binding) = self.proven?;
        let context = SideContext::new(
            &self.association,
            &self.nonce_c,
            self.offered,
            &nonce_s,
            binding,
        );
        Some((binding, context))
    }
}

impl Server {
    /// A server with this many side connections.
    pub fn new(
        bindings: Bindings,
        connections: usize,
        registry: RegistryLimits,
        mutant: Option<Mutant>,
    ) -> Self {
        let mut limits = ServerLimits::default();
        limits.bindings = bindings;
        limits.exchanges = Connection::MAX_EXCHANGES;
        Self {
            mutant,
            handshakes: Vec::new(),
            registry: Registry::new(registry),
            connections: vec![Connection::new(limits); connections],
            miscounted: false,
        }
    }

    /// A ClientHello arrives: registered before the first flight leaves.
    pub fn hello(&mut self, transcript: Transcript) {
        let nth = self.next_handshake();
        let association = transcript.random.association();
        let waited_for = self.registry.waits_for(association);
        let registered = self.registry.register(association, nth);
        self.handshakes.push(Handshake {
            transcript,
            registered,
            opened: registered && waited_for,
            decided: None,
            flushed: false,
            ended: false,
            confirmed: false,
        });
    }

    /// The number of the next handshake.
    pub fn next_handshake(&self) -> u8 {
        u8::try_from(self.handshakes.len()).expect("a handful of handshakes")
    }

    /// The first flight has been flushed.
    pub fn flush(&mut self, nth: usize) {
        let handshake = &mut self.handshakes[nth];
        handshake.flushed = true;
        if self.holds(nth) {
            let association = self.handshakes[nth].transcript.random.association();
            for woken in self.registry.flushed(association) {
                self.wake(woken);
            }
        }
    }

    /// TLS is complete, here too.
    pub fn complete(&mut self, nth: usize) {
        if self.mutant == Some(Mutant::EarlyDecision) {
            let handshake = &mut self.handshakes[nth];
            handshake.decided = Some(handshake.opened);
        }
    }

    /// The primary connection ends.
    pub fn end(&mut self, nth: usize) {
        self.handshakes[nth].ended = true;
        if self.holds(nth) {
            let association = self.handshakes[nth].transcript.random.association();
            self.registry.leave_tombstone(association, self.mutant);
        }
    }

    fn holds(&self, nth: usize) -> bool {
        let handshake = &self.handshakes[nth];
        let registration = u8::try_from(nth).expect("a handful of handshakes");
        handshake.registered
            && self
                .registry
                .holds(handshake.transcript.random.association(), registration)
    }

    /// A frame arrives on a side connection; what the server sends in answer.
    pub fn frame(&mut self, connection: usize, frame: &Frame) -> Vec<Frame> {
        let side = &mut self.connections[connection];
        side.note_open(frame);
        side.verifier.handle_frame(frame, epoch());
        self.handle_events(connection, frame);
        self.transmit(connection)
    }

    /// The driver takes a look-up's answer.
    pub fn answer(&mut self, connection: usize, association: Association) -> Vec<Frame> {
        let side = &mut self.connections[connection];
        let Some(Pending::Ready(answer)) = side.lookup(association) else {
            return Vec::new();
        };
        side.forget(association);
        let keys;
        let lookup = match answer {
            Answer::Found(nth) => {
                keys = self.handshakes[usize::from(nth)]
                    .transcript
                    .keys(self.mutant);
                Lookup::Found {
                    registration: RegistrationId(u128::from(nth)),
                    keys: &keys,
                }
            }
            Answer::Unknown => Lookup::Unknown,
            Answer::Busy => Lookup::Busy,
        };
        let nonce = server_nonce(connection, side.proofs);
        side.verifier
            .handle_lookup(association, &lookup, nonce, epoch());
        let mut frames = self.transmit(connection);
        if let Answer::Found(nth) = answer {
            self.unlabel(connection, usize::from(nth), &mut frames);
        }
        frames
    }

    /// The earliest timeout of a side connection passes.
    pub fn timeout(&mut self, connection: usize) -> Vec<Frame> {
        let side = &mut self.connections[connection];
        if let Some(at) = side.verifier.poll_timeout() {
            side.verifier.handle_timeout(at);
        }
        while let Some(event) = self.connections[connection].verifier.poll_event() {
            if let ServerEvent::CancelLookup(association) = event {
                self.forget(connection, association);
            }
        }
        self.transmit(connection)
    }

    /// A side connection dies, and another takes its place.
    pub fn reconnect(&mut self, connection: usize) {
        let associations: Vec<_> = self.connections[connection]
            .lookups
            .iter()
            .map(|(association, _)| *association)
            .collect();
        for association in associations {
            self.forget(connection, association);
        }
        let side = &mut self.connections[connection];
        // The number of its Proofs goes on, so that nonces stay fresh.
        *side = Connection {
            proofs: side.proofs,
            ..Connection::new(side.limits)
        };
    }

    /// Handles the machine's events, as `handle_events` in `side/server/connection.rs`.
    fn handle_events(&mut self, connection: usize, frame: &Frame) {
        while let Some(event) = self.connections[connection].verifier.poll_event() {
            match event {
                ServerEvent::Lookup { association, mode } => {
                    self.forget(connection, association);
                    if let Some(nth) = self.registry.registration(association) {
                        self.handshakes[usize::from(nth)].opened = true;
                    }
                    let known = self.connections[connection].known;
                    let requester = LookupRequester { connection, known };
                    let (pending, evicted) = self.registry.look_up(association, mode, requester);
                    self.connections[connection].put(association, pending);
                    if let Some(woken) = evicted {
                        self.wake(woken);
                    }
                }
                ServerEvent::CancelLookup(association) => self.forget(connection, association),
                ServerEvent::Confirmed(confirmation) => {
                    self.connections[connection].known = true;
                    if let FrameBody::Confirm { value } = frame.body {
                        self.count(&confirmation, value);
                    }
                }
                ServerEvent::Disputed(_) => {}
            }
        }
    }

    fn count(&mut self, confirmation: &Confirmation, value: Value) {
        let registration =
            u8::try_from(confirmation.registration.0).expect("a handful of handshakes");
        let counted = self
            .registry
            .confirm(confirmation.association, registration, self.mutant);
        let Some(nth) = counted else { return };
        let handshake = &mut self.handshakes[usize::from(nth)];
        handshake.confirmed = true;
        let right = handshake.transcript.version == TlsVersion::Tls13
            && handshake
                .transcript
                .values(confirmation.binding, &confirmation.context, self.mutant)
                .client
                == value;
        self.miscounted |= !right;
    }

    fn forget(&mut self, connection: usize, association: Association) {
        self.connections[connection].forget(association);
        self.registry.leave(connection, association);
    }

    fn wake(&mut self, woken: Woken) {
        let side = &mut self.connections[woken.connection];
        side.forget(woken.association);
        side.put(woken.association, Pending::Ready(woken.answer));
    }

    /// The frames that leave. Mutants of the server's own words are made here, on the wire.
    fn transmit(&mut self, connection: usize) -> Vec<Frame> {
        let side = &mut self.connections[connection];
        let mut frames = Vec::new();
        while let Some(mut frame) = side.verifier.poll_transmit() {
            side.note_proof(&frame);
            side.note_reject(&frame);
            if self.mutant == Some(Mutant::EarlyUnknown)
                && let FrameBody::Reject { code } = &mut frame.body
                && *code == RejectCode::EarlyWaitExpired
            {
                *code = RejectCode::Unknown;
            }
            frames.push(frame);
        }
        frames
    }

    /// With one label for both roles the server's value is the client's.
    fn unlabel(&self, connection: usize, nth: usize, frames: &mut [Frame]) {
        if self.mutant != Some(Mutant::UnlabelledRoles) {
            return;
        }
        for frame in frames {
            let exchange = self.connections[connection].exchange(frame.association);
            if let FrameBody::Proof { value, .. } = &mut frame.body
                && let Some((binding, context)) = exchange.and_then(|exchange| exchange.context())
            {
                let transcript = &self.handshakes[nth].transcript;
                *value = transcript.values(binding, &context, self.mutant).server;
            }
        }
    }
}

impl Connection {
    /// How many exchanges one side connection may carry: enough for every association that the
    /// model has but one.
    pub const MAX_EXCHANGES: usize = 2;

    fn new(limits: ServerLimits) -> Self {
        Self {
            limits,
            verifier: ServerVerifier::new(limits),
            proofs: 0,
            known: false,
            lookups: Vec::new(),
            exchanges: Vec::new(),
        }
    }

    /// The machine's own bound.
    pub fn is_within_bounds(&self) -> bool {
        self.verifier.exchanges() <= Self::MAX_EXCHANGES
    }

    /// Handshakes whose lookup has a result that has not been delivered yet.
    pub fn ready(&self) -> impl Iterator<Item = Association> {
        self.lookups
            .iter()
            .filter(|(_, pending)| matches!(pending, Pending::Ready(_)))
            .map(|(association, _)| *association)
    }

    /// Does the connection wait for anything that a timeout ends?
    pub fn has_timeout(&self) -> bool {
        self.verifier.poll_timeout().is_some()
    }

    /// Is the next timeout that of an early wait, and not of a Confirm that does not come?
    pub fn has_early_timeout(&self) -> bool {
        self.verifier.poll_timeout() == Some(epoch() + ServerLimits::default().early_wait)
    }

    /// The last exchange for a handshake.
    pub fn exchange(&self, association: Association) -> Option<&Exchange> {
        self.exchanges
            .iter()
            .find(|exchange| exchange.association == association)
    }

    fn lookup(&self, association: Association) -> Option<Pending> {
        self.lookups
            .iter()
            .find(|(other, _)| *other == association)
            .map(|(_, pending)| *pending)
    }

    fn put(&mut self, association: Association, pending: Pending) {
        self.lookups.push((association, pending));
        self.lookups.sort_by_key(|(association, _)| *association);
    }

    fn forget(&mut self, association: Association) {
        self.lookups.retain(|(other, _)| *other != association);
    }

    /// An exchange is over, and forgotten, with a Confirm or a Reject, and with a second Open.
    fn note_open(&mut self, frame: &Frame) {
        if frame.body != FrameBody::Done {
            self.exchanges
                .retain(|exchange| exchange.association != frame.association);
        }
        if let FrameBody::Open { nonce_c, bindings } = frame.body {
            self.exchanges.push(Exchange {
                association: frame.association,
                nonce_c,
                offered: bindings,
                proven: None,
            });
            self.exchanges.sort_by_key(|exchange| exchange.association);
        }
    }

    fn note_reject(&mut self, frame: &Frame) {
        if matches!(frame.body, FrameBody::Reject { .. }) {
            self.exchanges
                .retain(|exchange| exchange.association != frame.association);
        }
    }

    fn note_proof(&mut self, frame: &Frame) {
        if let FrameBody::Proof {
            nonce_s, binding, ..
        } = frame.body
        {
            self.proofs += 1;
            for exchange in &mut self.exchanges {
                if exchange.association == frame.association {
                    exchange.proven = Some((nonce_s, binding));
                }
            }
        }
    }
}
