//! States, moves, and how one leads to the other.

use mtls_core::proto::binding::Association;
use mtls_core::proto::client::TlsVersion;
use mtls_core::proto::frame::Frame;

use super::client::{LinkEvent, Sent};
use super::forgery::{Forger, Forgery};
use super::scenario::{Access, Scenario};
use super::state::{Link, State};
use super::symbols::{Attacker, Holder, Random, ServerRandom, Transcript};
use mtls_core::proto::client::Peer;

/// The model that a checker explores.
#[derive(Clone, Debug)]
pub struct World {
    /// Its bounds.
    pub scenario: Scenario,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The client's ClientHello reaches the server.
    HelloArrives,
    /// The server's driver learns that a handshake's first flight has left.
    Flushed(usize),
    /// The client's handshake with the server is complete.
    TlsCompletes(usize),
    /// The client's handshake is complete, with the attacker on the primary path.
    TlsForged(ServerRandom, TlsVersion),
    /// An attacker begins a handshake of its own with the server.
    AttackerHello(Attacker, Random, TlsVersion),
    /// A primary connection ends at the server.
    PrimaryEnds(usize),
    /// A tombstone's time is over.
    TombstoneExpires(Random),
    /// The next frame arrives at the server.
    ToServer(usize),
    /// The next frame arrives at the client.
    ToClient(usize),
    /// A connection's driver takes the answer of a look-up.
    LookedUp(usize, Association),
    /// A connection's next timeout at the server.
    ServerTimeout(usize),
    /// The pool's connection turns out to be dead.
    PoolConnectionDies(usize),
    /// The attacker on a side path does this to the client's connection.
    Link(usize, LinkEvent),
    /// An attacker sends this to the server, on this connection.
    Forge(Attacker, usize, Forgery),
    /// The attacker on a side path sends this to the client.
    Deceive(usize, Forgery),
    /// The client's deadline passes.
    Deadline,
}

impl World {
    /// The world of a scenario.
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario }
    }

    pub(super) fn is_mine(&self, side: usize) -> bool {
        self.scenario.sides[side] == Access::Active
    }

    /// The attacker that holds the other end of a server's side connection, if any does.
    fn owner(&self, connection: usize) -> Option<Attacker> {
        let sides = self.scenario.sides.len();
        if connection < sides {
            return self.is_mine(connection).then_some(Attacker::Side);
        }
        match connection - sides < self.scenario.connections[0] {
            true => Some(Attacker::Primary),
            false => Some(Attacker::Side),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.scenario.sides.len() + self.scenario.connections.iter().sum::<usize>()
    }

    /// Whether anything is in flight that no attacker can delay. The deadline is long enough for that.
    pub fn is_quiet(&self, state: &State) -> bool {
        let primary_done = self.scenario.primary == Access::Active
            || (state.client.tls.is_some()
                && state.server.handshakes.iter().all(|handshake| {
                    handshake.flushed || handshake.transcript.client != Holder::Honest
                }));
        let sides_done = state.links.iter().enumerate().all(|(side, link)| {
            self.is_mine(side)
                || (link.to_server.is_empty()
                    && link.to_client.is_empty()
                    && state.server.connections[side].ready().next().is_none())
        });
        primary_done && sides_done
    }
}

