//! Bounded slots, in total and per peer. The oldest unconfirmed entry is evicted first.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// A table with a limit on its entries, and on the entries of one peer.
///
/// In a full table a new entry evicts the oldest unconfirmed one. If all entries are confirmed, the
/// new one is refused.
#[derive(Debug)]
pub(crate) struct SlotTable<T> {
    limits: SlotLimits,
    slots: HashMap<SlotId, Slot<T>>,
    by_peer: HashMap<IpAddr, usize>,
    unconfirmed: BTreeSet<SlotId>,
    next: u64,
}

/// Limits of a [`SlotTable`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotLimits {
    pub(crate) total: usize,
    pub(crate) per_peer: usize,
}

/// The id of a slot. Ids ascend and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u64);

#[derive(Debug)]
struct Slot<T> {
    peer: IpAddr,
    value: T,
}

/// The slot of a new entry, and the entry that was evicted for it.
#[derive(Debug)]
pub(crate) struct Inserted<T> {
    pub(crate) id: SlotId,
    pub(crate) evicted: Option<(SlotId, T)>,
}

impl<T> SlotTable<T> {
    pub(crate) fn new(limits: SlotLimits) -> Self {
        Self {
            limits,
            slots: HashMap::new(),
            by_peer: HashMap::new(),
            unconfirmed: BTreeSet::new(),
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Inserts `value`. `None` if no slot is available for this peer.
    pub(crate) fn insert(
        &mut self,
        peer: IpAddr,
        confirmed: bool,
        value: T,
    ) -> Option<Inserted<T>> {
        let peer = network_of(peer);
        if self.by_peer.get(&peer).copied().unwrap_or_default() >= self.limits.per_peer {
            return None;
        }
        let evicted = match self.slots.len() < self.limits.total {
            true => None,
            false => {
                let oldest = *self.unconfirmed.first()?;
                Some((oldest, self.remove(oldest)?))
            }
        };
        let id = SlotId(self.next);
        self.next += 1;
        self.slots.insert(id, Slot { peer, value });
        *self.by_peer.entry(peer).or_default() += 1;
        if !confirmed {
            self.unconfirmed.insert(id);
        }
        Some(Inserted { id, evicted })
    }

    /// The value of an entry; `None` if it was evicted.
    pub(crate) fn get(&self, id: SlotId) -> Option<&T> {
        Some(&self.slots.get(&id)?.value)
    }

    /// Marks an entry as confirmed, which protects it from eviction.
    pub(crate) fn confirm(&mut self, id: SlotId) {
        self.unconfirmed.remove(&id);
    }

    /// Removes an entry; `None` if it was evicted before.
    pub(crate) fn remove(&mut self, id: SlotId) -> Option<T> {
        let Slot { peer, value } = self.slots.remove(&id)?;
        self.unconfirmed.remove(&id);
        if let Some(count) = self.by_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&peer);
            }
        }
        Some(value)
    }
}

/// The network that counts as one peer: an IPv4 address, or an IPv6 /64, all of whose addresses a
/// single host can use.
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

    fn slots() -> SlotTable<&'static str> {
        SlotTable::new(SlotLimits {
            total: 3,
            per_peer: 2,
        })
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_peer_cannot_take_every_slot() {
        let mut slots = slots();
        assert!(slots.insert(peer(1), false, "a").is_some());
        assert!(slots.insert(peer(1), false, "b").is_some());
        assert!(slots.insert(peer(1), false, "c").is_none());
        assert!(slots.insert(peer(2), false, "d").is_some());
        assert_eq!(slots.len(), 3);
    }

    #[test]
    fn the_oldest_unconfirmed_entry_is_evicted_first_and_confirmed_entries_stay() {
        let mut slots = slots();
        let known = slots.insert(peer(1), false, "known").expect("a slot").id;
        slots.insert(peer(2), false, "unconfirmed").expect("a slot");
        slots.insert(peer(3), true, "known too").expect("a slot");
        slots.confirm(known);
        let entered = slots.insert(peer(4), true, "new").expect("a slot");
        assert_eq!(entered.evicted.map(|(_, who)| who), Some("unconfirmed"));
        assert!(
            slots.insert(peer(5), false, "late").is_none(),
            "no confirmed entry is evicted"
        );
        assert_eq!(slots.remove(known), Some("known"));
        assert_eq!(slots.remove(known), None);
        assert!(slots.insert(peer(5), false, "late").is_some());
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
