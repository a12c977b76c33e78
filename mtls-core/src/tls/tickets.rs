//! Session tickets: kept back until the connection that brought them was verified
//! (`docs/protocol.md`, section 8.1).
//!
//! A man in the middle issues tickets of their own. With one of those in the store, every later
//! connection would resume the attacker's session.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use super::descent::{DescendedTickets, Descent, Peer};
use super::ticket::Ticket;
use crate::sync::lock;
use crate::verdict::inheritance::Origin;

/// The most writes of one connection that are withheld: its session tickets, of which servers send two
/// to four, and its key-exchange group.
pub(super) const MAX_WITHHELD: usize = 8;

/// One connection's view of the connector's stores: reads go through, writes are held back until
/// [`release`](Self::release). Without a store nothing is read, and nothing leaves it.
pub(crate) struct Quarantine {
    store: Option<Arc<dyn ClientSessionStore>>,
    descended: Option<Descended>,
    state: Mutex<QuarantineState>,
}

/// The tickets of one peer that have a descent. They take the place of those in the other store.
pub(crate) struct Descended {
    pub(crate) tickets: Arc<DescendedTickets>,
    pub(crate) peer: Peer,
    /// The descent of the ticket that the connection has offered.
    offered: Mutex<Option<Descent>>,
}

enum QuarantineState {
    Withheld(Vec<Write>),
    /// With the origin of the connection.
    Released(Option<Arc<Origin>>),
}

enum Write {
    Hint(ServerName<'static>, NamedGroup),
    Tls12(ServerName<'static>, Box<Tls12ClientSessionValue>),
    Tls13(ServerName<'static>, Ticket),
}

impl Quarantine {
    pub(crate) fn new(
        store: Option<Arc<dyn ClientSessionStore>>,
        descended: Option<Descended>,
    ) -> Self {
        Self {
            store,
            descended,
            state: Mutex::new(QuarantineState::Withheld(Vec::new())),
        }
    }

    /// The connection was verified: what it brought enters the store, and so does what it brings
    /// from now on. Tickets are kept for inheritance with the `origin` of the connection.
    pub(crate) fn release(&self, origin: Option<Arc<Origin>>) {
        let mut state = self.lock();
        let released = QuarantineState::Released(origin.clone());
        if let QuarantineState::Withheld(writes) = std::mem::replace(&mut *state, released) {
            let origin = origin.as_ref();
            writes
                .into_iter()
                .for_each(|write| self.apply(write, origin));
        }
    }

    /// Whether the tickets of a verified connection are kept for inheritance.
    pub(crate) fn keeps_descended(&self) -> bool {
        let descended = self.descended.as_ref();
        descended.is_some_and(|descended| descended.tickets.inherits())
    }

    /// The descent of the ticket that the connection has offered.
    pub(crate) fn offered(&self) -> Option<Descent> {
        lock(&self.descended.as_ref()?.offered).clone()
    }

    /// Adds tickets of another connection that resumed this one's session.
    pub(crate) fn add(&self, name: &ServerName<'static>, tickets: Vec<Ticket>) {
        for ticket in tickets {
            self.write(Write::Tls13(name.clone(), ticket));
        }
    }

    /// The number of TLS 1.3 tickets that are withheld.
    pub(crate) fn tickets(&self) -> usize {
        match &*self.lock() {
            QuarantineState::Withheld(writes) => writes.iter().filter(is_ticket).count(),
            QuarantineState::Released(_) => 0,
        }
    }

    /// Takes up to `count` of the tickets that are held back. They never enter the store.
    pub(crate) fn take_tickets(&self, count: usize) -> Vec<Ticket> {
        let mut state = self.lock();
        let QuarantineState::Withheld(writes) = &mut *state else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        for write in std::mem::take(writes) {
            match write {
                Write::Tls13(_, ticket) if taken.len() < count => taken.push(ticket),
                other => writes.push(other),
            }
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, QuarantineState> {
        lock(&self.state)
    }

    fn write(&self, write: Write) {
        let mut state = self.lock();
        match &mut *state {
            QuarantineState::Withheld(writes) if writes.len() < MAX_WITHHELD => writes.push(write),
            QuarantineState::Withheld(_) => {}
            QuarantineState::Released(origin) => self.apply(write, origin.as_ref()),
        }
    }

    fn apply(&self, write: Write, origin: Option<&Arc<Origin>>) {
        let write = match (write, &self.descended) {
            (Write::Tls13(_, ticket), Some(descended)) => {
                return descended.insert(ticket, origin);
            }
            (write, _) => write,
        };
        let Some(store) = &self.store else {
            return;
        };
        match write {
            Write::Hint(name, group) => store.set_kx_hint(name, group),
            Write::Tls12(name, session) => store.set_tls12_session(name, *session),
            Write::Tls13(name, Ticket(ticket)) => store.insert_tls13_ticket(name, *ticket),
        }
    }
}

impl Descended {
    pub(crate) fn of(tickets: Arc<DescendedTickets>, peer: Peer) -> Self {
        Self {
            tickets,
            peer,
            offered: Mutex::default(),
        }
    }

    fn insert(&self, ticket: Ticket, origin: Option<&Arc<Origin>>) {
        if let Some(origin) = origin {
            let descent = Descent::Verified(Arc::clone(origin));
            self.tickets.insert(&self.peer, ticket, descent);
        }
    }

    fn take(&self) -> Option<Tls13ClientSessionValue> {
        let (Ticket(ticket), descent) = self.tickets.take(&self.peer)?;
        *lock(&self.offered) = Some(descent);
        Some(*ticket)
    }
}

fn is_ticket(write: &&Write) -> bool {
    matches!(write, Write::Tls13(..))
}

impl fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quarantine(..)")
    }
}

impl ClientSessionStore for Quarantine {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.write(Write::Hint(server_name, group));
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.store.as_ref()?.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.write(Write::Tls12(server_name, Box::new(value)));
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.store.as_ref()?.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        if let Some(store) = &self.store {
            store.remove_tls12_session(server_name);
        }
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.write(Write::Tls13(server_name, Ticket(Box::new(value))));
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        if let Some(descended) = &self.descended {
            return descended.take();
        }
        self.store.as_ref()?.take_tls13_ticket(server_name)
    }
}
