//! The command line: the commands, their common help, and errors in their arguments.

use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write};
use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};
use mtls_core::pem::redact;
use mtls_manual::{CompletionsArgs, ManArgs};

use crate::commands::{check, connect, evidence, get, hosts, paths, proxy, reference, watch};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages;

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
http://HOST:PORT (proxies, which resolve names); --side mptcp:NAME or mptcp:src:IP (inside the TLS
connection, on a subflow of Multipath TCP). Proxy environment variables are ignored.

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
  112  not verified: the side endpoint does not speak the protocol; with --method resumption, the
       server resumes no sessions
  113  a known host was not verified although it must be, or showed another raw public key; or the
       known hosts cannot be used
  115  not verified, under every policy: resumption suggests that the paths lead to different
       servers, which is no proof of an interception
  116  evidence: a file has changed since it was saved, or a signature is not valid
  and as in curl: 1 redirect to another scheme than https, 16 HTTP/2 connection failed, 18 response
  incomplete, 26 could not read the request body, 47 too many redirects, 52 empty response, 55 could
  not send the whole request, 56 could not receive the response, 58 unusable client certificate, 61
  unknown or invalid content coding, 65 could not send a request body from a pipe again, 77 unusable
  CA file, 92 the server reset the HTTP/2 stream.
  A failure on the primary path takes precedence over 111, 112, 113 and 115. With several
  targets, the worst one counts: 110, 115, 113, then errors of the command line or its files, 60,
  35, 7, 6, 28, 111, 112, and then the rest.";

/// Fetch pages and check servers over multipath TLS (not mutual TLS)
#[derive(Debug, Parser)]
#[command(name = "mtls-client", version, max_term_width = 100)]
// As in curl: the last of several wins, because an alias or a script may have given the first.
#[command(args_override_self = true)]
#[command(after_help = EXAMPLES, after_long_help = notes(EXAMPLES))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch an https URL over a verified connection
    #[command(after_help = get::args::EXAMPLES, after_long_help = notes(get::args::EXAMPLES))]
    Get(Box<get::args::Args>),
    /// Verify servers without sending a request
    #[command(after_help = check::args::EXAMPLES, after_long_help = notes(check::args::EXAMPLES))]
    Check(check::args::Args),
    /// Connect standard input and output to a server over a verified connection
    #[command(after_help = connect::args::EXAMPLES, after_long_help = notes(connect::args::EXAMPLES))]
    Connect(connect::args::Args),
    /// List this machine's network paths, test them, and report which pairs are independent
    #[command(after_help = paths::args::EXAMPLES, after_long_help = notes(paths::args::EXAMPLES))]
    Paths(paths::args::Args),
    /// Verify servers again and again, and report changes
    #[command(after_help = watch::args::EXAMPLES, after_long_help = notes(watch::args::EXAMPLES))]
    Watch(Box<watch::args::Args>),
    /// Run a local HTTP and SOCKS proxy that verifies the connections of unmodified programs
    #[command(after_help = proxy::args::EXAMPLES, after_long_help = notes(proxy::args::EXAMPLES))]
    Proxy(Box<proxy::args::Args>),
    /// List, explain, check and export saved evidence
    #[command(after_help = evidence::args::EXAMPLES, after_long_help = notes(evidence::args::EXAMPLES))]
    Evidence(evidence::args::Args),
    /// List, remove and copy the known hosts
    #[command(after_help = hosts::args::EXAMPLES, after_long_help = hosts::args::EXAMPLES)]
    Hosts(hosts::args::Args),
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

/// Parses the command line. Help, and errors in the arguments, are printed here.
///
/// # Errors
/// The exit status, if there is nothing to run.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    Cli::try_parse_from(arguments).map_err(|error| match invalid_value(&error) {
        Some(failure) => {
            messages::error(&failure);
            failure.exit
        }
        None => print(&error),
    })
}

/// Prints help or an error. A closed stream is not an error.
fn print(error: &clap::Error) -> Exit {
    let _ = match redact(&error.render().to_string()) {
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(text) => write!(io::stderr(), "{text}"),
    };
    match error.use_stderr() {
        true => Exit::Usage,
        false => Exit::Success,
    }
}

