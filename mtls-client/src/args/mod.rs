//! What was typed. [`options`](crate::options) says what it means.
//!
//! Each command has a file of its own here, with its examples.

mod check;
mod connect;
mod get;
mod paths;
mod proxy;
mod reference;
mod shared;

use clap::{Parser, Subcommand};
use mtls_manual::{CompletionsArgs, ManArgs};

pub(crate) use self::check::Check;
pub(crate) use self::connect::Connect;
pub(crate) use self::get::Get;
pub(crate) use self::paths::Paths;
pub(crate) use self::proxy::Proxy;
pub(crate) use self::shared::Shared;

const EXAMPLES: &str = "\
Examples:
  mtls-client get https://example.org/
      fetch a page, verified over a second connection
  mtls-client get --side if:wwan0 https://example.org/
      the page over the usual route, the verification over the mobile network
  mtls-client check --side socks5h://127.0.0.1:9050 example.org example.net:8443
      the verdict for two servers, the side path through Tor
  mtls-client paths example.org
      which second paths this machine has, and whether they lead there

A second connection, over another network path, shows that both ends took part in the same TLS
handshake. A man in the middle of the first path is noticed even when his certificate comes from
a trusted CA.";

const NOTES: &str = "\
MTLS is multipath TLS here, not mutual TLS.

Paths (SPEC): direct, if:NAME (interface), src:IP (source address), socks5h://HOST:PORT and
http://HOST:PORT (proxies, which resolve the names). Proxy environment variables are ignored.

Policies: `require` refuses what is not verified. `prefer` goes on where the side endpoint cannot
be reached or does not speak the protocol, which whoever blocks the side path can bring about.
`observe` always goes on. An interception is refused by the first two.

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
  and as curl's: 1 a redirect that is not https, 16 an HTTP/2 connection failed, 18 the response
  broke off, 26 could not read what is to be sent, 47 too many redirects, 52 no answer at all, 55 the
  server did not take it all, 56 what came could not be received, 58 the client certificate cannot
  be used, 61 a content coding that cannot be decoded, 65 a pipe would have to be sent again, 77 the
  file of CAs cannot be used, 92 the server reset the HTTP/2 stream.
  What fails on the primary path wins over 111 and 112. With several targets the worst counts:
  110, then what is wrong with the command line or its files, 60, 35, 7, 6, 28, 111, 112, and then
  the rest.";

/// Fetch pages and check servers by multipath TLS (not mutual TLS)
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
    /// Fetch an https URL; nothing is asked for before the verdict
    #[command(after_help = get::EXAMPLES, after_long_help = notes(get::EXAMPLES))]
    Get(Get),
    /// Verify servers, and ask them for nothing
    #[command(after_help = check::EXAMPLES, after_long_help = notes(check::EXAMPLES))]
    Check(Check),
    /// Connect standard input and output to a server, by a verified stream
    #[command(after_help = connect::EXAMPLES, after_long_help = notes(connect::EXAMPLES))]
    Connect(Connect),
    /// List the ways out of this machine, try them, and say which two are really two
    #[command(after_help = paths::EXAMPLES, after_long_help = notes(paths::EXAMPLES))]
    Paths(Paths),
    /// Verify for programs that know nothing of it: a local HTTP and SOCKS proxy
    #[command(after_help = proxy::EXAMPLES, after_long_help = notes(proxy::EXAMPLES))]
    Proxy(Box<Proxy>),
    /// Write what a shell completes commands and options by
    #[command(after_help = reference::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write the manual pages
    #[command(after_help = reference::MAN_EXAMPLES)]
    Man(ManArgs),
}

/// What follows the options in a command's `--help`; `-h` has the examples alone.
fn notes(examples: &str) -> String {
    format!("{examples}\n\n{NOTES}")
}
