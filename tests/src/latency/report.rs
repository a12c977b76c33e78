//! The results, as a table in Markdown and as CSV.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::measure::{Costs, Results};
use super::series::Series;
use super::simulated::RoundTrips;
use crate::stats::{Ratio, Sorted};

/// One series at one setting.
#[derive(Clone, Debug)]
pub struct Row {
    /// The series.
    pub series: Series,
    /// Times in milliseconds.
    pub times: Sorted,
    /// The ratio to the series' baseline.
    pub ratio: Ratio,
    /// The ratio that the project aims at.
    pub aim: Option<f64>,
    /// Medians of the client's and the server's processor time, in microseconds.
    pub cpu: [Option<f64>; 2],
    /// Medians of IP packets on the primary and the side link.
    pub packets: [f64; 2],
    /// Medians of their bytes.
    pub bytes: [f64; 2],
}

/// The rows of one setting, of the measured series in the order of [`Series::ALL`].
#[must_use]
pub fn rows(results: &Results, seed: u64) -> Vec<Row> {
    let row = |series: Series| {
        let samples = results
            .samples
            .iter()
            .filter(|sample| sample.series == series);
        let costs: Vec<&Costs> = samples.map(|sample| &sample.costs).collect();
        let median = |value: &dyn Fn(&Costs) -> f64| {
            Sorted::new(costs.iter().map(|costs| value(costs))).median()
        };
        let micros =
            |time: Option<std::time::Duration>| time.map_or(f64::NAN, |t| t.as_secs_f64() * 1e6);
        let known = |value: f64| Some(value).filter(|value| !value.is_nan());
        let own = results.times(series);
        Row {
            series,
            ratio: Ratio::of(&own, &results.times(series.baseline()), seed),
            aim: series.aim(results.setting.round_trip, results.setting.side_ratio),
            times: own,
            cpu: [
                known(median(&|costs| micros(costs.client_cpu))),
                known(median(&|costs| micros(costs.server_cpu))),
            ],
            packets: [0, 1].map(|link| median(&|costs| costs.packets[link] as f64)),
            bytes: [0, 1].map(|link| median(&|costs| costs.bytes[link] as f64)),
        }
    };
    let rows = Series::ALL.into_iter().map(row);
    // Without samples it was skipped.
    rows.filter(|row| !row.times.is_empty()).collect()
}

/// The title of a setting.
#[must_use]
pub fn title(results: &Results) -> String {
    let setting = &results.setting;
    if results.measured[0].is_empty() {
        return "loopback, no emulated link".to_owned();
    }
    let round_trip = setting.round_trip.as_secs_f64() * 1e3;
    format!(
        "round trip {round_trip} ms, side path {} ×",
        setting.side_ratio
    )
}

/// Describes the measured round-trip times of the links.
#[must_use]
pub fn measured(results: &Results) -> Option<String> {
    let [primary, side] = &results.measured;
    if primary.is_empty() {
        return None;
    }
    let one = |probes: &Sorted| {
        format!(
            "{:.3} ms (p10 {:.3}, p90 {:.3})",
            probes.median(),
            probes.quantile(0.1),
            probes.quantile(0.9)
        )
    };
    Some(format!(
        "measured round trips: primary {}, side {}",
        one(primary),
        one(side)
    ))
}

/// The table in Markdown, which reads well on a terminal too.
#[must_use]
pub fn table(rows: &[Row], round_trips: &RoundTrips) -> String {
    let head = [
        "",
        "median ms",
        "p10",
        "p90",
        "p99",
        "ratio",
        "95 %",
        "aim",
        "RTTs",
        "CPU client µs",
        "CPU server µs",
        "primary B",
        "side B",
    ];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    cells.extend(rows.iter().map(|row| line(row, round_trips)));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            cells
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for (number, line) in cells.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Names to the left, numbers to the right.
            let _ = match column {
                0 => write!(out, "| {cell:<width$} "),
                _ => write!(out, "| {cell:>width$} "),
            };
        }
        out.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let colon = if column == 0 { "-" } else { ":" };
                let _ = write!(out, "|{}{colon}", "-".repeat(width + 1));
            }
            out.push_str("|\n");
        }
    }
    out
}

