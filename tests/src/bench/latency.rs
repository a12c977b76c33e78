//! Connection setup over two emulated links with a round-trip time of 0.2 ms: the figures of
//! `mtls-lab latency` that have a limit there, and those over Multipath TCP.

use super::figure::{Figure, Limit};
use super::{BenchArgs, note};
use crate::latency::{self, ROUND_TRIP_OF_LIMITS, Series, Setting};
use crate::{Result, netns};

const BENCHMARK: &str = "latency";
/// Connections of each series for each round of the other benchmarks.
const CONNECTIONS: u32 = 50;

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    if let Some(reason) = netns::unavailable() {
        note(&format!("the latency over two links is skipped: {reason}"));
        return Ok(Vec::new());
    }
    let samples = CONNECTIONS.saturating_mul(args.rounds.get());
    let setting = Setting {
        round_trip: ROUND_TRIP_OF_LIMITS,
        side_ratio: 1.0,
        samples,
    };
    let results = latency::over_links(vec![setting], args.seed)?;
    let results = results.first().ok_or("no results")?;
    if let Some(reason) = &results.no_mptcp {
        note(&format!(
            "the latency over Multipath TCP is skipped: {reason}"
        ));
    }
    let figure = |series: Series| {
        let aim = series.aim(ROUND_TRIP_OF_LIMITS, 1.0);
        let is_listed = aim.is_some() || (series.over_mptcp() && results.no_mptcp.is_none());
        if !is_listed {
            return None;
        }
        let peer = series.baseline();
        Some(Figure::compared(
            BENCHMARK,
            (format!("setup at 0.2 ms: {}", series.title()), "ms"),
            aim.map(Limit::RatioAtMost),
            &results.times(series),
            (peer.title(), &results.times(peer)),
        ))
    };
    Ok(Series::ALL.into_iter().filter_map(figure).collect())
}
