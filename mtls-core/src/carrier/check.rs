//! The comparison of what was sent on each subflow with the kernel's counters
//! (`docs/protocol.md`, section 15.4).

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

use super::stream::{Carrier, Volume};
use super::subflow::Pause;
use crate::path::mptcp::Snapshot;

/// A difference counts when so many samples find the same one, with a [`Pause`] before each but the first
/// (together 213 ms at least): bytes that have arrived on a subflow are handed to the connection a little
/// later. Time alone shows nothing: a process that did not run for so long has sampled once.
const SETTLED_SAMPLES: u32 = 10;

/// The most samples for one comparison: a peer that sends byte by byte causes one for each.
const MAX_SAMPLES: u32 = 64;

/// Compares what a carrier has moved with the counters, which `sample` reads, until they match or differ
/// for good. `None` without a state.
pub(super) async fn compare_until_stable<IO>(
    carrier: &mut Carrier<IO>,
    second: Option<(IpAddr, SocketAddr)>,
    mut sample: impl FnMut() -> Option<Snapshot>,
) -> io::Result<Option<Comparison>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut pause = Pause::sparing();
    let (mut last, mut same) = (None, 0);
    for _ in 0..MAX_SAMPLES {
        let Some(now) = sample() else {
            return Ok(None);
        };
        let expected = Expected {
            received: carrier.received(),
            sent: carrier.sent(),
            second,
        };
        if expected.compare(&now) == Comparison::Matches {
            return Ok(Some(Comparison::Matches));
        }
        let seen = Some((expected, now));
        if seen != last {
            (last, same, pause) = (seen, 0, Pause::sparing());
        }
        same += 1;
        if same == SETTLED_SAMPLES {
            break;
        }
        carrier.read_arrived().await?;
        if carrier.received() == expected.received {
            pause.wait().await;
        }
    }
    tracing::warn!(?last, "bytes on another subflow than theirs");
    let lost = last.is_some_and(|(_, now)| now.reinjected);
    Ok(Some(Comparison::Differs { lost }))
}

/// The expectation of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) received: Volume,
    pub(crate) sent: Volume,
    /// At a client: the ends of the second subflow.
    pub(crate) second: Option<(IpAddr, SocketAddr)>,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Matches,
    /// More bytes have arrived than were sampled so far.
    MoreToRead,
    Differs {
        /// Bytes were lost, so the kernel may have sent them on the other subflow.
        lost: bool,
    },
}

impl Expected {
    pub(crate) fn compare(&self, now: &Snapshot) -> Comparison {
        if now.received > self.received.tls + self.received.side {
            return Comparison::MoreToRead;
        }
        match self.matches(now) {
            true => Comparison::Matches,
            false => Comparison::Differs {
                lost: now.reinjected,
            },
        }
    }