fn line(row: &Row, round_trips: &RoundTrips) -> Vec<String> {
    let Row {
        series,
        times,
        ratio,
        aim,
        cpu,
        bytes,
        ..
    } = row;
    let compared = series.baseline() != *series;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let sure = |aim: f64| !(ratio.low..=ratio.high).contains(&aim);
    let reached = |aim: f64| match (ratio.value <= aim, sure(aim)) {
        (true, true) => "✓",
        (true, false) => "✓?",
        (false, true) => "✗",
        (false, false) => "✗?",
    };
    vec![
        series.title().to_owned(),
        format!("{:.3}", times.median()),
        format!("{:.3}", times.quantile(0.1)),
        format!("{:.3}", times.quantile(0.9)),
        format!("{:.3}", times.quantile(0.99)),
        format!("{:.3}", ratio.value),
        or_dash(compared.then(|| format!("{:.3}–{:.3}", ratio.low, ratio.high))),
        or_dash(aim.map(|aim| format!("{aim:.2} {}", reached(aim)))),
        or_dash(round_trips.of(*series).map(|count| format!("{count:.2}"))),
        or_dash(cpu[0].map(|micros| format!("{micros:.0}"))),
        or_dash(cpu[1].map(|micros| format!("{micros:.0}"))),
        or_dash((bytes[0] > 0.0).then(|| format!("{:.0}", bytes[0]))),
        or_dash((bytes[1] > 0.0).then(|| format!("{:.0}", bytes[1]))),
    ]
}

/// One line for each sample.
///
/// # Errors
/// Errors of the writer.
pub fn write_samples(out: &mut impl Write, results: &[Results]) -> io::Result<()> {
    writeln!(
        out,
        "round_trip_ms,side_ratio,round,turn,series,time_ms,client_cpu_us,server_cpu_us,\
         primary_packets,side_packets,primary_bytes,side_bytes"
    )?;
    for Results {
        setting, samples, ..
    } in results
    {
        for sample in samples {
            let costs = &sample.costs;
            let micros = |time: Option<std::time::Duration>| {
                time.map_or(String::new(), |time| {
                    format!("{:.1}", time.as_secs_f64() * 1e6)
                })
            };
            writeln!(
                out,
                "{},{},{},{},{},{:.6},{},{},{},{},{},{}",
                setting.round_trip.as_secs_f64() * 1e3,
                setting.side_ratio,
                sample.round,
                sample.turn,
                sample.series.key(),
                costs.time.as_secs_f64() * 1e3,
                micros(costs.client_cpu),
                micros(costs.server_cpu),
                costs.packets[0],
                costs.packets[1],
                costs.bytes[0],
                costs.bytes[1],
            )?;
        }
    }
    Ok(())
}