impl World {
    pub(super) fn primary_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let handshakes = &state.server.handshakes;
        let honest = |nth: &usize| handshakes[*nth].transcript.client == Holder::Honest;
        let arrived = (0..handshakes.len()).filter(honest).count();
        if arrived < usize::from(self.scenario.client_hellos) {
            actions.push(Action::HelloArrives);
        }
        if state.client.tls.is_some() {
            return;
        }
        actions.extend(
            (0..handshakes.len())
                .filter(honest)
                .map(Action::TlsCompletes),
        );
        if self.scenario.primary == Access::Active && self.scenario.rogue_ca {
            let forged = Action::TlsForged;
            actions.push(forged(ServerRandom::Attacker, TlsVersion::Older));
            actions.push(forged(ServerRandom::Attacker, TlsVersion::Tls13));
            for handshake in handshakes {
                let copied = handshake.transcript.server_random;
                actions.push(forged(copied, TlsVersion::Tls13));
            }
        }
    }

    pub(super) fn side_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (side, link) in state.links.iter().enumerate() {
            if !link.to_server.is_empty() {
                actions.push(Action::ToServer(side));
            }
            // A server's driver learns that its flight has left before a client that has read it
            // hears from the side path again: the one takes microseconds, the other a round trip.
            let unflushed = self.scenario.primary != Access::Active
                && state.client.tls.is_some()
                && state.server.handshakes.iter().any(|handshake| {
                    Some(handshake.transcript) == state.client.tls && !handshake.flushed
                });
            if !link.to_client.is_empty() && !unflushed {
                actions.push(Action::ToClient(side));
            }
            let path = &state.client.sides[side];
            if path.is_reused() && !self.is_mine(side) && !path.has_ended() {
                actions.push(Action::PoolConnectionDies(side));
            }
        }
    }

    pub(super) fn server_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let attacked = self.scenario.is_attacked();
        let ended = state.client.is_resolved();
        for (nth, handshake) in state.server.handshakes.iter().enumerate() {
            // Only attackers open a verification of a handshake under an attacker's random.
            if handshake.transcript.random != Random::Client {
                continue;
            }
            if !handshake.flushed {
                actions.push(Action::Flushed(nth));
            } else if self.scenario.primaries_end && !handshake.ended {
                actions.push(Action::PrimaryEnds(nth));
            }
        }
        for random in Random::ALL {
            let tombstone = state.server.registry.is_tombstone(random.association());
            if tombstone && ((ended && self.is_quiet(state)) || self.scenario.early_expiry) {
                actions.push(Action::TombstoneExpires(random));
            }
        }
        for (nth, connection) in state.server.connections.iter().enumerate() {
            if self.owner(nth).is_some() {
                continue;
            }
            let looked_up = |association| Action::LookedUp(nth, association);
            actions.extend(connection.ready().map(looked_up));
            // Without an attack, an Open that is sent when TLS is complete is answered in a round trip,
            // and a Confirm comes within the client's deadline: only an early wait can be too long.
            let late = connection.has_early_timeout() && state.client.tls.is_none();
            if connection.has_timeout() && (attacked || late) {
                actions.push(Action::ServerTimeout(nth));
            }
        }
    }

    pub(super) fn attacker_actions(
        &self,
        state: &State,
        attacker: Attacker,
        actions: &mut Vec<Action>,
    ) {
        let forger = Forger::new(&self.scenario, state, attacker);
        let moves = state.moves(attacker);
        if moves.hellos > 0 {
            for random in [Random::Of(attacker), Random::Client] {
                if forger.knows_random(random) {
                    let hello = |version| Action::AttackerHello(attacker, random, version);
                    actions.extend([TlsVersion::Tls13, TlsVersion::Older].map(hello));
                }
            }
        }
        if moves.to_server > 0 {
            for connection in 0..self.connections() {
                if self.owner(connection) == Some(attacker) {
                    let forge = |forgery| Action::Forge(attacker, connection, forgery);
                    actions.extend(forger.to_server(connection).into_iter().map(forge));
                }
            }
        }
        if attacker == Attacker::Side {
            for side in 0..self.scenario.sides.len() {
                if self.is_mine(side) && !state.client.sides[side].has_ended() {
                    self.forgeries_to_client(state, &forger, side, actions);
                }
            }
        }
    }

    fn forgeries_to_client(
        &self,
        state: &State,
        forger: &Forger<'_>,
        side: usize,
        actions: &mut Vec<Action>,
    ) {
        let link = |event| Action::Link(side, event);
        match state.client.sides[side].peer {
            Peer::Dialling => {
                let events = [
                    LinkEvent::Unreachable,
                    LinkEvent::Connected,
                    LinkEvent::Greeting,
                ];
                actions.extend(events.map(link));
            }
            Peer::Connected => {
                let events = [LinkEvent::Greeting, LinkEvent::Garbage, LinkEvent::End];
                actions.extend(events.map(link));
            }
            Peer::Greeted => {
                actions.extend([LinkEvent::Garbage, LinkEvent::End].map(link));
                if state.moves(Attacker::Side).to_client > 0 {
                    let deceive = |forgery| Action::Deceive(side, forgery);
                    actions.extend(forger.to_client().into_iter().map(deceive));
                }
            }
        }
    }
}

