//! The comparison of what was sent on each subflow with the kernel's counters
//! (`docs/protocol.md`, section 15.4).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::stream::{Carrier, Volume};
use super::subflow::Pause;
use crate::path::mptcp::Snapshot;

/// A difference counts when it persists so long: bytes that have arrived on a subflow are handed to the
/// connection a little later.
const SETTLE: Duration = Duration::from_millis(200);

/// Compares what a carrier has moved with the counters, which `look` reads, until they match or differ
/// for good. `None` without a state.
pub(super) async fn settled<IO>(
    carrier: &mut Carrier<IO>,
    second: Option<(IpAddr, SocketAddr)>,
    mut look: impl FnMut() -> Option<Snapshot>,
) -> io::Result<Option<Comparison>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let settled_at = Instant::now() + SETTLE;
    let mut pause = Pause::sparing();
    loop {
        let Some(now) = look() else {
            return Ok(None);
        };
        let expected = Expected {
            received: carrier.received(),
            sent: carrier.sent(),
            second,
        };
        let comparison = expected.compare(&now);
        if comparison == Comparison::Matches {
            return Ok(Some(comparison));
        }
        if Instant::now() >= settled_at {
            tracing::warn!(?expected, ?now, "bytes on another subflow than theirs");
            return Ok(Some(Comparison::Differs {
                lost: now.reinjected,
            }));
        }
        carrier.read_arrived().await?;
        if carrier.received() == expected.received {
            pause.wait().await;
        }
    }
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
    /// More bytes have arrived than were looked at so far.
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
    use super::*;
    use crate::path::mptcp::TcpSocket;

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
    fn bytes_that_have_not_been_looked_at_are_no_difference_yet() {
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
}