    fn matches(&self, now: &Snapshot) -> bool {
        let [first, second] = &now.subflows[..] else {
            return false;
        };
        let ends = (second.local.ip(), second.peer);
        let is_expected = self.second.is_none_or(|expected| expected == ends);
        let received = [first, second].map(|subflow| subflow.bytes_received);
        let sent = [first, second].map(|subflow| subflow.bytes_sent);
        !now.fallback
            && is_expected
            && received == [self.received.tls, self.received.side]
            && sent == [self.sent.tls, self.sent.side]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::path::mptcp::TcpSocket;
    use crate::proto::carrier::{CARRIER_GREETING, Chunk};

    fn subflow(local: &str, received: u64, sent: u64) -> TcpSocket {
        TcpSocket {
            local: local.parse().unwrap(),
            peer: "192.0.2.1:443".parse().unwrap(),
            interface: 0,
            bytes_received: received,
            bytes_sent: sent,
            is_backup_for_peer: false,
            is_established: true,
        }
    }

    fn honest() -> Snapshot {
        Snapshot {
            token: 7,
            fallback: false,
            received: 1_100,
            all_acknowledged: true,
            reinjected: false,
            subflows: vec![
                subflow("198.51.100.1:1000", 1_000, 500),
                subflow("203.0.113.1:1001", 100, 50),
            ],
        }
    }

    const RECEIVED: Volume = Volume {
        tls: 1_000,
        side: 100,
    };

    fn expected() -> Expected {
        Expected {
            received: RECEIVED,
            sent: Volume { tls: 500, side: 50 },
            second: Some((
                "203.0.113.1".parse().unwrap(),
                "192.0.2.1:443".parse().unwrap(),
            )),
        }
    }

    const DIFFERS: Comparison = Comparison::Differs { lost: false };

    #[test]
    fn bytes_on_the_subflows_that_they_were_meant_for_match() {
        assert_eq!(expected().compare(&honest()), Comparison::Matches);
    }

    #[test]
    fn bytes_that_have_not_been_sampled_are_no_difference_yet() {
        let mut now = honest();
        now.received += 1;
        now.subflows[1].bytes_received += 1;
        assert_eq!(expected().compare(&now), Comparison::MoreToRead);
    }

    #[test]
    fn any_other_distribution_differs() {
        let changes: [fn(&mut Snapshot); 9] = [
            // A forged byte on the first subflow, of which the genuine one is a repetition.
            |now| now.subflows[0].bytes_received += 1,
            |now| now.subflows[1].bytes_received += 1,
            |now| now.subflows[1].bytes_received = 0,
            |now| {
                now.subflows[0].bytes_received = 1_100;
                now.subflows[1].bytes_received = 0;
            },
            |now| now.subflows[0].bytes_sent += 50,
            |now| now.subflows[1].bytes_sent = 0,
            |now| now.fallback = true,
            |now| now.subflows.truncate(1),
            |now| now.subflows.push(subflow("198.51.100.1:1002", 0, 0)),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut now = honest();
            change(&mut now);
            assert_eq!(expected().compare(&now), DIFFERS, "change {index}");
        }
    }

    #[test]
    fn a_second_subflow_with_other_ends_differs() {
        let mut now = honest();
        now.subflows[1].local = "198.51.100.1:1001".parse().unwrap();
        assert_eq!(expected().compare(&now), DIFFERS);
        let mut now = honest();
        now.subflows[1].peer = "192.0.2.9:443".parse().unwrap();
        assert_eq!(expected().compare(&now), DIFFERS);
    }

    #[test]
    fn a_loss_is_told_from_a_difference_without_one() {
        let mut now = honest();
        now.reinjected = true;
        assert_eq!(expected().compare(&now), Comparison::Matches);
        now.subflows[0].bytes_received += 100;
        assert_eq!(expected().compare(&now), Comparison::Differs { lost: true });
    }

    /// A carrier that has read the first one of two chunks that have arrived; the counters count both.
    async fn with_a_chunk_to_read() -> (Carrier<DuplexStream>, DuplexStream, Snapshot) {
        let (near, mut far) = duplex(1024);
        let mut carrier = Carrier::new(near, Vec::new());
        let side = Chunk::Side(5).header();
        let one = [&side[..], b"hello"].concat();
        far.write_all(&CARRIER_GREETING).await.unwrap();
        far.write_all(&one).await.unwrap();
        carrier.read_side().await.unwrap();
        far.write_all(&one).await.unwrap();
        let (first, second) = (CARRIER_GREETING.len() as u64, 2 * one.len() as u64);
        let now = Snapshot {
            received: first + second,
            subflows: vec![
                subflow("198.51.100.1:1000", first, carrier.sent().tls),
                subflow("203.0.113.1:1001", second, 0),
            ],
            ..honest()
        };
        (carrier, far, now)
    }

    /// The process does not run for a while, in which nothing could be read: under load, or stopped.
    #[tokio::test]
    async fn a_sample_that_takes_long_shows_no_difference_while_there_is_more_to_read() {
        let (mut carrier, _far, now) = with_a_chunk_to_read().await;
        let mut samples = 0;
        let sample = || {
            samples += 1;
            std::thread::sleep(Duration::from_millis(if samples == 1 { 500 } else { 0 }));
            Some(now.clone())
        };
        let compared = compare_until_stable(&mut carrier, None, sample)
            .await
            .unwrap();
        assert_eq!(compared, Some(Comparison::Matches));
        assert_eq!(samples, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_difference_counts_when_several_samples_find_it_unchanged() {
        let (mut carrier, _far, mut now) = with_a_chunk_to_read().await;
        now.subflows[0].bytes_received += 1;
        let (mut samples, started) = (0, tokio::time::Instant::now());
        let sample = || {
            samples += 1;
            // The kernel finds the loss meanwhile.
            now.reinjected = samples > 3;
            Some(now.clone())
        };
        let compared = compare_until_stable(&mut carrier, None, sample)
            .await
            .unwrap();
        assert_eq!(compared, Some(Comparison::Differs { lost: true }));
        assert_eq!(samples, 3 + SETTLED_SAMPLES);
        assert!(started.elapsed() >= Duration::from_millis(213));
    }

    #[tokio::test(start_paused = true)]
    async fn counters_that_never_stand_still_differ_after_a_bounded_number_of_samples() {
        let (mut carrier, _far, mut now) = with_a_chunk_to_read().await;
        let mut samples = 0;
        let sample = || {
            samples += 1;
            now.subflows[0].bytes_received += 1;
            Some(now.clone())
        };
        let compared = compare_until_stable(&mut carrier, None, sample)
            .await
            .unwrap();
        assert_eq!(compared, Some(Comparison::Differs { lost: false }));
        assert_eq!(samples, MAX_SAMPLES);
    }
}
