//! The command line as typed; [`options`](crate::options) turns it into settings.
//!
//! Each command has its own file here, with its examples.

use clap::{Parser, Subcommand};
use mtls_manual::{CompletionsArgs, ManArgs};

use crate::commands::check::args::{self as check, Check};
use crate::commands::connect::args::{self as connect, Connect};
use crate::commands::get::args::{self as get, Get};
use crate::commands::paths::args::{self as paths, Paths};
use crate::commands::proxy::args::{self as proxy, Proxy};
use crate::commands::reference;

const EXAMPLES: &str = "\
Examples:
  mtls-client get https://example.org/
      fetch a page, verified over a second connection
  mtls-client get --side if:wwan0 https://example.org/
      fetch the page over the default route, and verify over the mobile network
  mtls-client check --side socks5h://127.0.0.1:9050 example.org example.net:8443
      check two servers, with Tor as the side path
  mtls-client paths example.org
      list the second paths of this machine, and test whether they reach the server

A second connection, over another network path, verifies that both ends took part in the same TLS
handshake. This detects a man in the middle of the first path, even one with a certificate from a
trusted CA.";

const NOTES: &str = "\
Here, MTLS means multipath TLS, not mutual TLS.

Paths (SPEC): direct, if:NAME (interface), src:IP (source address), socks5h://HOST:PORT and
http://HOST:PORT (proxies, which resolve names). Proxy environment variables are ignored.

Policies: `require` refuses connections that are not verified. `prefer` continues if the side
endpoint cannot be reached or does not speak the protocol; an attacker who blocks the side path can
cause this. `observe` always continues. `require` and `prefer` refuse an interception.

Exit status:
    0  verified; or unverified, and the policy allows that
    2  wrong command line
    6  could not resolve the host
    7  could not connect
   22  HTTP status 400 or above, with --fail
   23  could not write the output
   28  timed out
   35  TLS failed
   60  the certificate is not trusted
  110  INTERCEPTION DETECTED, under every policy
  111  not verified: the side endpoint could not be reached, fell silent, closed or refused, or
       the paths are not independent (--require-independent)
  112  not verified: the side endpoint does not speak the protocol
  and as in curl: 1 redirect to another scheme than https, 16 HTTP/2 connection failed, 18 response
  incomplete, 26 could not read the request body, 47 too many redirects, 52 empty response, 55 could
  not send the whole request, 56 could not receive the response, 58 unusable client certificate, 61
  unknown or invalid content coding, 65 could not send a request body from a pipe again, 77 unusable
  CA file, 92 the server reset the HTTP/2 stream.
  A failure on the primary path takes precedence over 111 and 112. With several targets, the worst
  one counts: 110, then errors of the command line or its files, 60, 35, 7, 6, 28, 111, 112, and
  then the rest.";

/// Fetch pages and check servers over multipath TLS (not mutual TLS)
#[derive(Debug, Parser)]
#[command(name = "mtls-client", version, max_term_width = 100)]
// As curl's: an alias or a script may have given the option already.
#[command(args_override_self = true)]
#[command(after_help = EXAMPLES, after_long_help = notes(EXAMPLES))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch an https URL over a verified connection
    #[command(after_help = get::EXAMPLES, after_long_help = notes(get::EXAMPLES))]
    Get(Get),
    /// Verify servers without sending a request
    #[command(after_help = check::EXAMPLES, after_long_help = notes(check::EXAMPLES))]
    Check(Check),
    /// Connect standard input and output to a server over a verified connection
    #[command(after_help = connect::EXAMPLES, after_long_help = notes(connect::EXAMPLES))]
    Connect(Connect),
    /// List this machine's network paths, test them, and report which pairs are independent
    #[command(after_help = paths::EXAMPLES, after_long_help = notes(paths::EXAMPLES))]
    Paths(Paths),
    /// Run a local HTTP and SOCKS proxy that verifies the connections of unmodified programs
    #[command(after_help = proxy::EXAMPLES, after_long_help = notes(proxy::EXAMPLES))]
    Proxy(Box<Proxy>),
    /// Generate shell completions
    #[command(after_help = reference::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write the manual pages
    #[command(after_help = reference::MAN_EXAMPLES)]
    Man(ManArgs),
}

/// Text after the options in a command's `--help`; `-h` has the examples only.
fn notes(examples: &str) -> String {
    format!("{examples}\n\n{NOTES}")
}
