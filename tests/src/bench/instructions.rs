//! Instructions, counted by valgrind: they do not vary with the load of the machine.

use std::path::Path;
use std::process::{Command, Stdio};

use super::figure::{Figure, Limit};
use super::startup::{Site, program};
use super::{BenchArgs, note};
use crate::{Result, child};

const BENCHMARK: &str = "instructions";

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    if !child::is_installed("valgrind") {
        note("instruction counts are skipped: valgrind is not installed");
        return Ok(Vec::new());
    }
    let mut figures = handshakes()?;
    if let Some(client) = program(args, "mtls-client") {
        match get(&Site::start(client)?) {
            Ok(count) => figures.push(Figure::alone(
                BENCHMARK,
                "mtls-client get of a small file, whole process",
                "million instructions",
                count / 1e6,
                None,
            )),
            // A crash in rustix is explained in docs/performance.md.
            Err(error) => note(&format!("the instructions of a get are skipped: {error}")),
        }
    }
    Ok(figures)
}

/// The handshakes of mtls-core's benchmark of the same name.
fn handshakes() -> Result<Vec<Figure>> {
    if !child::is_installed("gungraun-runner") {
        note("the instructions of handshakes are skipped: gungraun-runner is not installed");
        return Ok(Vec::new());
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = Command::new("cargo");
    command.args([
        "bench",
        "--locked",
        "-p",
        "mtls-core",
        "--bench",
        "instructions",
    ]);
    command.arg("--manifest-path").arg(manifest);
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let count = |name| counted(&text, name).ok_or(format!("no instructions of {name}"));
    let plain = count("handshake_of_plain_tls")?;
    let verified = count("handshake_with_verification")?;
    Ok(vec![Figure::counted(
        BENCHMARK,
        "handshake pair, in memory",
        "instructions",
        (verified, "plain TLS", plain),
        Some(Limit::RatioAtMost(1.045)),
    )])
}

/// The count of one benchmark in the output of gungraun.
fn counted(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines().skip_while(|line| !line.contains(name));
    let line = lines.find_map(|line| line.trim().strip_prefix("Instructions:"))?;
    let digits = line.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn get(site: &Site) -> Result<f64> {
    let get = site.get();
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(get.get_program()).args(get.get_args());
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let found = text
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    let count = found.and_then(|count| count.trim().parse().ok());
    match (output.status.success(), count) {
        (true, Some(count)) => Ok(count),
        _ => Err(format!("valgrind could not run mtls-client ({})", output.status).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn a_count_is_found_after_the_name_of_its_benchmark() {
        let text = "instructions::all::first memory:ends()\n  Instructions:     12|N/A  (*)\n\
                    instructions::all::second memory:ends()\n  Instructions:     345|340 (+1%)\n";
        assert_eq!(counted(text, "::first"), Some(12.0));
        assert_eq!(counted(text, "::second"), Some(345.0));
        assert_eq!(counted(text, "::third"), None);
    }
}
