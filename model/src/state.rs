//! Everything at one moment.

use std::collections::VecDeque;

use mtls_core::proto::frame::Frame;

use super::client::Client;
use super::knowledge::Knowledge;
use super::scenario::Moves;
use super::server::Server;
use super::symbols::Attacker;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The honest client.
    pub client: Client,
    /// The honest server.
    pub server: Server,
    /// Has the client's deadline passed?
    pub deadline_passed: bool,
    pub(super) links: Vec<Link>,
    pub(super) knowledge: [Knowledge; 2],
    pub(super) moves: [Moves; 2],
}

/// The frames in flight on a side path that no attacker can delay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Link {
    pub(super) to_server: VecDeque<Frame>,
    pub(super) to_client: VecDeque<Frame>,
}

impl State {
    /// This attacker's own observations.
    pub fn knowledge(&self, attacker: Attacker) -> &Knowledge {
        &self.knowledge[attacker as usize]
    }

    /// How often this attacker may still act.
    pub fn moves(&self, attacker: Attacker) -> &Moves {
        &self.moves[attacker as usize]
    }
}
