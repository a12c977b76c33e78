//! The protocols that are compared.

use std::time::Duration;

/// The shortest round-trip time for which the project has limits.
pub const ROUND_TRIP_OF_LIMITS: Duration = Duration::from_micros(200);

/// A way to set a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Series {
    /// TCP alone.
    Tcp,
    /// Noise NN over one TCP connection: an unauthenticated Diffie-Hellman exchange.
    NoiseNn,
    /// TLS 1.3 by tokio-rustls.
    Tls,
    /// TLS 1.3 with an unauthenticated raw public key: SMKEX's exchange on one path alone.
    RawKey,
    /// SMKEX with a side connection of its own.
    Smkex,
    /// SMKEX with a pooled side connection.
    SmkexPooled,
    /// Multipath TLS with a side connection of its own.
    Fresh,
    /// The same, whose side connection sends its Open in the SYN (TCP Fast Open).
    FastOpen,
    /// Multipath TLS with a pooled side connection.
    Pooled,
    /// TLS 1.3 between ends without multipath support, through a client's and a server's relay with a
    /// pooled side connection.
    Relays,
    /// Verification by resumption of a server of plain TLS.
    Resumption,
    /// The same with a session ticket that was fetched over the side path before the time starts.
    Prefetched,
    /// The same that resumes the session of a verified connection, and inherits its verification.
    Inherited,
    /// QUIC by quinn.
    Quic,
    /// Multipath TLS over QUIC with a side connection of its own.
    QuicFresh,
    /// Multipath TLS over QUIC with a pooled side connection.
    QuicPooled,
    /// SMKEX inside one Multipath TCP connection: the side exchange over its second subflow.
    SmkexInside,
    /// SMKEX with a primary connection of Multipath TCP and a fast-open side connection that starts with
    /// it; after the verdict the second interface joins as a subflow.
    SmkexJoined,
    /// Multipath TLS inside one Multipath TCP connection, as [`SmkexInside`](Self::SmkexInside).
    Inside,
}

impl Series {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 19] = [
        Self::Tcp,
        Self::NoiseNn,
        Self::Tls,
        Self::RawKey,
        Self::Smkex,
        Self::SmkexPooled,
        Self::Fresh,
        Self::FastOpen,
        Self::Pooled,
        Self::Relays,
        Self::Resumption,
        Self::Prefetched,
        Self::Inherited,
        Self::Quic,
        Self::QuicFresh,
        Self::QuicPooled,
        Self::SmkexInside,
        Self::SmkexJoined,
        Self::Inside,
    ];

    /// Those over Multipath TCP.
    pub const MPTCP: [Self; 3] = [Self::SmkexInside, Self::SmkexJoined, Self::Inside];

    /// Its index in [`ALL`](Self::ALL).
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in CSV files.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::NoiseNn => "noise-nn",
            Self::Tls => "tls13",
            Self::RawKey => "tls13-raw-key",
            Self::Smkex => "smkex-fresh",
            Self::SmkexPooled => "smkex-pooled",
            Self::Fresh => "mtls-fresh",
            Self::FastOpen => "mtls-fresh-tfo",
            Self::Pooled => "mtls-pooled",
            Self::Relays => "mtls-relays",
            Self::Resumption => "resumption",
            Self::Prefetched => "resumption-prefetched",
            Self::Inherited => "resumption-inherited",
            Self::Quic => "quic",
            Self::QuicFresh => "mtls-quic-fresh",
            Self::QuicPooled => "mtls-quic-pooled",
            Self::SmkexInside => "smkex-mptcp",
            Self::SmkexJoined => "smkex-mptcp-optimised",
            Self::Inside => "mtls-mptcp",
        }
    }

    /// Its name in tables and charts.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::NoiseNn => "Noise NN",
            Self::Tls => "TLS 1.3",
            Self::RawKey => "TLS 1.3, raw key",
            Self::Smkex => "SMKEX, fresh side",
            Self::SmkexPooled => "SMKEX, pooled side",
            Self::Fresh => "MTLS, fresh side",
            Self::FastOpen => "MTLS, fresh side, TFO",
            Self::Pooled => "MTLS, pooled side",
            Self::Relays => "MTLS, both relays",
            Self::Resumption => "Resumption",
            Self::Prefetched => "Resumption, prefetched",
            Self::Inherited => "Resumption, inherited",
            Self::Quic => "QUIC",
            Self::QuicFresh => "MTLS QUIC, fresh side",
            Self::QuicPooled => "MTLS QUIC, pooled side",
            Self::SmkexInside => "SMKEX over MPTCP, today",
            Self::SmkexJoined => "SMKEX over MPTCP, optimised",
            Self::Inside => "MTLS over MPTCP",
        }
    }

    /// Whether its primary connection is one of Multipath TCP.
    #[must_use]
    pub fn over_mptcp(self) -> bool {
        Self::MPTCP.contains(&self)
    }

    /// The series that it is compared with: the same exchange on one path.
    #[must_use]
    pub fn baseline(self) -> Self {
        match self {
            Self::Smkex | Self::SmkexPooled | Self::SmkexInside | Self::SmkexJoined => Self::RawKey,
            Self::Quic | Self::QuicFresh | Self::QuicPooled => Self::Quic,
            _ => Self::Tls,
        }
    }

    /// The ratio to its baseline that the project aims at, for links of at least
    /// [`ROUND_TRIP_OF_LIMITS`].
    #[must_use]
    pub fn aim(self, primary: Duration, side_ratio: f64) -> Option<f64> {
        if primary < ROUND_TRIP_OF_LIMITS {
            return None;
        }
        let far = primary >= Duration::from_millis(10);
        if matches!(self, Self::Prefetched | Self::Inherited) {
            // Nothing waits for the side path.
            return far.then_some(1.01);
        }
        if side_ratio > 1.0 {
            let hidden = matches!(self, Self::FastOpen | Self::Pooled | Self::SmkexJoined);
            return (hidden && side_ratio <= 2.0).then_some(1.25);
        }
        match (self, far) {
            (Self::Smkex | Self::SmkexPooled | Self::SmkexJoined, true) => Some(1.02),
            (Self::Fresh | Self::FastOpen | Self::Pooled | Self::QuicPooled, true) => Some(1.01),
            (Self::Smkex, false) => Some(1.08),
            (Self::SmkexPooled, false) => Some(1.03),
            (Self::Fresh | Self::FastOpen, false) => Some(1.10),
            (Self::Pooled, false) => Some(1.05),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_where_its_index_says_and_has_a_name_of_its_own() {
        for (index, series) in Series::ALL.into_iter().enumerate() {
            assert_eq!(series.index(), index);
        }
        let mut keys = Series::ALL.map(Series::key);
        keys.sort_unstable();
        assert!(keys.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn limits_hold_from_a_round_trip_of_0_2_ms_on() {
        let limits = |round_trip| {
            let aims = Series::ALL.map(|series| series.aim(round_trip, 1.0));
            aims.into_iter().flatten().count()
        };
        assert_eq!(limits(Duration::ZERO), 0, "on loopback");
        assert_eq!(limits(ROUND_TRIP_OF_LIMITS), 5);
    }
}
