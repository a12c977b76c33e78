//! The programs from start to exit, against curl, and their size.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use mtls_certs::Pki;
use tempfile::TempDir;

use super::figure::{Figure, Limit, Quantity, Subject};
use super::http::Servers;
use super::worker::{micros, run_client};
use super::{BenchArgs, Comparison, note};
use crate::rounds::Subjects;
use crate::{Result, child};

const BENCHMARK: &str = "startup";
/// Runs of each program in a round.
const RUNS: u32 = 5;

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let Some(client) = program(args, "mtls-client") else {
        return Ok(Vec::new());
    };
    let site = Site::start(client)?;
    let mut figures = sizes(args)?;
    let args = args.clone();
    figures.extend(run_client(async move {
        super::compare(&Gets(site), &args).await
    })?);
    Ok(figures)
}

/// A program of this project; `None` with a note where it has not been built.
pub(super) fn program(args: &BenchArgs, name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let folder = args.programs.clone();
    let folder = folder.or_else(|| own?.parent().map(Path::to_owned))?;
    let program = folder.join(name);
    if program.is_file() {
        return Some(program);
    }
    note(&format!(
        "{name} is skipped: it is not in {}; build it with the same profile, or use --programs",
        folder.display()
    ));
    None
}

fn sizes(args: &BenchArgs) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for name in ["mtls-client", "mtls-server"] {
        if let Some(program) = program(args, name) {
            let megabytes = fs::metadata(program)?.len() as f64 / 1e6;
            let title = format!("size of {name}");
            let limit = Some(Limit::AtMost(12.0));
            figures.push(Figure::alone(BENCHMARK, title, "MB", megabytes, limit));
        }
    }
    Ok(figures)
}

/// A server of this project in this process, and a client program.
pub(super) struct Site {
    client: PathBuf,
    url: String,
    authority: PathBuf,
    _servers: Servers,
    _dir: TempDir,
}

impl Site {
    pub(super) fn start(client: PathBuf) -> Result<Self> {
        let pki = Pki::new(&["localhost", "127.0.0.1"])?;
        let servers = Servers::start(&pki, 1024)?;
        let [_, address] = servers.addresses();
        let dir = tempfile::tempdir()?;
        let authority = dir.path().join("ca.pem");
        fs::write(&authority, pki.ca.cert_pem())?;
        Ok(Self {
            client,
            url: format!("https://{address}/file.bin"),
            authority,
            _servers: servers,
            _dir: dir,
        })
    }

    /// `mtls-client get` of a small file.
    pub(super) fn get(&self) -> Command {
        let mut command = Command::new(&self.client);
        command.args(["get", "-s", "--cacert"]);
        command.arg(&self.authority).arg(&self.url);
        command
    }

    fn curl(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["-q", "-s", "-S", "--fail", "--noproxy", "*", "--cacert"]);
        command.arg(&self.authority).arg(&self.url);
        command
    }
}

struct Gets(Site);

impl Comparison<2> for Gets {
    const BENCHMARK: &'static str = BENCHMARK;

    const QUANTITIES: [Quantity; 2] = [
        Quantity {
            name: "get of a small file, whole process",
            unit: "ms",
        },
        Quantity {
            name: "--version, whole process",
            unit: "ms",
        },
    ];

    fn subjects(&self) -> Vec<Subject<2>> {
        vec![
            Subject {
                name: "curl",
                limits: [None; 2],
            },
            Subject {
                name: "mtls-client",
                limits: [Some(Limit::RatioAtMost(0.6)), Some(Limit::AtMost(5.0))],
            },
        ]
    }
}

impl Subjects for Gets {
    type Sample = [f64; 2];

    async fn measure(&self, subject: usize) -> Result<[f64; 2]> {
        let (get, version) = match subject {
            0 => (self.0.curl(), Command::new("curl")),
            _ => (self.0.get(), Command::new(&self.0.client)),
        };
        if subject == 0 && !child::is_installed("curl") {
            return Ok([f64::NAN; 2]);
        }
        let mut sample = [0.0; 2];
        for (time, mut command) in sample.iter_mut().zip([get, with_version(version)]) {
            *time = milliseconds(&mut command)?;
        }
        Ok(sample)
    }
}

fn with_version(mut command: Command) -> Command {
    command.arg("--version");
    command
}

/// The mean time of a process, from start to exit.
fn milliseconds(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    for _ in 0..RUNS {
        run_to_exit(command)?;
    }
    Ok(micros(started.elapsed()) / f64::from(RUNS) / 1e3)
}

fn run_to_exit(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = output.status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{} failed: {status}", command.get_program().display()).into()),
    }
}
