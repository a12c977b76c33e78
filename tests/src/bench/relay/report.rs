//! What was measured, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::samples::Samples;
use super::{Kind, RelayArgs};
use crate::bench::report::{median, ratio};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    rounds: u32,
    connections_per_round: u32,
    megabytes: u32,
    messages: u32,
    series: Vec<Series>,
}

/// One kind: medians, and the medians of the ratios in the same round.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    kind: Kind,
    latency_us: Measured,
    mebibytes_per_second: Measured,
    round_trips_per_second: Measured,
    /// Of the relay's thread alone.
    cpu_ms_per_gibibyte: Option<f64>,
}

/// A median, and the ratios to none and to HAProxy as it comes, where that is installed.
#[derive(Clone, Copy, Debug, Serialize)]
struct Measured {
    median: f64,
    to_none: f64,
    to_haproxy: Option<f64>,
}

impl Report {
    pub(super) fn new(args: &RelayArgs, series: Vec<Series>) -> Self {
        Self {
            schema: 1,
            rounds: args.rounds.get(),
            connections_per_round: args.connections.get(),
            megabytes: args.megabytes.get(),
            messages: args.messages.get(),
            series,
        }
    }

    /// Writes a table, with the ratios in bold where that can be seen.
    pub(super) fn table(&self, out: &mut impl Write, bold: bool) -> io::Result<()> {
        writeln!(
            out,
            "Medians of {} rounds; x is the ratio to no relay, h that to HAProxy in TCP mode.\n\
             Loopback, a thread each for client, server and relay. Set-up: a TLS 1.3 handshake.\n\
             Then bytes in the clear: {} MiB to the client, and {} round trips of 1 KiB.\n",
            self.rounds, self.megabytes, self.messages
        )?;
        writeln!(
            out,
            "{:<22}{:>9}{:>16}{:>9}{:>16}{:>9}{:>16}{:>12}",
            "", "set-up,", "", "MiB/s", "", "round", "", "relay's CPU,"
        )?;
        writeln!(
            out,
            "{:<22}{:>9}{:>16}{:>9}{:>16}{:>9}{:>16}{:>12}",
            "", "µs", "", "", "", "trips/s", "", "ms/GiB"
        )?;
        for series in &self.series {
            write!(out, "{:<22}", series.kind.name())?;
            for measured in [
                series.latency_us,
                series.mebibytes_per_second,
                series.round_trips_per_second,
            ] {
                measured.write(out, bold)?;
            }
            match series.cpu_ms_per_gibibyte {
                Some(cpu) => writeln!(out, "{cpu:>12.0}")?,
                None => writeln!(out, "{:>12}", "-")?,
            }
        }
        Ok(())
    }
}

impl Series {
    pub(super) fn all(kinds: impl Iterator<Item = Kind>, samples: &[Samples]) -> Vec<Self> {
        let kinds: Vec<_> = kinds.collect();
        let of = |wanted| {
            let index = kinds.iter().position(|kind| *kind == wanted)?;
            samples.get(index)
        };
        let (none, haproxy) = (of(Kind::None), of(Kind::Haproxy));
        let measured = |own: &Samples, value: fn(&Samples) -> &[f64]| Measured {
            median: median(value(own)),
            to_none: none.map_or(f64::NAN, |none| ratio(value(own), value(none))),
            to_haproxy: haproxy.map(|haproxy| ratio(value(own), value(haproxy))),
        };
        let each = kinds.iter().zip(samples);
        each.map(|(kind, own)| Self {
            kind: *kind,
            latency_us: measured(own, |s| &s.latency),
            mebibytes_per_second: measured(own, |s| &s.throughput),
            round_trips_per_second: measured(own, |s| &s.messages),
            cpu_ms_per_gibibyte: (!own.cpu.is_empty()).then(|| median(&own.cpu)),
        })
        .collect()
    }
}

impl Measured {
    fn write(self, out: &mut impl Write, bold: bool) -> io::Result<()> {
        let (on, off) = if bold {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        write!(out, "{:>9.0} {on}x{:<6.2}", self.median, self.to_none)?;
        match self.to_haproxy {
            Some(ratio) => write!(out, " h{ratio:<6.2}{off}"),
            None => write!(out, "        {off}"),
        }
    }
}
