//! Options of `connect`.

use mtls_core::path::{Endpoint, HostName};

use crate::args::{ConnectionArgs, target};

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client connect --brief example.org:443
      send what you type, and print what the server sends; Ctrl-D closes the sending half
  printf 'GET / HTTP/1.0\\r\\nHost: example.org\\r\\n\\r\\n' |
      mtls-client connect --ignore-eof example.org:443
      send a request by hand; no part of it is sent before the verdict
  mtls-client connect --alpn imap --side if:wwan0 --require-independent mail.example.org:993
      use another protocol, over two networks
  mtls-client connect --no-stdin --json logs.example.org:6514 >log
      receive only, and write the verdict as one line of JSON to standard error
  ssh -o ProxyCommand='mtls-client connect %h:443' bastion.example.org
      open a verified tunnel for another program";

const JSON_HELP: &str =
    "Write the report of --brief as one line of JSON to standard error, before the data";

const VERBOSE_HELP: &str =
    "Write the verdict to standard error; -vv also logs events (or set RUST_LOG)";

/// The command `connect`.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("json", |arg| arg.help(JSON_HELP)),
    mut_arg("verbose", |arg| arg.help(VERBOSE_HELP)),
)]
pub(crate) struct Args {
    /// Server to connect to; the default port is 443
    #[arg(value_name = "HOST:PORT", value_parser = target::parse)]
    pub(crate) target: Endpoint,

    /// Write verdict, paths, TLS connection and channel bindings to standard error, before the
    /// data
    #[arg(long)]
    pub(crate) brief: bool,

    /// Offer these application protocols (ALPN), in order of preference [default: none]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = protocol)]
    pub(crate) alpn: Vec<String>,

    /// Name of the server in SNI and in its certificate, if HOST is an address
    #[arg(long, value_name = "NAME", value_parser = HostName::new)]
    pub(crate) servername: Option<HostName>,

    /// Do not signal the end of standard input to the server, and continue until the server closes
    ///
    /// Many web servers treat a client that has closed its sending half as disconnected, and do
    /// not answer.
    #[arg(long, conflicts_with = "no_stdin")]
    pub(crate) ignore_eof: bool,

    /// Send nothing, do not read standard input, and receive until the server closes
    #[arg(short = 'N', long)]
    pub(crate) no_stdin: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// The longest name of an application protocol, in bytes (RFC 7301, section 3.1).
const MAX_PROTOCOL_NAME: usize = 255;

fn protocol(name: &str) -> Result<String, String> {
    match name.len() {
        1..=MAX_PROTOCOL_NAME => Ok(name.to_owned()),
        0 => Err("the name of a protocol is empty; write names such as `h2,http/1.1`".into()),
        _ => Err(format!(
            "the name of a protocol has more than {MAX_PROTOCOL_NAME} bytes"
        )),
    }
}
