//! Logical time: how long an exchange over the two links takes where computing takes no time.
//!
//! Each end has a clock, which stands still while the end computes. A packet leaves at the time of its
//! sender's clock, travels for half of its link's round trip, and puts its receiver's clock forward when
//! it arrives. So the clocks count round trips of a real exchange between two kernels, and the load of the
//! machine does not change the result.
//!
//! Only packets of connections that begin later count, and of these the ones that an end can wait for: those
//! with new data, those of handshakes, and changes of a subflow's priority. A bare acknowledgement counts as
//! the fourth packet of a join, and as the first one of the client's data, which allows a join.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::segment::{DSS, JOIN, PRIO, SYN, Segment};
use super::{Attack, Sent, TwoLinks};

/// The two ends, as indices.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// The kind of a packet that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first packet of an end, with data if they are sent in a SYN (TCP Fast Open).
    Syn,
    /// The same of a subflow that joins a connection.
    JoinSyn,
    /// The third packet of a join.
    JoinAck,
    /// The fourth packet of a join, with which the subflow is established at both ends.
    JoinEnd,
    /// A bare acknowledgement of the first data from the client, which allows it to add a subflow.
    DataAck,
    /// MP_PRIO: this subflow is or is no longer a backup.
    Priority,
    /// New data.
    Data,
}

/// A packet that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The logical time at which it left.
    pub at: Duration,
    /// The link, 0 or 1.
    pub link: usize,
    /// From the client.
    pub up: bool,
    /// Its kind.
    pub kind: Kind,
}