/// One line for each series and setting.
///
/// # Errors
/// Errors of the writer.
pub fn write_summary(
    out: &mut impl Write,
    results: &[Results],
    all: &[Vec<Row>],
) -> io::Result<()> {
    writeln!(
        out,
        "round_trip_ms,side_ratio,measured_primary_ms,measured_side_ms,series,samples,median_ms,\
         p10_ms,p90_ms,p99_ms,baseline,ratio,ratio_low,ratio_high,aim,client_cpu_us,server_cpu_us,\
         primary_packets,side_packets,primary_bytes,side_bytes"
    )?;
    let number = |value: f64| {
        if value.is_nan() {
            String::new()
        } else {
            format!("{value:.6}")
        }
    };
    for (results, rows) in results.iter().zip(all) {
        for row in rows {
            let fields = [
                (results.setting.round_trip.as_secs_f64() * 1e3).to_string(),
                results.setting.side_ratio.to_string(),
                number(results.measured[0].median()),
                number(results.measured[1].median()),
                row.series.key().to_owned(),
                row.times.len().to_string(),
                number(row.times.median()),
                number(row.times.quantile(0.1)),
                number(row.times.quantile(0.9)),
                number(row.times.quantile(0.99)),
                row.series.baseline().key().to_owned(),
                number(row.ratio.value),
                number(row.ratio.low),
                number(row.ratio.high),
                row.aim.map_or(String::new(), |aim| aim.to_string()),
                row.cpu[0].map_or(String::new(), number),
                row.cpu[1].map_or(String::new(), number),
                row.packets[0].to_string(),
                row.packets[1].to_string(),
                row.bytes[0].to_string(),
                row.bytes[1].to_string(),
            ];
            writeln!(out, "{}", fields.join(","))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::latency::{Sample, Setting};

    /// Two rounds in which every series takes as many milliseconds as its place says.
    fn results() -> Results {
        let samples = (0..2).flat_map(|round| {
            Series::ALL
                .into_iter()
                .enumerate()
                .map(move |(turn, series)| Sample {
                    round,
                    turn,
                    series,
                    costs: Costs {
                        time: Duration::from_millis(1 + turn as u64),
                        client_cpu: Some(Duration::from_micros(500)),
                        server_cpu: None,
                        packets: [10, 5],
                        bytes: [4_000, 400],
                    },
                })
        });
        Results {
            setting: Setting {
                round_trip: Duration::from_micros(200),
                side_ratio: 1.0,
                samples: 2,
            },
            measured: [Sorted::new([0.25]), Sorted::new([0.26])],
            samples: samples.collect(),
            fast_opens: None,
            round_trips: Vec::new(),
            refused: 0,
            no_mptcp: None,
        }
    }

    fn csv(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        write(&mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let split = |line: &str| line.split(',').map(str::to_owned).collect();
        text.lines().map(split).collect()
    }

    #[test]
    fn samples_are_one_line_each_with_a_field_for_each_name() {
        let lines = csv(|out| write_samples(out, &[results()]));
        assert_eq!(lines.len(), 1 + 2 * Series::ALL.len());
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
        let third = "0.2,1,0,2,tls13,3.000000,500.0,,10,5,4000,400";
        assert_eq!(lines[3].join(","), third);
    }

    #[test]
    fn a_summary_has_a_line_for_each_series_and_no_number_that_is_none() {
        let results = results();
        let all = rows(&results, 1);
        let lines = csv(|out| write_summary(out, &[results], &[all]));
        assert_eq!(lines.len(), 1 + Series::ALL.len());
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
        let field = |name: &str, line: usize| {
            let column = lines[0].iter().position(|field| field == name);
            &lines[line][column.expect("a column")]
        };
        assert_eq!(field("series", 3), "tls13");
        assert_eq!(field("median_ms", 3), "3.000000");
        assert_eq!(field("ratio", 3), "1.000000");
        assert_eq!(field("measured_primary_ms", 3), "0.250000");
        assert_eq!(field("server_cpu_us", 3), "");
        assert_eq!(
            (field("baseline", 5), field("ratio", 5)),
            (&"tls13-raw-key".into(), &"1.250000".into())
        );
        assert!(!lines.concat().contains(&"NaN".to_owned()));
    }

    #[test]
    fn a_table_says_which_aims_are_reached() {
        let table = table(&rows(&results(), 1), &RoundTrips::default());
        let line = |name: &str| {
            let start = format!("| {name} ");
            table
                .lines()
                .find(|line| line.starts_with(&start))
                .expect("a line")
        };
        // 7 ms and 9 ms against 3 ms.
        assert!(line("MTLS, fresh side  ").contains("2.333 | 2.333–2.333 | 1.10 ✗"));
        assert!(line("TLS 1.3 ").contains("1.000 "));
        let lengths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
        assert!(lengths.windows(2).all(|two| two[0] == two[1]), "{table}");
    }
}
