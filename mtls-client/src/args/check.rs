//! What was typed after `check`.

use clap::Args;

use crate::args::Shared;

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-client check example.org
      the verdict, with the paths, the TLS connection and the times
  mtls-client check --side if:wwan0 --require-independent example.org example.net:8443
      two servers, over paths that are really two
  mtls-client check --side socks5h://127.0.0.1:9050 --evidence-dir evidence example.org
      the side path through Tor; what an attacker presents is kept
  mtls-client check --json --policy observe example.org
      one line of JSON, whatever the verdict";

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// HOST, HOST:PORT (default 443) or an https URL
    #[arg(required = true, value_name = "TARGET")]
    pub(crate) targets: Vec<String>,

    #[command(flatten)]
    pub(crate) shared: Shared,
}
