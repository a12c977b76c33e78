//! Round trips until the application may send, counted in virtual time.

use std::time::Duration;

use mtls_core::path::Dial as _;
use mtls_core::{ConnectorBuilder, Method, MultipathConnector, Policy};
use tokio::time::Instant;

use super::series::Series;
use crate::sim::{Client, Lab, ServerKind, SimPath};

/// The round trip of the simulated primary path, in milliseconds: divisible by much.
const PRIMARY_MS: u64 = 120;

/// How many round trips of the primary path each series takes; not all are simulated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoundTrips(Vec<(Series, f64)>);

impl RoundTrips {
    /// Counts them, with a side path whose round trip is so many times as long. Empty for a ratio
    /// that does not come to a whole, even number of milliseconds of at least 4.
    #[must_use]
    pub fn count(side_ratio: f64) -> Self {
        let side = PRIMARY_MS as f64 * side_ratio;
        if !(4.0..=10_000.0).contains(&side) || side % 2.0 != 0.0 {
            return Self::default();
        }
        let primary = Duration::from_millis(PRIMARY_MS);
        let lab = || Lab::honest(primary, &[Duration::from_millis(side as u64)]);
        let plain = || Lab {
            server: ServerKind::Plain,
            ..lab()
        };
        let over_quic = |lab: Lab| Lab { quic: true, ..lab };
        let counted = [
            (Series::Tcp, plain().run(tcp).client),
            (Series::Tls, plain().run(tls).client),
            (
                Series::Fresh,
                lab().run(|client| multipath(client, 0)).client,
            ),
            (
                Series::Pooled,
                lab().run(|client| multipath(client, 1)).client,
            ),
            (Series::Resumption, plain().run(resumption).client),
            (Series::Prefetched, plain().run(prefetched).client),
            (Series::Inherited, plain().run(inherited).client),
            (Series::Quic, over_quic(plain()).run(quic).client),
            (
                Series::QuicFresh,
                over_quic(lab())
                    .run(|client| verified_quic(client, 0))
                    .client,
            ),
            (
                Series::QuicPooled,
                over_quic(lab())
                    .run(|client| verified_quic(client, 1))
                    .client,
            ),
        ];
        let counted = counted.into_iter().filter_map(|(series, time)| {
            Some((series, time?.as_secs_f64() / primary.as_secs_f64()))
        });
        Self(counted.collect())
    }

    /// Adds those that were counted otherwise.
    #[must_use]
    pub fn with(mut self, counted: &[(Series, f64)]) -> Self {
        self.0.extend(counted);
        self
    }

    /// Those of one series; `None` for one that is not simulated.
    #[must_use]
    pub fn of(&self, series: Series) -> Option<f64> {
        let found = self.0.iter().find(|(counted, _)| *counted == series);
        found.map(|(_, count)| *count)
    }
}

async fn tcp(client: Client) -> Option<Duration> {
    let started = Instant::now();
    let dialed = client.primary().dial(&client.target()).await;
    dialed.ok().map(|_| started.elapsed())
}

async fn tls(client: Client) -> Option<Duration> {
    let started = Instant::now();
    let stream = client.plain().await;
    stream.ok().map(|_| started.elapsed())
}

/// The time of a connection after so many by the same connector.
async fn multipath(client: Client, before: usize) -> Option<Duration> {
    let connector = client.connector(Policy::Require).build().ok()?;
    for _ in 0..before {
        verified(&connector, &client).await?;
    }
    verified(&connector, &client).await
}

async fn resumption(client: Client) -> Option<Duration> {
    let connector = by_resumption(&client).build().ok()?;
    verified(&connector, &client).await
}

async fn prefetched(client: Client) -> Option<Duration> {
    let connector = by_resumption(&client).tickets(1).build().ok()?;
    connector.prefetch(&client.target()).await.ok()?;
    verified(&connector, &client).await
}

async fn inherited(client: Client) -> Option<Duration> {
    let connector = by_resumption(&client).tickets(1).inherit(Duration::MAX);
    let connector = connector.build().ok()?;
    verified(&connector, &client).await?;
    verified(&connector, &client).await
}

async fn quic(client: Client) -> Option<Duration> {
    let started = Instant::now();
    let connection = client.plain_quic().await;
    connection.ok().map(|_| started.elapsed())
}

/// [`multipath`] over QUIC.
async fn verified_quic(client: Client, before: usize) -> Option<Duration> {
    let connector = client.quic_connector(client.settings(Policy::Require));
    let connector = connector.ok()?;
    for _ in 0..before {
        client.quic(&connector).await.ok()?;
    }
    let started = Instant::now();
    let connection = client.quic(&connector).await.ok()?;
    let time = started.elapsed();
    connection.verdict().verified().map(|_| time)
}

fn by_resumption(client: &Client) -> ConnectorBuilder<SimPath> {
    client.connector(Policy::Require).method(Method::Resumption)
}

async fn verified(connector: &MultipathConnector<SimPath>, client: &Client) -> Option<Duration> {
    let target = client.target();
    let started = Instant::now();
    let stream = connector.connect(&target).await.ok()?;
    stream
        .verdict()
        .verified()
        .is_some()
        .then(|| started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_equal_paths_multipath_takes_the_round_trips_of_plain_tls() {
        let counted = RoundTrips::count(1.0);
        assert_eq!(counted.of(Series::Tcp), Some(1.0));
        for series in [Series::Tls, Series::Fresh, Series::Pooled] {
            assert_eq!(counted.of(series), Some(2.0), "{series:?}");
        }
        for series in [Series::Quic, Series::QuicPooled] {
            assert_eq!(counted.of(series), Some(1.0), "{series:?}");
        }
        assert_eq!(counted.of(Series::QuicFresh), Some(2.0));
        assert_eq!(counted.of(Series::Relays), None);
    }

    #[test]
    fn a_side_path_of_twice_the_round_trip_costs_half_a_one_if_it_is_pooled() {
        let counted = RoundTrips::count(2.0);
        assert_eq!(counted.of(Series::Fresh), Some(4.0));
        assert_eq!(counted.of(Series::Pooled), Some(2.5));
        assert_eq!(counted.of(Series::QuicFresh), Some(4.0));
        assert_eq!(counted.of(Series::QuicPooled), Some(2.0));
    }

    #[test]
    fn resumption_waits_for_a_ticket_and_the_side_path_and_a_ticket_in_advance_for_neither() {
        for (ratio, expected) in [(1.0, 4.0), (2.0, 5.0), (4.0, 8.0)] {
            let counted = RoundTrips::count(ratio);
            assert_eq!(counted.of(Series::Resumption), Some(expected), "{ratio}");
            for series in [Series::Prefetched, Series::Inherited] {
                assert_eq!(counted.of(series), Some(2.0), "{series:?} {ratio}");
            }
        }
    }

    #[test]
    fn what_cannot_be_simulated_is_left_out() {
        for ratio in [0.0, 0.001, 1.0 / 7.0, f64::NAN] {
            assert_eq!(RoundTrips::count(ratio), RoundTrips::default());
        }
    }
}
