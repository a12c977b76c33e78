//! The program `mtls-lab`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mtls_lab::bench::{self, BenchArgs};
use mtls_lab::demo::{self, DemoArgs};
use mtls_lab::fleet::{self, FleetArgs};
use mtls_lab::flood::{self, FloodArgs, FlooderArgs};
use mtls_lab::latency::{self, LatencyArgs};
use mtls_lab::matrix::{self, MatrixArgs};
use mtls_lab::mptcp::{self, MptcpArgs};
use mtls_lab::programs::{self, ProgramArgs};
use mtls_lab::soak::{self, SoakArgs};
use mtls_lab::verdicts::{self, VerdictsArgs};

// That of the released mtls-server, which this program contains.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Demonstrate, attack and measure multipath TLS.
#[derive(Parser)]
#[command(name = "mtls-lab", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(DemoArgs),
    Bench(BenchArgs),
    Matrix(MatrixArgs),
    Latency(LatencyArgs),
    Verdicts(VerdictsArgs),
    Mptcp(MptcpArgs),
    Fleet(FleetArgs),
    Soak(SoakArgs),
    Flood(FloodArgs),
    #[command(hide = true)]
    Server(ProgramArgs),
    #[command(hide = true)]
    Client(ProgramArgs),
    #[command(hide = true)]
    Flooder(FlooderArgs),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Verdicts(args) => verdicts::run(&args),
        Command::Mptcp(args) => mptcp::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Flood(args) => flood::run(&args),
        Command::Flooder(args) => flood::run_flooder(&args),
        Command::Server(args) => programs::server(&args),
        Command::Client(args) => programs::client(&args),
    }
}
