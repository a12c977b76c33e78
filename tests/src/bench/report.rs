//! What was measured, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::samples::Samples;
use super::{BenchArgs, Kind};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    connections: u32,
    rounds: u32,
    concurrency: u32,
    megabytes: u32,
    series: [Series; 3],
}

/// One kind: medians, and the medians of the ratios to plain TLS in the same round.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    kind: Kind,
    latency_us: Measured,
    latency_p95_us: f64,
    cpu_alone_us: Measured,
    cpu_together_us: Measured,
    connections_per_second: Measured,
    mebibytes_per_second: Measured,
}

/// A median, and the ratio to plain TLS.
#[derive(Clone, Copy, Debug, Serialize)]
struct Measured {
    median: f64,
    ratio: f64,
}

/// What of a series a line of the table shows.
type Column = fn(&Series) -> Measured;

impl Report {
    pub(super) fn new(connections: u32, args: &BenchArgs, series: [Series; 3]) -> Self {
        Self {
            schema: 1,
            connections,
            rounds: args.rounds.get(),
            concurrency: args.concurrency.get(),
            megabytes: args.megabytes.get(),
            series,
        }
    }

    /// Writes a table, with the ratios in bold where that can be seen.
    pub(super) fn table(&self, out: &mut impl Write, bold: bool) -> io::Result<()> {
        let together = self.concurrency;
        writeln!(
            out,
            "{} connections of each kind in {} rounds, medians; x is the ratio to plain TLS.\n\
             Full handshakes on the loopback; a thread and a current-thread runtime for each end.\n",
            self.connections, self.rounds
        )?;
        writeln!(
            out,
            "{:<34}{:>12}{:>20}{:>20}",
            "", "plain", "fresh side", "pooled side"
        )?;
        let each: [(String, Column); 5] = [
            ("set-up latency, µs".into(), |s| s.latency_us),
            ("CPU of both ends, µs".into(), |s| s.cpu_alone_us),
            (format!("the same, {together} at a time"), |s| {
                s.cpu_together_us
            }),
            (format!("connections/s, {together} at a time"), |s| {
                s.connections_per_second
            }),
            ("throughput, MiB/s".into(), |s| s.mebibytes_per_second),
        ];
        for (name, value) in each {
            self.line(out, &name, value, bold)?;
        }
        Ok(())
    }

    fn line(&self, out: &mut impl Write, name: &str, value: Column, bold: bool) -> io::Result<()> {
        let [plain, others @ ..] = &self.series;
        write!(out, "{name:<34}{:>12.1}", value(plain).median)?;
        let (on, off) = if bold {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        for other in others {
            let Measured { median, ratio } = value(other);
            write!(out, "{median:>12.1} {on}x{ratio:<6.3}{off}")?;
        }
        writeln!(out)
    }
}

impl Series {
    pub(super) fn new(kind: Kind, own: &Samples, plain: &Samples) -> Self {
        Self {
            kind,
            latency_us: Measured {
                median: median(&own.latency),
                ratio: ratio(&own.batch_latency, &plain.batch_latency),
            },
            latency_p95_us: quantile(&own.latency, 0.95),
            cpu_alone_us: Measured::new(&own.cpu_alone, &plain.cpu_alone),
            cpu_together_us: Measured::new(&own.cpu_together, &plain.cpu_together),
            connections_per_second: Measured::new(&own.rate, &plain.rate),
            mebibytes_per_second: Measured::new(&own.throughput, &plain.throughput),
        }
    }
}

impl Measured {
    fn new(own: &[f64], plain: &[f64]) -> Self {
        Self {
            median: median(own),
            ratio: ratio(own, plain),
        }
    }
}

/// The middle one of the samples.
pub(super) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The middle one of the ratios of each round.
pub(super) fn ratio(own: &[f64], plain: &[f64]) -> f64 {
    let ratios: Vec<f64> = own
        .iter()
        .zip(plain)
        .map(|(own, plain)| own / plain)
        .collect();
    median(&ratios)
}

fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    // A quantile between two samples is on the line between them.
    let place = last * part;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    fn a_ratio_compares_the_batches_of_one_round() {
        let (own, plain) = ([2.0, 20.0, 3.0], [1.0, 10.0, 2.0]);
        assert_eq!(ratio(&own, &plain), 2.0);
    }
}
