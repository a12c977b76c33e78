//! Session tickets with their descent: sessions of verified connections, which a later connection
//! inherits from (`docs/protocol.md`, section 12), and sessions of side paths that were made in advance
//! (section 11.7).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::ticket::Ticket;
use crate::path::Endpoint;
use crate::sync::lock;
use crate::verdict::PathReport;
use crate::verdict::inheritance::{Moment, Origin};
use crate::verdict::method::Method;

/// The most tickets of one peer that are kept; the oldest one makes room.
const TICKETS_PER_PEER: usize = 8;

/// The greatest age of a ticket that was fetched in advance.
const MAX_PREFETCHED_AGE: Duration = Duration::from_secs(600);

/// The time between two searches for tickets of all peers that are too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The handshake from which a ticket descends.
#[derive(Clone)]
pub(crate) enum Descent {
    /// A verified connection.
    Verified(Arc<Origin>),
    /// A full handshake over the side path, made in advance.
    Prefetched(Arc<Prefetched>),
}

impl Descent {
    /// How a connection is verified that resumes the session.
    pub(crate) fn method(&self) -> Method {
        match self {
            Self::Verified(origin) => origin.method,
            Self::Prefetched(_) => Method::Resumption,
        }
    }
}

/// A full handshake over the side path.
pub(crate) struct Prefetched {
    pub(crate) made: Moment,
    pub(crate) report: PathReport,
    pub(crate) alpn: Option<Vec<u8>>,
}

/// A peer: the name that its certificate is valid for, and the side verifier that it was verified
/// with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    name: ServerName<'static>,
    side_endpoint: Endpoint,
}

impl Peer {
    pub(crate) fn new(name: &ServerName<'static>, side_endpoint: &Endpoint) -> Self {
        Self {
            name: name.clone(),
            side_endpoint: side_endpoint.clone(),
        }
    }
}

/// Tickets with their descent, of a limited number of peers and until a limited age.
///
/// A use of the store for any peer erases those of all peers that are too old, once a minute at most.
/// No timer does: a store that no connection uses keeps its last tickets (`docs/threat-model.md`).
pub(crate) struct DescendedTickets {
    /// The greatest age of an origin; `None` where verified connections leave no tickets.
    max_age: Option<Duration>,
    peers: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tickets: HashMap<Peer, VecDeque<(Ticket, Descent)>>,
    /// The peers in the order of their first ticket.
    order: VecDeque<Peer>,
    swept: Option<Moment>,
}

impl DescendedTickets {
    pub(crate) fn new(max_age: Option<Duration>, peers: usize) -> Self {
        Self {
            max_age,
            peers,
            state: Mutex::default(),
        }
    }

    /// Whether tickets of verified connections are kept.
    pub(crate) fn inherits(&self) -> bool {
        self.max_age.is_some()
    }

    /// Takes the newest ticket of a peer. One whose origin is too old is dropped: the full
    /// handshake that follows is verified, and becomes the next origin.
    pub(crate) fn take(&self, peer: &Peer) -> Option<(Ticket, Descent)> {
        let mut state = lock(&self.state);
        self.sweep(&mut state);
        let tickets = state.tickets.get_mut(peer)?;
        tickets.retain(|(_, descent)| self.is_fresh(descent));
        let taken = tickets.pop_back();
        if tickets.is_empty() {
            state.remove(peer);
        }
        taken
    }

    pub(crate) fn insert(&self, peer: &Peer, ticket: Ticket, descent: Descent) {
        let mut state = lock(&self.state);
        self.sweep(&mut state);
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
        tickets.push_back((ticket, descent));
    }

    /// Erases the tickets that are too old, of peers too that no connection leads to any more.
    fn sweep(&self, state: &mut State) {
        let swept = state.swept.as_ref();
        if swept.is_none_or(|swept| swept.age() >= SWEEP_INTERVAL) {
            state.swept = Some(Moment::now());
            state.retain(|descent| self.is_fresh(descent));
        }
    }

    fn is_fresh(&self, descent: &Descent) -> bool {
        match descent {
            Descent::Verified(origin) => self.max_age.is_some_and(|max| origin.age() < max),
            Descent::Prefetched(fetched) => fetched.made.age() < MAX_PREFETCHED_AGE,
        }
    }
}

