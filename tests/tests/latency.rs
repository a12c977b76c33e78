//! `mtls-lab latency`, a few connections of it, by the program itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mtls_lab::Result;
use mtls_lab::latency::Series;
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

/// All that a run leaves behind.
fn check(folder: &Path, output: &Output, rounds: usize, charts: &[&str]) -> Result {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    let samples = read(&folder.join("samples.csv"))?;
    assert_eq!(samples.len(), rounds * Series::ALL.len());
    for series in Series::ALL {
        assert!(out.contains(series.title()), "{out}");
        let of = |line: &&Vec<_>| field(line, "series") == series.key();
        assert_eq!(samples.iter().filter(of).count(), rounds, "{series:?}");
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
        let titled = Series::ALL
            .iter()
            .all(|series| svg.contains(series.title()));
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
            "tcp" => 10.0,
            "mtls-fresh" | "smkex-fresh" if slow => 40.0,
            _ if slow && (series.contains("mtls") || series.contains("smkex")) => 25.0,
            _ => 20.0,
        };
        assert!(number("time_ms")? >= least, "{line:?}");
        assert!(number("primary_bytes")? > 200.0, "{line:?}");
        let beside = series.contains("mtls") || series.contains("smkex");
        // A late acknowledgement of the connection before may be among them: 52 bytes.
        assert_eq!(number("side_bytes")? > 250.0, beside, "{line:?}");
    }
    for line in read(&folder.path().join("summary.csv"))? {
        let measured: f64 = field(&line, "measured_primary_ms").parse()?;
        assert!(measured >= 10.0, "{line:?}");
    }
    // Its two counted connections and all but the first of the warm-up, at each setting.
    let out = String::from_utf8_lossy(&output.stdout);
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