impl State {
    pub(super) fn step(&mut self, world: &World, action: Action) {
        match action {
            Action::HelloArrives => {
                let transcript = self.server_handshake(Random::Client, Holder::Honest);
                self.server.hello(transcript);
            }
            Action::AttackerHello(attacker, random, version) => {
                self.moves[attacker as usize].hellos -= 1;
                let transcript = self.server_handshake(random, Holder::Attacker(attacker));
                self.server.hello(Transcript {
                    version,
                    ..transcript
                });
                if random != Random::Client {
                    self.server.flush(self.server.handshakes.len() - 1);
                }
            }
            Action::Flushed(nth) => self.server.flush(nth),
            Action::PrimaryEnds(nth) => self.server.end(nth),
            Action::TombstoneExpires(random) => self.server.registry.expire(random.association()),
            Action::TlsCompletes(nth) => {
                let sent = self.client.complete(self.server.handshakes[nth].transcript);
                self.server.complete(nth);
                self.client_sent(world, sent);
            }
            Action::TlsForged(server_random, version) => {
                let sent = self.client.complete(Transcript {
                    random: Random::Client,
                    server_random,
                    client: Holder::Honest,
                    server: Holder::Attacker(Attacker::Primary),
                    version,
                });
                self.client_sent(world, sent);
            }
            Action::ToServer(side) => {
                if let Some(frame) = self.links[side].to_server.pop_front() {
                    let frames = self.server.frame(side, &frame);
                    self.server_sent(world, side, frames);
                }
            }
            Action::ToClient(side) => {
                if let Some(frame) = self.links[side].to_client.pop_front() {
                    let sent = self.client.frame(side, &frame);
                    self.side_sent(world, side, sent);
                }
            }
            Action::LookedUp(connection, association) => {
                let frames = self.server.answer(connection, association);
                self.server_sent(world, connection, frames);
            }
            Action::ServerTimeout(connection) => {
                let frames = self.server.timeout(connection);
                self.server_sent(world, connection, frames);
            }
            Action::PoolConnectionDies(side) => self.link(world, side, LinkEvent::End),
            Action::Link(side, event) => self.link(world, side, event),
            Action::Deadline => {
                self.deadline_passed = true;
                let sent = self.client.deadline();
                self.client_sent(world, sent);
            }
            Action::Forge(..) | Action::Deceive(..) => {}
        }
    }

    fn link(&mut self, world: &World, side: usize, event: LinkEvent) {
        let sent = self.client.link(side, event);
        let redialled = sent.redialled;
        self.side_sent(world, side, sent);
        if redialled && !world.is_mine(side) {
            let sent = self.client.link(side, LinkEvent::Greeting);
            self.side_sent(world, side, sent);
        }
    }

    /// Attackers are answered as soon as there is an answer: to be slower is no use to them.
    pub(super) fn answer_attackers(&mut self, world: &World) {
        for nth in 0..self.server.connections.len() {
            if world.owner(nth).is_none() {
                continue;
            }
            let ready: Vec<_> = self.server.connections[nth].ready().collect();
            for association in ready {
                let frames = self.server.answer(nth, association);
                self.server_sent(world, nth, frames);
            }
        }
    }

    pub(super) fn client_sent(&mut self, world: &World, sent: Vec<Sent>) {
        for (side, sent) in sent.into_iter().enumerate() {
            self.side_sent(world, side, sent);
        }
    }

    /// Delivers what the client sends on a side path to the other end of that path.
    pub(super) fn side_sent(&mut self, world: &World, side: usize, sent: Sent) {
        if sent.redialled {
            self.links[side] = Link::default();
            self.server.reconnect(side);
        }
        for frame in sent.frames {
            if world.scenario.sides[side] != Access::None {
                self.knowledge[Attacker::Side as usize].learn(&frame);
            }
            if !world.is_mine(side) {
                self.links[side].to_server.push_back(frame);
            }
        }
    }

    /// Delivers what the server sends on a side connection, likewise.
    pub(super) fn server_sent(&mut self, world: &World, connection: usize, frames: Vec<Frame>) {
        let passive = world.scenario.sides.get(connection) == Some(&Access::Passive);
        for frame in frames {
            match world.owner(connection) {
                Some(attacker) => self.knowledge[attacker as usize].learn(&frame),
                None => {
                    if passive {
                        self.knowledge[Attacker::Side as usize].learn(&frame);
                    }
                    self.links[connection].to_client.push_back(frame);
                }
            }
        }
    }

    fn server_handshake(&self, random: Random, client: Holder) -> Transcript {
        Transcript {
            random,
            server_random: ServerRandom::Server(self.server.next_handshake()),
            client,
            server: Holder::Honest,
            version: TlsVersion::Tls13,
        }
    }
}