/// Describes a value that its parser refuses. clap would repeat the value, which may hold a
/// password.
fn invalid_value(error: &clap::Error) -> Option<Failure> {
    let reason = error.source()?;
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let option = argument.split(' ').next().unwrap_or_default();
    let option = option.trim_matches(|c| "<>[].".contains(c));
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if reason.is::<ParseIntError>() => Some(Failure::usage(
            option,
            format_args!("`{value}` is not a number"),
        )),
        _ => Some(Failure::usage(option, reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mtls_core::Policy;
    use mtls_core::path::Path;
    use mtls_core::proto::binding::Bindings;

    use super::*;
    use crate::connect::settings::Settings;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        let arguments = [&["mtls-client"], arguments].concat();
        match Cli::try_parse_from(arguments) {
            Ok(cli) => Ok(cli.command),
            Err(error) => {
                let failure = invalid_value(&error);
                Err(failure.map_or_else(|| error.to_string(), |failure| failure.message))
            }
        }
    }

    fn check_settings(arguments: &[&str]) -> Settings {
        let Ok(Command::Check(check)) = parsed(arguments) else {
            panic!("not a check");
        };
        assert_eq!(check.targets.len(), 1);
        Settings::new(check.connection).unwrap_or_else(|failure| panic!("{failure}"))
    }

    #[test]
    fn the_defaults_are_require_over_two_direct_paths() {
        let settings = check_settings(&["check", "example.org"]);
        assert_eq!(settings.verify.policy, Policy::Require);
        assert_eq!(settings.paths.primary.to_string(), "direct");
        assert_eq!(settings.paths.sides.len(), 1);
        assert_eq!(settings.paths.sides[0].to_string(), "direct");
        assert_eq!(settings.tls.bindings(), Bindings::ALL);
        assert_eq!(
            (&settings.tls.cacert, settings.tls.system_roots),
            (&None, false)
        );
        assert_eq!(settings.verify.deadline, Duration::from_secs(3));
    }

    #[test]
    fn a_given_side_path_replaces_the_default() {
        let arguments = [
            "check",
            "--side",
            "if:eth0",
            "--side",
            "src:192.0.2.1",
            "example.org",
        ];
        let settings = check_settings(&arguments);
        let sides: Vec<_> = settings.paths.sides.iter().map(Path::to_string).collect();
        assert_eq!(sides, ["if:eth0", "src:192.0.2.1"]);
    }

    #[test]
    fn an_invalid_argument_is_refused_with_its_name_and_the_remedy() {
        for (arguments, expected) in [
            (&["check", "--side", "eth0", "a.test"][..], "--side: `eth0`"),
            (
                &["check", "--primary", "socks5://p:1", "a.test"],
                "--primary: `socks5://`",
            ),
            (
                &["check", "--resolve", "a.test:443", "a.test"],
                "--resolve: expected HOST:PORT",
            ),
            (
                &["check", "--resolve", "a.test:0:::1", "a.test"],
                "--resolve: expected HOST:PORT",
            ),
            (
                &["check", "--resolve", "a.test:1:b.test", "a.test"],
                "--resolve: `b.test`",
            ),
            (
                &["check", "--resolve", "192.0.2.1:1:::1", "a.test"],
                "--resolve: `192.0.2.1`",
            ),
            (
                &["check", "--side-endpoint", "a.test", "a.test"],
                "--side-endpoint: ",
            ),
            (&["check", "http://a.test/"], "TARGET: only https"),
            (
                &["check", "-j", "many", "a.test"],
                "--jobs: `many` is not a number",
            ),
            (&["get", "a.test"], "URL: not an https URL"),
            (&["get", "-H", "nonsense", "https://a.test/"], "--header: "),
        ] {
            let error = parsed(arguments).map(|_| ()).unwrap_err();
            assert!(error.starts_with(expected), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn secrets_in_invalid_arguments_are_never_shown() {
        for arguments in [
            ["check", "--side", "socks4://user:secret@p:1", "a.test"],
            ["check", "--side", "user:secret@p:1", "a.test"],
            ["check", "--side", "http://user:secret@p", "a.test"],
            ["get", "--user", "secret", "https://a.test/"],
            ["get", "--header", "X secret", "https://a.test/"],
            ["get", "--form", "secret", "https://a.test/"],
            ["get", "--silent", "--fail", "https://user:secret@a.test/"],
        ] {
            let error = parsed(&arguments).map(|_| ()).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        use clap::CommandFactory;

        Cli::command().debug_assert();
    }
}