/// The clocks of both ends.
#[derive(Clone, Debug)]
pub struct LogicalTime(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Half of the round trip of each link.
    one_way: [Duration; 2],
    ends: [End; 2],
    /// By the link and the client's port.
    flows: HashMap<(usize, u16), Flow>,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct End {
    clock: Duration,
    /// Packets on their way to it: when each arrives, and the logical time of that.
    arrivals: Vec<(Instant, Duration)>,
}

/// A connection or a subflow.
#[derive(Debug, Default)]
struct Flow {
    /// The sequence number after the last new byte of each end.
    next: [Option<u32>; 2],
    /// The sequence number after the first data from the client.
    first_data: Option<u32>,
    /// The server has acknowledged them.
    is_acknowledged: bool,
    /// The third packet of its join has been sent.
    has_joined: bool,
    /// The fourth is missing.
    is_joining: bool,
}

impl LogicalTime {
    /// Takes over both links, and sets the clocks to zero. The links must have these round-trip times.
    pub(super) fn start(links: &TwoLinks, round_trips: [Duration; 2]) -> Self {
        let this = Self(Arc::new(Mutex::new(State {
            one_way: round_trips.map(|round_trip| round_trip / 2),
            ends: Default::default(),
            flows: HashMap::new(),
            steps: Vec::new(),
        })));
        for link in 0..2 {
            links.attack(link, [CLIENT, SERVER].map(|end| this.observe(link, end)));
        }
        this
    }

    /// Sets the clocks to zero.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.ends = Default::default();
        state.flows.clear();
        state.steps.clear();
    }

    /// The client's clock.
    #[must_use]
    pub fn client(&self) -> Duration {
        self.lock().ends[CLIENT].now()
    }

    /// The packets so far that count.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    fn observe(&self, link: usize, end: usize) -> Attack {
        let this = self.clone();
        Box::new(move |packet| {
            if let Some(segment) = Segment::parse(&packet) {
                this.lock().handle(link, end, &segment);
            }
            vec![Sent::On(packet)]
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn handle(&mut self, link: usize, end: usize, segment: &Segment) {
        let port = if end == CLIENT {
            segment.from.1
        } else {
            segment.to.1
        };
        if end == CLIENT && segment.flags & SYN != 0 {
            self.flows.entry((link, port)).or_default();
        }
        let flow = self.flows.get_mut(&(link, port));
        let Some(kind) = flow.and_then(|flow| flow.kind(end, segment)) else {
            return;
        };
        let at = self.ends[end].now();
        let arrival = (Instant::now() + self.one_way[link], at + self.one_way[link]);
        self.ends[1 - end].arrivals.push(arrival);
        self.steps.push(Step {
            at,
            link,
            up: end == CLIENT,
            kind,
        });
    }
}

impl End {
    /// Its clock after the packets that have arrived by now.
    fn now(&mut self) -> Duration {
        let now = Instant::now();
        let (arrived, travelling) = self.arrivals.iter().partition(|(due, _)| *due <= now);
        self.arrivals = travelling;
        let arrived: Vec<(Instant, Duration)> = arrived;
        let latest = arrived.into_iter().map(|(_, at)| at).max();
        self.clock = self.clock.max(latest.unwrap_or_default());
        self.clock
    }
}

impl Flow {
    /// The kind of a segment, if it counts.
    fn kind(&mut self, end: usize, segment: &Segment) -> Option<Kind> {
        let (syn, join) = (segment.flags & SYN != 0, segment.mptcp(JOIN).is_some());
        let is_new = self.advance(end, segment, syn);
        if syn {
            let kind = if join { Kind::JoinSyn } else { Kind::Syn };
            return is_new.then_some(kind);
        }
        if end == CLIENT && join && !self.has_joined {
            (self.has_joined, self.is_joining) = (true, true);
            return Some(Kind::JoinAck);
        }
        if end == SERVER && std::mem::take(&mut self.is_joining) {
            return Some(Kind::JoinEnd);
        }
        if end == CLIENT && is_new && self.first_data.is_none() {
            self.first_data = self.next[CLIENT];
        }
        let allows_join = end == SERVER && self.allows_join(segment);
        match segment.mptcp(PRIO) {
            Some(_) => Some(Kind::Priority),
            None if is_new => Some(Kind::Data),
            None => allows_join.then_some(Kind::DataAck),
        }
    }

    /// Whether the segment is the server's first one that acknowledges data of a connection of Multipath TCP.
    fn allows_join(&mut self, segment: &Segment) -> bool {
        let covers = |after: u32| segment.acknowledgement.wrapping_sub(after) as i32 >= 0;
        let is_first = !self.is_acknowledged
            && !self.has_joined
            && segment.mptcp(DSS).is_some()
            && self.first_data.is_some_and(covers);
        self.is_acknowledged |= is_first;
        is_first
    }

    /// Whether the segment has bytes that its end has not sent before.
    fn advance(&mut self, end: usize, segment: &Segment, syn: bool) -> bool {
        let len = segment.data.len() as u32 + u32::from(syn);
        let after = segment.sequence.wrapping_add(len);
        let is_new = match self.next[end] {
            // Sequence numbers wrap around.
            Some(next) => after.wrapping_sub(next) as i32 > 0,
            None => true,
        };
        if len == 0 || !is_new {
            return false;
        }
        self.next[end] = Some(after);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::segment::{ACK, MPTCP};

    fn segment(sequence: u32, flags: u8, data: &[u8]) -> Segment {
        Segment {
            from: ([10, 0, 1, 2], 1),
            to: ([10, 0, 2, 2], 1),
            sequence,
            acknowledgement: 0,
            flags,
            window: 0,
            options: Vec::new(),
            data: data.to_vec(),
        }
    }

    fn joining(sequence: u32, flags: u8) -> Segment {
        Segment {
            options: vec![MPTCP, 4, JOIN << 4, 0],
            ..segment(sequence, flags, b"")
        }
    }

    #[test]
    fn repeated_bytes_and_bare_acknowledgements_do_not_count() {
        let mut flow = Flow::default();
        let first = u32::MAX;
        assert_eq!(
            flow.kind(CLIENT, &segment(first, SYN, b"")),
            Some(Kind::Syn)
        );
        assert_eq!(flow.kind(CLIENT, &segment(first, SYN, b"")), None);
        assert_eq!(flow.kind(CLIENT, &segment(0, ACK, b"")), None);
        assert_eq!(flow.kind(CLIENT, &segment(0, ACK, b"ab")), Some(Kind::Data));
        assert_eq!(flow.kind(CLIENT, &segment(0, ACK, b"ab")), None);
        assert_eq!(
            flow.kind(CLIENT, &segment(0, ACK, b"abc")),
            Some(Kind::Data)
        );
        assert_eq!(flow.kind(SERVER, &segment(7, ACK, b"")), None);
    }

    #[test]
    fn the_first_acknowledgement_of_data_counts_where_it_allows_a_join() {
        let acknowledging = |acknowledgement, options: &[u8]| Segment {
            acknowledgement,
            options: options.to_vec(),
            ..segment(7, ACK, b"")
        };
        let dss = [MPTCP, 4, DSS << 4, 0];
        let mut flow = Flow::default();
        assert_eq!(flow.kind(CLIENT, &segment(5, ACK, b"ab")), Some(Kind::Data));
        let kinds = [
            flow.kind(SERVER, &acknowledging(5, &dss)),
            flow.kind(SERVER, &acknowledging(7, &[])),
            flow.kind(SERVER, &acknowledging(7, &dss)),
            flow.kind(SERVER, &acknowledging(7, &dss)),
        ];
        assert_eq!(kinds, [None, None, Some(Kind::DataAck), None]);
    }

    #[test]
    fn a_join_has_four_packets() {
        let mut flow = Flow::default();
        let kinds = [
            flow.kind(CLIENT, &joining(5, SYN)),
            flow.kind(SERVER, &joining(9, SYN | ACK)),
            flow.kind(CLIENT, &joining(6, ACK)),
            flow.kind(CLIENT, &joining(6, ACK)),
            flow.kind(SERVER, &segment(10, ACK, b"")),
            flow.kind(SERVER, &segment(10, ACK, b"")),
        ];
        let join = [Kind::JoinSyn, Kind::JoinSyn, Kind::JoinAck].map(Some);
        assert_eq!(kinds[..3], join);
        assert_eq!(kinds[3..], [None, Some(Kind::JoinEnd), None]);
    }

    #[test]
    fn a_clock_is_put_forward_by_packets_that_have_arrived() {
        let (past, at) = (Instant::now(), Duration::from_millis(10));
        let later = past + Duration::from_secs(3_600);
        let mut end = End {
            clock: Duration::ZERO,
            arrivals: vec![(past, at), (past, at / 2), (later, 2 * at)],
        };
        assert_eq!(end.now(), at);
        assert_eq!(end.arrivals, [(later, 2 * at)]);
    }
}
