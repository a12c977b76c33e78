//! What was typed after `get`.

use std::path::PathBuf;

use clap::Args;

use crate::args::Shared;

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-client get https://example.org/
      the page to standard output; nothing is asked for before the verdict
  mtls-client get -L -o page.html -v https://example.org/
      into a file, redirects followed, with a report on each connection
  mtls-client get --primary src:192.0.2.7 --side src:198.51.100.7 https://example.org/
      both paths chosen by their source address
  mtls-client get --policy prefer https://example.org/
      a server that does not know the protocol is good enough";

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to fetch
    pub(crate) url: String,

    /// Write the body to a file, created only after the verdict (`-`: standard output)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write the response's status line and header fields before the body
    #[arg(short, long)]
    pub(crate) include: bool,

    /// Add a header field, `NAME: VALUE`; `NAME:` takes a default one away (repeatable)
    ///
    /// `Authorization`, `Cookie` and `Host` are not sent to another host after a redirect.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub(crate) headers: Vec<String>,

    /// Follow redirects, 10 at most; each is verified as the first request is
    #[arg(short = 'L', long)]
    pub(crate) location: bool,

    /// Write nothing and exit with 22 when the HTTP status is 400 or above
    #[arg(short, long)]
    pub(crate) fail: bool,

    #[command(flatten)]
    pub(crate) shared: Shared,
}
