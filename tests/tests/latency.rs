//! `mtls-lab latency`, a few connections of it, by the program itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mtls_lab::Result;
use mtls_lab::latency::Series;
use mtls_lab::mptcp;
use mtls_lab::netns::unavailable;

fn latency(out: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtls-lab"));
    command.arg("latency").arg("--out").arg(out).args(arguments);
    Ok(command.output()?)
}

/// The lines of a CSV file, each with the names of its fields.
fn read(file: &Path) -> Result<Vec<Vec<(String, String)>>> {
    let text = fs::read_to_string(file)?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().ok_or("no head")?.split(',').collect();
    let named = |line: &str| {
        let pairs = names.iter().zip(line.split(','));
        pairs
            .map(|(name, value)| ((*name).to_owned(), value.to_owned()))
            .collect()
    };
    Ok(lines.map(named).collect())
}

fn field<'a>(line: &'a [(String, String)], name: &str) -> &'a str {
    let found = line.iter().find(|(field, _)| field == name);
    found.map_or("", |(_, value)| value)
}

/// The series that a run has skipped, with a reason.
fn skipped_series(out: &str) -> Vec<Series> {
    match out.contains("Skipped: ") {
        true => Series::MPTCP.to_vec(),
        false => Vec::new(),
    }
}

/// The round trips of the series over Multipath TCP in the tables, in the order of these.
fn counted(out: &str) -> Vec<(Series, String)> {
    let titled = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let series = Series::MPTCP
            .into_iter()
            .find(|s| cells.get(1) == Some(&s.title()))?;
        Some((series, (*cells.get(9)?).to_owned()))
    };
    out.lines().filter_map(titled).collect()
}

/// All that a run leaves behind.
fn check(folder: &Path, output: &Output, rounds: usize, charts: &[&str]) -> Result {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    let samples = read(&folder.join("samples.csv"))?;
    let skipped = skipped_series(&out);
    let measured = Series::ALL.into_iter().filter(|s| !skipped.contains(s));
    let measured: Vec<Series> = measured.collect();
    assert_eq!(samples.len(), rounds * measured.len());
    for series in Series::ALL {
        assert!(out.contains(series.title()), "{out}");
        let of = |line: &&Vec<_>| field(line, "series") == series.key();
        let expected = if skipped.contains(&series) { 0 } else { rounds };
        assert_eq!(samples.iter().filter(of).count(), expected, "{series:?}");
    }
    let tables = fs::read_to_string(folder.join("latency.md"))?;
    let printed = out.lines().filter(|line| line.starts_with('|'));
    assert!(
        printed.into_iter().all(|line| tables.contains(line)),
        "{tables}"
    );
    if out.contains("no charts") {
        println!("skipped: the charts, since no TrueType font is installed");
        return Ok(());
    }
    for chart in charts {
        let svg = fs::read_to_string(folder.join(format!("{chart}.svg")))?;
        let titled = measured.iter().all(|series| svg.contains(series.title()));
        assert!(svg.starts_with("<svg") && titled);
        let png = fs::read(folder.join(format!("{chart}.png")))?;
        assert!(png.starts_with(b"\x89PNG"));
    }
    Ok(())
}

#[test]
fn every_series_takes_its_round_trips_over_the_emulated_links() -> Result {
    if let Some(reason) = unavailable() {
        println!("skipped: {reason}");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let arguments = ["--rtt", "10ms", "--side-ratio", "0.5,2", "--samples", "2"];
    let output = latency(folder.path(), &arguments)?;
    let charts = ["latency-10ms-x0.5", "latency-10ms-x2"];
    check(folder.path(), &output, 4, &charts)?;
    for line in read(&folder.path().join("samples.csv"))? {
        let number = |name| field(&line, name).parse::<f64>();
        let (series, slow) = (field(&line, "series"), number("side_ratio")? > 1.0);
        let least = match series {
            "tcp" | "quic" => 10.0,
            "mtls-quic-fresh" if slow => 40.0,
            "mtls-quic-pooled" if slow => 20.0,
            "mtls-quic-fresh" | "mtls-quic-pooled" => 10.0,
            "mtls-fresh" | "smkex-fresh" if slow => 40.0,
            "resumption" if slow => 50.0,
            "resumption" => 35.0,
            "smkex-mptcp" | "mtls-mptcp" if slow => 100.0,
            "smkex-mptcp" | "mtls-mptcp" => 42.5,
            _ if slow && (series.contains("mtls") || series.contains("smkex")) => 25.0,
            _ => 20.0,
        };
        assert!(number("time_ms")? >= least, "{line:?}");
        assert!(number("primary_bytes")? > 200.0, "{line:?}");
        let beside = ["mtls", "smkex"].iter().any(|name| series.contains(name))
            || ["resumption", "resumption-prefetched"].contains(&series);
        // A late acknowledgement of the connection before may be among them: 52 bytes.
        assert_eq!(number("side_bytes")? > 250.0, beside, "{line:?}");
    }
    for line in read(&folder.path().join("summary.csv"))? {
        let measured: f64 = field(&line, "measured_primary_ms").parse()?;
        assert!(measured >= 10.0, "{line:?}");
    }
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        skipped_series(&out).is_empty(),
        mptcp::unavailable().is_none()
    );
    if skipped_series(&out).is_empty() {
        let expected = ["4.25", "2.00", "4.25", "10.00", "2.50", "10.00"];
        let both = [Series::MPTCP; 2].concat().into_iter();
        let expected = both.zip(expected.map(str::to_owned));
        assert_eq!(counted(&out), expected.collect::<Vec<_>>());
    }
    // Its two counted connections and all but the first of the warm-up, at each setting.
    let opened = out
        .lines()
        .filter_map(|line| line.strip_prefix("SYNs with data"));
    let opened = opened.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u32>().ok());
    let opened: Vec<u32> = opened.collect();
    assert!(
        opened.len() == 2 && opened.iter().all(|times| *times >= 4),
        "{out}"
    );
    Ok(())
}

#[test]
fn without_links_the_loopback_is_measured_and_round_trips_are_simulated() -> Result {
    let folder = tempfile::tempdir()?;
    let output = latency(folder.path(), &["--loopback", "--samples", "2"])?;
    check(folder.path(), &output, 2, &["latency-loopback"])?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("no emulated links"), "{err}");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(skipped_series(&out), Series::MPTCP);
    assert!(
        out.contains("Multipath TCP over two paths takes emulated links"),
        "{out}"
    );
    let tls = out.lines().find(|line| line.starts_with("| TLS 1.3 "));
    assert!(tls.is_some_and(|line| line.contains("| 2.00 |")), "{out}");
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_reason() -> Result {
    let folder = tempfile::tempdir()?;
    for (arguments, reason) in [
        (["--rtt", "20"], "a time has a unit"),
        (["--rtt", "2s"], "a round trip is from"),
        (["--side-ratio", "0"], "a ratio is a number above 0"),
        (["--samples", "0"], "--samples"),
    ] {
        let output = latency(folder.path(), &arguments)?;
        assert_eq!(output.status.code(), Some(2));
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains(reason), "{err}");
    }
    let file = folder.path().join("a-file");
    fs::write(&file, "")?;
    let output = latency(&file, &["--loopback", "--samples", "1"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a-file"));
    Ok(())
}
