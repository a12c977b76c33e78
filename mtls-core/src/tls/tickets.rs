//! Session tickets: kept back until the connection that brought them was verified
//! (`docs/protocol.md`, section 8.1).
//!
//! A man in the middle hands out tickets of his own. One of those in the store would make every
//! later connection a resumption of his.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// How many tickets one connection may hold back; servers send two to four.
const MAX_WITHHELD: usize = 8;

/// One connection's view of the connector's store: reads go through, writes are held back until
/// [`release`](Self::release).
pub(crate) struct Quarantine {
    store: Arc<dyn ClientSessionStore>,
    state: Mutex<QuarantineState>,
}

enum QuarantineState {
    Withheld(Vec<Write>),
    Released,
}

enum Write {
    Hint(ServerName<'static>, NamedGroup),
    Tls12(ServerName<'static>, Box<Tls12ClientSessionValue>),
    Tls13(ServerName<'static>, Box<Tls13ClientSessionValue>),
}

impl Quarantine {
    pub(crate) fn new(store: Arc<dyn ClientSessionStore>) -> Self {
        Self {
            store,
            state: Mutex::new(QuarantineState::Withheld(Vec::new())),
        }
    }

    /// The connection was verified: what it brought enters the store, and so does what it brings
    /// from now on.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let QuarantineState::Withheld(writes) =
            std::mem::replace(&mut *state, QuarantineState::Released)
        {
            writes.into_iter().for_each(|write| self.apply(write));
        }
    }

    fn write(&self, write: Write) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            QuarantineState::Withheld(writes) if writes.len() < MAX_WITHHELD => writes.push(write),
            QuarantineState::Withheld(_) => {}
            QuarantineState::Released => self.apply(write),
        }
    }

    fn apply(&self, write: Write) {
        match write {
            Write::Hint(name, group) => self.store.set_kx_hint(name, group),
            Write::Tls12(name, session) => self.store.set_tls12_session(name, *session),
            Write::Tls13(name, ticket) => self.store.insert_tls13_ticket(name, *ticket),
        }
    }
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
        self.store.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.write(Write::Tls12(server_name, Box::new(value)));
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.store.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.store.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.write(Write::Tls13(server_name, Box::new(value)));
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        self.store.take_tls13_ticket(server_name)
    }
}
