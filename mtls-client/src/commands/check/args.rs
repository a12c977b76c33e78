//! Options of `check`.

use mtls_core::path::Endpoint;

use crate::args::http3::Http3Args;
use crate::args::input_file::InputFile;
use crate::args::{ConnectionArgs, target};

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client check example.org
      print the verdict, the paths, the TLS connection and the times
  mtls-client check --side if:wwan0 --require-independent example.org example.net:8443
      check two servers over independent paths, and print a table
  mtls-client check --jobs 64 -i servers.txt --json > verdicts.jsonl
      check every server in a file, and print one line of JSON for each, in the order of the file
  mtls-client check --side socks5h://127.0.0.1:9050 --evidence-dir evidence example.org
      use Tor for the side path, and save what an attacker presents
  mtls-client check --policy observe -v example.org example.net
      print a full report on each server, verified or not";

const VERBOSE_HELP: &str = "Write a full report on each server instead of a table; -vv also logs \
                            events to standard error (or set RUST_LOG)";

/// The command `check`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("verbose", |arg| arg.help(VERBOSE_HELP)))]
pub(crate) struct Args {
    /// HOST, HOST:PORT (default 443) or https URL to verify; several targets give a table, in the
    /// order given
    #[arg(
        required_unless_present = "input", value_name = "TARGET", value_parser = target::parse
    )]
    pub(crate) targets: Vec<Endpoint>,

    /// Read targets from FILE (`-` for standard input), one per line; `#` starts a comment
    #[arg(short, long, value_name = "FILE", value_parser = InputFile::parser())]
    pub(crate) input: Vec<InputFile>,

    /// Number of targets to check in parallel, at most 256
    #[arg(
        short, long, value_name = "NUMBER", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub(crate) jobs: u16,

    #[command(flatten)]
    pub(crate) http3: Http3Args,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