impl State {
    fn retain(&mut self, is_kept: impl Fn(&Descent) -> bool) {
        let Self { tickets, order, .. } = self;
        tickets.retain(|_, tickets| {
            tickets.retain(|(_, descent)| is_kept(descent));
            !tickets.is_empty()
        });
        order.retain(|peer| tickets.contains_key(peer));
    }

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

#[cfg(test)]
mod tests {
    use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
    use rustls::{ClientConnection, ServerConnection};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A ticket of a handshake in memory.
    fn ticket() -> Ticket {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pki = mtls_certs::Pki::new(&["server.test"]).expect("a pki");
        let server = pki.server_config(Arc::clone(&provider)).expect("a server");
        let mut config = pki.ca.client_config(provider).expect("a client");
        let cache = Arc::new(ClientSessionMemoryCache::new(1));
        config.resumption = Resumption::store(Arc::clone(&cache) as Arc<_>);
        let name = ServerName::try_from("server.test").expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name.clone()).expect("a client");
        let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
        for _ in 0..4 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).expect("memory");
            server.read_tls(&mut &wire[..]).expect("memory");
            server.process_new_packets().expect("TLS");
            wire.clear();
            server.write_tls(&mut wire).expect("memory");
            client.read_tls(&mut &wire[..]).expect("memory");
            client.process_new_packets().expect("TLS");
        }
        let ticket = cache.take_tls13_ticket(&name);
        Ticket(Box::new(ticket.expect("a ticket")))
    }

    fn peer(number: usize) -> Peer {
        let name = ServerName::try_from(format!("server-{number}.test")).expect("a name");
        Peer::new(&name, &"server.test:443".parse().expect("an endpoint"))
    }

    fn verified() -> Descent {
        Descent::Verified(Arc::new(Origin::now(Method::Side, Vec::new())))
    }

    fn held(store: &DescendedTickets) -> usize {
        let state = lock(&store.state);
        assert_eq!(state.order.len(), state.tickets.len());
        state.tickets.values().map(VecDeque::len).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn expired_tickets_of_every_peer_are_erased_at_the_next_use_for_any_peer() {
        let store = DescendedTickets::new(Some(HOUR), 8);
        for number in 0..3 {
            store.insert(&peer(number), ticket(), verified());
            tokio::time::advance(HOUR / 4).await;
        }
        assert_eq!(held(&store), 3);
        tokio::time::advance(HOUR / 4).await;
        // The first one has the greatest age.
        store.insert(&peer(3), ticket(), verified());
        assert_eq!(held(&store), 3);
        tokio::time::advance(HOUR).await;
        assert!(store.take(&peer(9)).is_none());
        assert_eq!(held(&store), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn fresh_tickets_survive_the_erasure_and_an_expired_one_is_never_taken() {
        let store = DescendedTickets::new(Some(HOUR), 8);
        store.insert(&peer(0), ticket(), verified());
        tokio::time::advance(HOUR - SWEEP_INTERVAL / 2).await;
        store.insert(&peer(1), ticket(), verified());
        assert_eq!(held(&store), 2);
        // The last search was less than a minute ago.
        tokio::time::advance(SWEEP_INTERVAL / 2).await;
        assert!(store.take(&peer(0)).is_none());
        assert!(store.take(&peer(1)).is_some());
        assert_eq!(held(&store), 0);
    }

    /// Thirty days of connections to other peers each hour: no more than those of the last hours are held.
    #[tokio::test(start_paused = true)]
    async fn a_month_of_visits_leaves_no_ticket_beyond_its_age() {
        let store = DescendedTickets::new(Some(12 * HOUR), 256);
        for hour in 0..30 * 24 {
            store.insert(&peer(hour), ticket(), verified());
            assert!(held(&store) <= 12, "hour {hour}");
            tokio::time::advance(HOUR).await;
        }
        tokio::time::advance(12 * HOUR).await;
        assert!(store.take(&peer(0)).is_none());
        assert_eq!(held(&store), 0);
    }
}
