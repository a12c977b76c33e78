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
}

impl Series {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 10] = [
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
    ];

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
        }
    }

    /// The series that it is compared with: the same exchange on one path.
    #[must_use]
    pub fn baseline(self) -> Self {
        match self {
            Self::Smkex | Self::SmkexPooled => Self::RawKey,
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
        if side_ratio > 1.0 {
            let hidden = matches!(self, Self::FastOpen | Self::Pooled);
            return (hidden && side_ratio <= 2.0).then_some(1.25);
        }
        let far = primary >= Duration::from_millis(10);
        match (self, far) {
            (Self::Smkex | Self::SmkexPooled, true) => Some(1.02),
            (Self::Fresh | Self::FastOpen | Self::Pooled, true) => Some(1.01),
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
