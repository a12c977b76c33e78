//! What the command line means.
//!
//! Each command has a file of its own here.

use std::fmt;

use mtls_core::pem::redact;

use crate::cli::Cli;
use crate::exit::Exit;

use crate::cli;
use crate::commands::check::targets::Check;
use crate::commands::connect::settings::Connect;
use crate::commands::get::settings::Get;
use crate::commands::paths::settings::Paths;
use crate::commands::proxy::settings::Proxy;
use crate::connect::settings::Settings;

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Get(Get, Settings),
    Check(Check, Settings),
    Connect(Connect, Settings),
    Paths(Paths, Settings),
    Proxy(Proxy, Settings),
    Completions(mtls_manual::Shell),
    /// Into this directory.
    Man(std::path::PathBuf),
}

/// An argument that makes no sense, and why.
#[derive(Debug)]
pub(crate) struct UsageError {
    exit: Exit,
    argument: &'static str,
    reason: String,
}

impl UsageError {
    pub(crate) fn new(argument: &'static str, reason: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Usage,
            argument,
            reason: redact(&reason.to_string()).into_owned(),
        }
    }

    /// Where curl has a number of its own for it.
    pub(crate) fn exits_with(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.argument, self.reason)
    }
}

/// Turns what was typed into what it means.
pub(crate) fn understand(cli: Cli) -> Result<Command, UsageError> {
    Ok(match cli.command {
        cli::Command::Get(typed) => {
            let settings = Settings::understand(&typed.shared)?;
            Command::Get(Get::understand(typed, &settings)?, settings)
        }
        cli::Command::Check(typed) => {
            let settings = Settings::understand(&typed.shared)?;
            Command::Check(Check::understand(&typed)?, settings)
        }
        cli::Command::Connect(typed) => {
            let mut settings = Settings::understand(&typed.shared)?;
            Command::Connect(Connect::understand(typed, &mut settings)?, settings)
        }
        cli::Command::Paths(typed) => {
            let (paths, settings) = Paths::understand(&typed)?;
            Command::Paths(paths, settings)
        }
        cli::Command::Proxy(typed) => {
            Proxy::refuse_smkex(&typed)?;
            let settings = Settings::understand(&typed.shared)?;
            Command::Proxy(Proxy::understand(&typed, &settings)?, settings)
        }
        cli::Command::Completions(typed) => Command::Completions(typed.shell),
        cli::Command::Man(typed) => Command::Man(typed.dir),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use mtls_core::Policy;
    use mtls_core::path::Path;
    use mtls_core::proto::binding::Bindings;

    use super::*;
    use crate::connect::settings::Roots;

    fn understood(arguments: &[&str]) -> Result<Command, String> {
        let cli = Cli::try_parse_from([&["mtls-client"], arguments].concat());
        understand(cli.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_means_require_over_two_direct_paths() {
        let Ok(Command::Check(check, settings)) = understood(&["check", "example.org"]) else {
            panic!("not a check");
        };
        assert_eq!(check.targets.len(), 1);
        assert_eq!(settings.policy, Policy::Require);
        assert_eq!(settings.primary.to_string(), "direct");
        assert_eq!(settings.sides.len(), 1);
        assert_eq!(settings.sides[0].to_string(), "direct");
        assert_eq!(settings.bindings, Bindings::ALL);
        assert_eq!(settings.roots, Roots::Mozilla);
        assert_eq!(settings.deadline, Duration::from_secs(3));
    }

    #[test]
    fn a_side_that_is_named_takes_the_place_of_the_default() {
        let typed = [
            "check",
            "--side",
            "if:eth0",
            "--side",
            "src:192.0.2.1",
            "example.org",
        ];
        let Ok(Command::Check(_, settings)) = understood(&typed) else {
            panic!("not a check");
        };
        let sides: Vec<_> = settings.sides.iter().map(Path::to_string).collect();
        assert_eq!(sides, ["if:eth0", "src:192.0.2.1"]);
    }

    #[test]
    fn an_argument_without_a_meaning_names_itself_and_the_remedy() {
        for (typed, expected) in [
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
            (
                &["check", "http://a.test/"],
                "TARGET: `http://a.test/`: only https",
            ),
            (&["get", "a.test"], "URL: not an https URL"),
            (&["get", "--json", "https://a.test/"], "--json: "),
            (&["get", "--json", "-o", "-", "https://a.test/"], "--json: "),
            (&["get", "-H", "nonsense", "https://a.test/"], "--header: "),
        ] {
            let error = understood(typed).map(|_| ()).unwrap_err();
            assert!(error.starts_with(expected), "{typed:?}: {error}");
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_never_shown() {
        for spec in [
            "socks4://user:secret@p:1",
            "user:secret@p:1",
            "http://user:secret@p",
        ] {
            let error = understood(&["check", "--side", spec, "a.test"])
                .map(|_| ())
                .unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
