//! Session tickets with their descent: sessions of verified connections, which a later connection
//! inherits from (`docs/protocol.md`, section 12).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::ticket::Ticket;
use crate::path::Endpoint;
use crate::sync::lock;
use crate::verdict::inheritance::Origin;

/// The most tickets of one peer that are kept; the oldest one makes room.
const TICKETS_PER_PEER: usize = 8;

/// A peer: the name that its certificate is valid for, and the side verifier that it was verified
/// with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) name: ServerName<'static>,
    pub(crate) side_endpoint: Endpoint,
}

/// Tickets that descend from verified connections, of a limited number of peers and until a limited
/// age.
pub(crate) struct DescendedTickets {
    max_age: Duration,
    peers: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tickets: HashMap<Peer, VecDeque<(Ticket, Arc<Origin>)>>,
    /// The peers in the order of their first ticket.
    order: VecDeque<Peer>,
}

impl DescendedTickets {
    pub(crate) fn new(max_age: Duration, peers: usize) -> Self {
        Self {
            max_age,
            peers,
            state: Mutex::default(),
        }
    }

    /// Takes the newest ticket of a peer. One whose origin is too old is dropped: the full
    /// handshake that follows is verified, and becomes the next origin.
    pub(crate) fn take(&self, peer: &Peer) -> Option<(Ticket, Arc<Origin>)> {
        let mut state = lock(&self.state);
        let tickets = state.tickets.get_mut(peer)?;
        tickets.retain(|(_, origin)| origin.age() < self.max_age);
        let taken = tickets.pop_back();
        if tickets.is_empty() {
            state.remove(peer);
        }
        taken
    }

    pub(crate) fn insert(&self, peer: &Peer, ticket: Ticket, origin: Arc<Origin>) {
        let mut state = lock(&self.state);
        if !state.tickets.contains_key(peer) {
            if state.order.len() >= self.peers {
                state.remove_oldest();
            }
            state.order.push_back(peer.clone());
        }
        let tickets = state.tickets.entry(peer.clone()).or_default();
        if tickets.len() >= TICKETS_PER_PEER {
            tickets.pop_front();
        }
        tickets.push_back((ticket, origin));
    }
}

impl State {
    fn remove(&mut self, peer: &Peer) {
        self.tickets.remove(peer);
        self.order.retain(|other| other != peer);
    }

    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.tickets.remove(&oldest);
        }
    }
}

impl fmt::Debug for DescendedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DescendedTickets")
            .field("max_age", &self.max_age)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}
