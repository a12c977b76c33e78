//! One direction of a link, without I/O: packets in, the same packets out, later or never.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::prng::Prng;

/// The properties of one direction of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSettings {
    /// How long a packet travels once it is on the line.
    pub delay: Duration,
    /// Bits per second that the line takes, IP headers included; `None`: any number at once.
    pub rate: Option<u64>,
    /// The part of the packets that is lost, from 0 to 1.
    pub loss: f64,
    /// How many packets may be on the link, waiting or travelling; one more is dropped.
    pub queue: usize,
}

/// As fast as can be, and loses nothing; room for 1,000 packets.
impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            rate: None,
            loss: 0.0,
            queue: 1_000,
        }
    }
}

/// The result of sending a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// It comes out when it is due.
    Queued,
    /// Lost, as the settings say.
    Lost,
    /// There was no room.
    Overflowed,
}

/// The packets on one direction of a link, in their order.
#[derive(Debug)]
pub struct Pipe {
    settings: LinkSettings,
    prng: Prng,
    /// When the line has taken what it was given.
    line_free: Option<Instant>,
    /// With the time at which each comes out; times never fall.
    travelling: VecDeque<(Instant, Vec<u8>)>,
}

impl Pipe {
    /// An empty one. The same seed loses the same packets.
    #[must_use]
    pub fn new(settings: LinkSettings, seed: u64) -> Self {
        Self {
            settings,
            prng: Prng::new(seed),
            line_free: None,
            travelling: VecDeque::new(),
        }
    }

    /// Changes what happens to packets from now on. None overtakes those that travel.
    pub fn set(&mut self, settings: LinkSettings) {
        self.settings = settings;
    }

    /// Takes a packet.
    pub fn push(&mut self, packet: Vec<u8>, now: Instant) -> PushOutcome {
        self.push_late(packet, now, Duration::ZERO)
    }

    /// Takes a packet that travels longer than the others. None overtakes it.
    pub fn push_late(&mut self, packet: Vec<u8>, now: Instant, late: Duration) -> PushOutcome {
        if self.prng.chance(self.settings.loss) {
            return PushOutcome::Lost;
        }
        if self.travelling.len() >= self.settings.queue {
            return PushOutcome::Overflowed;
        }
        let starts = self.line_free.map_or(now, |free| free.max(now));
        let sent = starts + self.on_the_line(packet.len());
        self.line_free = Some(sent);
        let due = sent + self.settings.delay + late;
        let due = self
            .travelling
            .back()
            .map_or(due, |(last, _)| due.max(*last));
        self.travelling.push_back((due, packet));
        PushOutcome::Queued
    }

    /// When the next packet comes out; `None` when the pipe is empty.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.travelling.front().map(|(due, _)| *due)
    }

    /// The next packet, if it is due.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.due()? > now {
            return None;
        }
        self.travelling.pop_front().map(|(_, packet)| packet)
    }

    /// How long the line takes for so many bytes.
    fn on_the_line(&self, bytes: usize) -> Duration {
        let Some(rate) = self.settings.rate else {
            return Duration::ZERO;
        };
        let bits = (bytes as u64).saturating_mul(8);
        Duration::from_secs_f64(bits as f64 / rate.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pipe(settings: LinkSettings) -> (Pipe, Instant) {
        (Pipe::new(settings, 7), Instant::now())
    }

    #[test]
    fn a_packet_comes_out_after_the_delay_and_not_before() {
        let delay = 5 * MS;
        let (mut pipe, start) = pipe(LinkSettings {
            delay,
            ..LinkSettings::default()
        });
        assert_eq!(pipe.push(vec![1], start), PushOutcome::Queued);
        assert_eq!(pipe.push(vec![2], start + MS), PushOutcome::Queued);
        assert_eq!(pipe.due(), Some(start + delay));
        assert_eq!(pipe.pop(start + delay - Duration::from_nanos(1)), None);
        assert_eq!(pipe.pop(start + delay), Some(vec![1]));
        assert_eq!(pipe.pop(start + delay), None);
        assert_eq!(pipe.pop(start + delay + MS), Some(vec![2]));
        assert_eq!(pipe.due(), None);
    }

    #[test]
    fn packets_wait_for_a_slow_line() {
        // 125 bytes are 1,000 bits, so a millisecond each.
        let (mut pipe, start) = pipe(LinkSettings {
            delay: 10 * MS,
            rate: Some(1_000_000),
            ..LinkSettings::default()
        });
        for _ in 0..3 {
            pipe.push(vec![0; 125], start);
        }
        // The line was free again long before this one.
        pipe.push(vec![0; 125], start + 20 * MS);
        for due in [11, 12, 13, 31] {
            assert_eq!(pipe.due(), Some(start + due * MS));
            assert!(pipe.pop(start + due * MS).is_some());
        }
    }

    #[test]
    fn a_full_queue_drops_the_newcomer() {
        let (mut pipe, start) = pipe(LinkSettings {
            delay: MS,
            queue: 2,
            ..LinkSettings::default()
        });
        let outcomes = [1, 2, 3].map(|number| pipe.push(vec![number], start));
        assert_eq!(
            outcomes,
            [
                PushOutcome::Queued,
                PushOutcome::Queued,
                PushOutcome::Overflowed
            ]
        );
        assert_eq!(pipe.pop(start + MS), Some(vec![1]));
        assert_eq!(pipe.push(vec![4], start + MS), PushOutcome::Queued);
        assert_eq!(pipe.pop(start + 2 * MS), Some(vec![2]));
        assert_eq!(pipe.pop(start + 2 * MS), Some(vec![4]));
    }

    #[test]
    fn so_many_are_lost_as_the_settings_say_and_the_same_for_the_same_seed() {
        let lost = |loss: f64, seed: u64| -> Vec<usize> {
            let settings = LinkSettings {
                loss,
                queue: usize::MAX,
                ..LinkSettings::default()
            };
            let mut pipe = Pipe::new(settings, seed);
            let now = Instant::now();
            (0..10_000)
                .filter(|_| pipe.push(vec![0], now) == PushOutcome::Lost)
                .collect()
        };
        assert_eq!(lost(0.0, 1).len(), 0);
        assert_eq!(lost(1.0, 1).len(), 10_000);
        let some = lost(0.25, 1);
        assert!((2_300..2_700).contains(&some.len()), "{}", some.len());
        assert_eq!(some, lost(0.25, 1));
        assert_ne!(some, lost(0.25, 2));
    }

    #[test]
    fn a_late_packet_makes_those_behind_it_late() {
        let (mut pipe, start) = pipe(LinkSettings::default());
        pipe.push_late(vec![1], start, 10 * MS);
        pipe.push(vec![2], start);
        assert_eq!(pipe.pop(start + 9 * MS), None);
        assert_eq!(pipe.pop(start + 10 * MS), Some(vec![1]));
        assert_eq!(pipe.pop(start + 10 * MS), Some(vec![2]));
    }

    #[test]
    fn a_shorter_delay_lets_nobody_overtake() {
        let (mut pipe, start) = pipe(LinkSettings {
            delay: 10 * MS,
            ..LinkSettings::default()
        });
        pipe.push(vec![1], start);
        pipe.set(LinkSettings::default());
        pipe.push(vec![2], start);
        assert_eq!(pipe.pop(start), None);
        assert_eq!(pipe.pop(start + 10 * MS), Some(vec![1]));
        assert_eq!(pipe.pop(start + 10 * MS), Some(vec![2]));
    }
}
