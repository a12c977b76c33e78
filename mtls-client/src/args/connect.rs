//! What was typed after `connect`.

use clap::Args;

use crate::args::Shared;

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-client connect --brief example.org:443
      what you type goes to the server, what it sends comes back; Ctrl-D ends your side
  printf 'GET / HTTP/1.0\\r\\nHost: example.org\\r\\n\\r\\n' |
      mtls-client connect --ignore-eof example.org:443
      a request by hand; nothing of it is sent before the verdict
  mtls-client connect --alpn imap --side if:wwan0 --require-independent mail.example.org:993
      another protocol, over two networks
  mtls-client connect --no-stdin --json logs.example.org:6514 >log
      receive only; the verdict, as one line of JSON, on standard error
  ssh -o ProxyCommand='mtls-client connect %h:443' bastion.example.org
      a verified tunnel for another program";

const JSON_HELP: &str =
    "Write what --brief does as one line of JSON to standard error, before the data";

const VERBOSE_HELP: &str =
    "Write the verdict to standard error; -vv: also what happens (RUST_LOG does so too)";

#[derive(Debug, Args)]
#[command(
    mut_arg("json", |arg| arg.help(JSON_HELP)),
    mut_arg("verbose", |arg| arg.help(VERBOSE_HELP)),
)]
pub(crate) struct Connect {
    /// The server; without a port, 443
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: String,

    /// Write the verdict, the paths, the TLS connection and its channel bindings to standard
    /// error, before the data
    #[arg(long)]
    pub(crate) brief: bool,

    /// Offer these application protocols (ALPN), the preferred one first [default: none]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) alpn: Vec<String>,

    /// The server's name in TLS and in its certificate, where HOST is an address
    #[arg(long, value_name = "NAME")]
    pub(crate) servername: Option<String>,

    /// Do not tell the server that standard input has ended; go on until the server ends
    ///
    /// For servers that take a client which has ended for one that has gone, as many web servers
    /// do.
    #[arg(long, conflicts_with = "no_stdin")]
    pub(crate) ignore_eof: bool,

    /// Send nothing, and receive until the server ends; standard input is left alone
    #[arg(short = 'N', long)]
    pub(crate) no_stdin: bool,

    #[command(flatten)]
    pub(crate) shared: Shared,
}
