//! What was measured, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::client::Sample;
use super::{Content, Mode};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) rounds: u32,
    pub(super) concurrency: u32,
    pub(super) file_size: u32,
    pub(super) rows: Vec<Row>,
}

/// One case: medians over the batches, and the median ratio of multipath to plain.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    content: Content,
    mode: Mode,
    requests_per_second: Pair,
    p50_us: Pair,
    p99_us: Pair,
}

/// Both servers.
#[derive(Clone, Copy, Debug, Serialize)]
struct Pair {
    plain: f64,
    multipath: f64,
    ratio: f64,
}

impl Row {
    pub(super) fn new(
        (content, mode): (Content, Mode),
        [plain, multipath]: &[Vec<Sample>; 2],
    ) -> Self {
        let pair = |of: fn(&Sample) -> f64| Pair {
            plain: median(plain.iter().map(of)),
            multipath: median(multipath.iter().map(of)),
            ratio: median(
                multipath
                    .iter()
                    .zip(plain)
                    .map(|(own, plain)| of(own) / of(plain)),
            ),
        };
        Self {
            content,
            mode,
            requests_per_second: pair(|sample| sample.requests_per_second),
            p50_us: pair(|sample| sample.p50_us),
            p99_us: pair(|sample| sample.p99_us),
        }
    }
}

impl Report {
    /// Writes a table, with the ratios in bold where that can be seen.
    pub(super) fn table(&self, out: &mut impl Write, bold: bool) -> io::Result<()> {
        writeln!(
            out,
            "{} rounds, {} clients at a time, HTTP/1.1 over TLS 1.3 on the loopback; medians, and \
             x the ratio\nof mtls-server to plain axum on tokio-rustls. The file has {} bytes.\n",
            self.rounds, self.concurrency, self.file_size
        )?;
        writeln!(out, "{:<32}{:>12}{:>14}", "", "plain", "mtls-server")?;
        for row in &self.rows {
            let mode = match row.mode {
                Mode::KeepAlive => "kept alive",
                Mode::NewConnection => "new connection",
            };
            let content = match row.content {
                Content::Small => "small body",
                Content::File => "file",
            };
            for (what, pair) in [
                ("requests/s", row.requests_per_second),
                ("p50, µs", row.p50_us),
                ("p99, µs", row.p99_us),
            ] {
                let name = format!("{content}, {mode}");
                line(out, &name, what, pair, bold)?;
            }
        }
        Ok(())
    }
}

fn line(out: &mut impl Write, name: &str, what: &str, pair: Pair, bold: bool) -> io::Result<()> {
    let (on, off) = match bold {
        true => ("\x1b[1m", "\x1b[0m"),
        false => ("", ""),
    };
    let name = if what.starts_with("req") { name } else { "" };
    let Pair {
        plain,
        multipath,
        ratio,
    } = pair;
    writeln!(
        out,
        "{name:<28}{what:<11}{plain:>9.0}{multipath:>11.0} {on}x{ratio:<6.3}{off}"
    )
}

fn median(samples: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = samples.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_the_batches_of_one_round() {
        let sample = |rate| Sample {
            requests_per_second: rate,
            p50_us: 1.0,
            p99_us: 1.0,
        };
        let plain = [1.0, 10.0, 2.0].map(sample).to_vec();
        let own = [2.0, 20.0, 3.0].map(sample).to_vec();
        let row = Row::new((Content::Small, Mode::KeepAlive), &[plain, own]);
        assert_eq!(row.requests_per_second.ratio, 2.0);
        assert_eq!(row.requests_per_second.plain, 2.0);
        assert_eq!(median([1.0, 4.0].into_iter()), 2.5);
    }
}
