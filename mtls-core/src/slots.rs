//! Bounded places for strangers: in all and per peer, the oldest stranger evicted first.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// Holds at most so many `T`, and at most so many of one peer.
///
/// When it is full, a newcomer takes the place of the oldest stranger; who is known keeps its
/// place, and where all are known the newcomer is turned away.
#[derive(Debug)]
pub(crate) struct Places<T> {
    limits: PlaceLimits,
    held: HashMap<PlaceId, Held<T>>,
    by_peer: HashMap<IpAddr, usize>,
    strangers: BTreeSet<PlaceId>,
    next: u64,
}

/// The bounds of a [`Places`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaceLimits {
    pub(crate) total: usize,
    pub(crate) per_peer: usize,
}

/// One place; ids are given in order and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceId(u64);

#[derive(Debug)]
struct Held<T> {
    peer: IpAddr,
    occupant: T,
}

/// A place that was given, and who had to go for it.
#[derive(Debug)]
pub(crate) struct Entered<T> {
    pub(crate) id: PlaceId,
    pub(crate) evicted: Option<(PlaceId, T)>,
}

impl<T> Places<T> {
    pub(crate) fn new(limits: PlaceLimits) -> Self {
        Self {
            limits,
            held: HashMap::new(),
            by_peer: HashMap::new(),
            strangers: BTreeSet::new(),
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes a place for `occupant`. `None`: there is none to be had for this peer.
    pub(crate) fn enter(&mut self, peer: IpAddr, known: bool, occupant: T) -> Option<Entered<T>> {
        let peer = network_of(peer);
        if self.by_peer.get(&peer).copied().unwrap_or_default() >= self.limits.per_peer {
            return None;
        }
        let evicted = match self.held.len() < self.limits.total {
            true => None,
            false => {
                let oldest = *self.strangers.first()?;
                Some((oldest, self.leave(oldest)?))
            }
        };
        let id = PlaceId(self.next);
        self.next += 1;
        self.held.insert(id, Held { peer, occupant });
        *self.by_peer.entry(peer).or_default() += 1;
        if !known {
            self.strangers.insert(id);
        }
        Some(Entered { id, evicted })
    }

    /// The occupant is a stranger no more.
    pub(crate) fn make_known(&mut self, id: PlaceId) {
        self.strangers.remove(&id);
    }

    /// Gives a place up; `None` when it was evicted before.
    pub(crate) fn leave(&mut self, id: PlaceId) -> Option<T> {
        let Held { peer, occupant } = self.held.remove(&id)?;
        self.strangers.remove(&id);
        if let Some(count) = self.by_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&peer);
            }
        }
        Some(occupant)
    }
}

/// One peer is one IPv4 address or one IPv6 /64, which a single host can have for itself.
pub(crate) fn network_of(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places<&'static str> {
        Places::new(PlaceLimits {
            total: 3,
            per_peer: 2,
        })
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_peer_cannot_take_every_place() {
        let mut places = places();
        assert!(places.enter(peer(1), false, "a").is_some());
        assert!(places.enter(peer(1), false, "b").is_some());
        assert!(places.enter(peer(1), false, "c").is_none());
        assert!(places.enter(peer(2), false, "d").is_some());
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn the_oldest_stranger_goes_first_and_the_known_stay() {
        let mut places = places();
        let known = places.enter(peer(1), false, "known").expect("a place").id;
        places.enter(peer(2), false, "stranger").expect("a place");
        places.enter(peer(3), true, "known too").expect("a place");
        places.make_known(known);
        let entered = places.enter(peer(4), true, "new").expect("a place");
        assert_eq!(entered.evicted.map(|(_, who)| who), Some("stranger"));
        assert!(
            places.enter(peer(5), false, "late").is_none(),
            "nobody known is evicted"
        );
        assert_eq!(places.leave(known), Some("known"));
        assert_eq!(places.leave(known), None);
        assert!(places.enter(peer(5), false, "late").is_some());
    }

    #[test]
    fn a_64_is_one_peer() {
        let a: IpAddr = "2001:db8::1".parse().expect("an address");
        let b: IpAddr = "2001:db8::2:1".parse().expect("an address");
        let other: IpAddr = "2001:db8:0:1::1".parse().expect("an address");
        assert_eq!(network_of(a), network_of(b));
        assert_ne!(network_of(a), network_of(other));
    }
}
