//! A server's memory of verified handshakes, for the connections that inherit from them
//! (`docs/protocol.md`, section 12.3).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::registry::SideStatus;
use crate::sync::lock;
use crate::tls::mark::Mark;
use crate::verdict::inheritance::{Moment, Origin};
use crate::verdict::method::Method;
use crate::verdict::{PathReport, PathRole};

/// Verified full handshakes, until a limited age, and in a limited number: the oldest makes room.
pub(crate) struct VerifiedSessions {
    max_age: Duration,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<Mark, Session>,
    /// The marks in the order of their verifications.
    order: VecDeque<Mark>,
}

/// A verified full handshake.
struct Session {
    verified: Moment,
    peer: Option<SocketAddr>,
    sides: Box<[SocketAddr]>,
}

impl VerifiedSessions {
    pub(crate) fn new(max_age: Duration, limit: usize) -> Self {
        Self {
            max_age,
            limit,
            state: Mutex::default(),
        }
    }

    /// The origin of the sessions with this mark, if it was verified and is not too old.
    pub(crate) fn origin(&self, mark: Mark) -> Option<Arc<Origin>> {
        let state = lock(&self.state);
        let session = state.sessions.get(&mark)?;
        (session.verified.age() < self.max_age).then(|| Arc::new(session.origin()))
    }

    fn remember(&self, mark: Mark, session: Session) {
        let mut state = lock(&self.state);
        while state.is_full(self.limit) || state.has_expired(self.max_age) {
            state.remove_oldest();
        }
        state.order.push_back(mark);
        state.sessions.insert(mark, session);
    }
}

impl State {
    fn is_full(&self, limit: usize) -> bool {
        !self.order.is_empty() && self.order.len() >= limit
    }

    fn has_expired(&self, max_age: Duration) -> bool {
        let oldest = self.order.front().and_then(|mark| self.sessions.get(mark));
        oldest.is_some_and(|session| session.verified.age() >= max_age)
    }

    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.sessions.remove(&oldest);
        }
    }
}

impl Session {
    fn origin(&self) -> Origin {
        let path = |role, peer, result| PathReport {
            peer,
            result,
            ..PathReport::unknown(role)
        };
        let primary = [path(PathRole::Primary, self.peer, None)];
        let sides = self.sides.iter();
        let sides = sides.map(|peer| path(PathRole::Side, Some(*peer), Some("verified")));
        let paths = primary.into_iter().chain(sides).collect();
        Origin::at(self.verified, Method::Side, paths)
    }
}

impl fmt::Debug for VerifiedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedSessions")
            .field("max_age", &self.max_age)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Remembers one full handshake as soon as it is known to be verified, once.
#[derive(Debug)]
pub(crate) struct Remember {
    sessions: Arc<VerifiedSessions>,
    mark: Mark,
    peer: SocketAddr,
    /// The time of the handshake, from which the age counts.
    handshake: Moment,
    done: AtomicBool,
}

impl Remember {
    pub(crate) fn new(sessions: Arc<VerifiedSessions>, mark: Mark, peer: SocketAddr) -> Self {
        Self {
            sessions,
            mark,
            peer,
            handshake: Moment::now(),
            done: AtomicBool::new(false),
        }
    }

    /// Takes the status of the side connections.
    pub(crate) fn note(&self, status: &SideStatus) {
        let confirmations = &status.confirmations;
        if confirmations.is_empty() || self.done.swap(true, Ordering::Relaxed) {
            return;
        }
        let session = Session {
            verified: self.handshake,
            peer: Some(self.peer),
            sides: confirmations.iter().map(|side| side.peer).collect(),
        };
        self.sessions.remember(self.mark, session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            verified: Moment::now(),
            peer: None,
            sides: Box::new([]),
        }
    }

    fn mark(number: u8) -> Mark {
        Mark::from_bytes([number; Mark::LEN])
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_handshakes_are_remembered_than_the_limit_and_the_oldest_makes_room() {
        let sessions = VerifiedSessions::new(Duration::from_secs(60), 2);
        for number in 0..3 {
            sessions.remember(mark(number), session());
        }
        assert!(sessions.origin(mark(0)).is_none());
        assert!((1..3).all(|number| sessions.origin(mark(number)).is_some()));
        assert_eq!(lock(&sessions.state).sessions.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_is_forgotten_at_the_greatest_age() {
        let sessions = VerifiedSessions::new(Duration::from_secs(60), 9);
        sessions.remember(mark(0), session());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(sessions.origin(mark(0)).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(sessions.origin(mark(0)).is_none());
        sessions.remember(mark(1), session());
        assert_eq!(lock(&sessions.state).sessions.len(), 1);
    }
}
