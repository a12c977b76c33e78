//! What was typed after `check`.

use std::path::PathBuf;

use clap::Args;

use crate::args::Shared;

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-client check example.org
      the verdict, with the paths, the TLS connection and the times
  mtls-client check --side if:wwan0 --require-independent example.org example.net:8443
      two servers as a table, over paths that are really two
  mtls-client check --jobs 64 -i servers.txt --json > verdicts.jsonl
      every server in a file, one line of JSON for each, in the order of the file
  mtls-client check --side socks5h://127.0.0.1:9050 --evidence-dir evidence example.org
      the side path through Tor; what an attacker presents is kept
  mtls-client check --policy observe -v example.org example.net
      a full report on each, whatever the verdict";

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// HOST, HOST:PORT (default 443) or an https URL; several give a table, in their order
    #[arg(required_unless_present = "input", value_name = "TARGET")]
    pub(crate) targets: Vec<String>,

    /// Targets from a file (`-`: standard input), one in a line; `#` begins a comment
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Vec<PathBuf>,

    /// How many targets are checked at a time, 256 at most
    #[arg(
        short, long, value_name = "NUMBER", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub(crate) jobs: u16,

    #[command(flatten)]
    pub(crate) shared: Shared,
}
