//! The program `mtls-lab`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mtls_lab::bench::{self, BenchArgs};
use mtls_lab::demo::{self, DemoArgs};
use mtls_lab::fleet::{self, FleetArgs, ServerArgs};
use mtls_lab::latency::{self, LatencyArgs};
use mtls_lab::matrix::{self, MatrixArgs};
use mtls_lab::verdicts::{self, VerdictsArgs};

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
    Fleet(FleetArgs),
    #[command(hide = true)]
    Server(ServerArgs),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Verdicts(args) => verdicts::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Server(args) => fleet::serve(&args),
    }
}
