//! The figures of all benchmarks, and the table that shows them.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::rounds::Measured;
use crate::stats::{Ratio, Sorted};

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// The argument of `mtls-lab bench` that measures it.
    pub(super) benchmark: &'static str,
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) limit: Option<Limit>,
    pub(super) peer: Option<Peer>,
    pub(super) ours: f64,
    /// Of ours to the peer's.
    pub(super) ratio: Option<Ratio>,
    /// Whether the limit is reached.
    pub(super) reached: Option<bool>,
}

/// The program or protocol that a figure is compared with.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Peer {
    name: &'static str,
    value: f64,
}

/// The bound that a figure should keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", content = "value", rename_all = "kebab-case")]
pub(crate) enum Limit {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
}

/// A quantity that a benchmark measures of every subject.
pub(super) struct Quantity {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
}

/// A subject of a comparison, and its limit for each quantity.
pub(super) struct Subject<const N: usize> {
    pub(super) name: &'static str,
    pub(super) limits: [Option<Limit>; N],
}

impl Figure {
    /// A figure without a peer.
    pub(super) fn alone(
        benchmark: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
        limit: Option<Limit>,
    ) -> Self {
        Self {
            benchmark,
            name: name.into(),
            unit,
            limit,
            peer: None,
            ours,
            ratio: None,
            reached: limit.map(|limit| limit.is_reached(ours, f64::NAN)),
        }
    }

    /// Two counts, which do not vary.
    pub(super) fn counted(
        benchmark: &'static str,
        name: &str,
        unit: &'static str,
        (ours, peer, peer_count): (f64, &'static str, f64),
        limit: Option<Limit>,
    ) -> Self {
        let samples = |count| Sorted::new([count]);
        let title = (name.to_owned(), unit);
        let peer = (peer, &samples(peer_count));
        Self::compared(benchmark, title, limit, &samples(ours), peer)
    }

    /// The medians of own samples and the peer's.
    pub(super) fn compared(
        benchmark: &'static str,
        (name, unit): (String, &'static str),
        limit: Option<Limit>,
        own: &Sorted,
        (peer, peer_samples): (&'static str, &Sorted),
    ) -> Self {
        let ratio = Ratio::of(own, peer_samples, 1);
        Self {
            limit,
            peer: Some(Peer {
                name: peer,
                value: peer_samples.median(),
            }),
            ratio: Some(ratio),
            reached: limit.map(|limit| limit.is_reached(own.median(), ratio.value)),
            ..Self::alone(benchmark, name, unit, own.median(), None)
        }
    }
}

/// The figures of all subjects but the first, which is the peer of the others.
pub(super) fn compare<const N: usize>(
    benchmark: &'static str,
    quantities: &[Quantity; N],
    subjects: &[Subject<N>],
    measured: &[Measured<[f64; N]>],
) -> Vec<Figure> {
    let samples = |subject: usize, quantity: usize| {
        let of = measured.iter().filter(|one| one.subject == subject);
        Sorted::new(of.map(|one| one.sample[quantity]))
    };
    let mut figures = Vec::new();
    for (index, Quantity { name, unit }) in quantities.iter().enumerate() {
        let peer = samples(0, index);
        for (number, subject) in subjects.iter().enumerate().skip(1) {
            let own = samples(number, index);
            if own.is_empty() {
                continue;
            }
            let title = (format!("{name}: {}", subject.name), *unit);
            let limit = subject.limits[index];
            figures.push(match peer.is_empty() {
                true => {
                    // A limit of a ratio needs the peer.
                    let limit = limit.filter(|limit| matches!(limit, Limit::AtMost(_)));
                    Figure::alone(benchmark, title.0, title.1, own.median(), limit)
                }
                false => {
                    let peer = (subjects[0].name, &peer);
                    Figure::compared(benchmark, title, limit, &own, peer)
                }
            });
        }
    }
    figures
}

/// Writes the table in Markdown.
pub(super) fn table(out: &mut impl Write, figures: &[Figure]) -> io::Result<()> {
    writeln!(
        out,
        "| figure | limit | plain TLS or peer | ours | ratio (95 %) | | `mtls-lab` |"
    )?;
    writeln!(out, "|---|---|--:|--:|--:|---|---|")?;
    for figure in figures {
        let or_empty = |text: Option<String>| text.unwrap_or_default();
        let limit = or_empty(figure.limit.map(|limit| limit.to_string()));
        let peer = figure.peer.map(|peer| (peer.name, number(peer.value)));
        let peer = or_empty(peer.map(|(name, value)| format!("{value} ({name})")));
        let ratio = figure
            .ratio
            .map(|ratio| format!("{:.3} ({:.3}–{:.3})", ratio.value, ratio.low, ratio.high));
        let mark = match figure.reached {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "",
        };
        writeln!(
            out,
            "| {}, {} | {limit} | {peer} | {} | {} | {mark} | `bench {}` |",
            figure.name,
            figure.unit,
            number(figure.ours),
            or_empty(ratio),
            figure.benchmark
        )?;
    }
    Ok(())
}

/// About three digits, or all before the point.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Limit {
    fn is_reached(self, ours: f64, ratio: f64) -> bool {
        match self {
            Self::RatioAtMost(limit) => ratio <= limit,
            Self::RatioAtLeast(limit) => ratio >= limit,
            Self::AtMost(limit) => ours <= limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(limit) => write!(f, "ratio ≤ {limit}"),
            Self::RatioAtLeast(limit) => write!(f, "ratio ≥ {limit}"),
            Self::AtMost(limit) => write!(f, "≤ {}", number(*limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTITIES: [Quantity; 1] = [Quantity {
        name: "time",
        unit: "µs",
    }];

    fn figures(peer: [f64; 3], ours: [f64; 3], limit: Limit) -> Vec<Figure> {
        let subject = |name, limit| Subject {
            name,
            limits: [limit],
        };
        let subjects = [subject("plain", None), subject("new", Some(limit))];
        let of = |subject: usize, samples: [f64; 3]| {
            let rounds = (0..).zip(samples);
            rounds.map(move |(round, sample)| Measured {
                round,
                turn: subject,
                subject,
                sample: [sample],
            })
        };
        let measured: Vec<_> = of(0, peer).chain(of(1, ours)).collect();
        compare("test", &QUANTITIES, &subjects, &measured)
    }

    #[test]
    fn a_figure_compares_medians_with_those_of_the_first_subject() {
        let figures = figures(
            [10.0, 30.0, 20.0],
            [24.0, 22.0, 90.0],
            Limit::RatioAtMost(1.2),
        );
        assert_eq!(figures.len(), 1);
        let figure = &figures[0];
        assert_eq!(
            (figure.ours, figure.peer.expect("a peer").value),
            (24.0, 20.0)
        );
        assert_eq!(figure.ratio.expect("a ratio").value, 1.2);
        assert_eq!(figure.reached, Some(true));
    }

    #[test]
    fn a_limit_that_is_missed_is_marked_in_the_table() {
        let missed = figures([1.0; 3], [2.0; 3], Limit::RatioAtMost(1.5));
        let mut out = Vec::new();
        table(&mut out, &missed).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let line = "| time: new, µs | ratio ≤ 1.5 | 1.00 (plain) | 2.00 | 2.000 (2.000–2.000) | ✗ | \
                    `bench test` |";
        assert!(text.lines().any(|found| found == line), "{text}");
        let few = Figure::alone("test", "bytes", "B", 3.0, Some(Limit::AtMost(3.0)));
        assert_eq!(few.reached, Some(true));
    }
}
