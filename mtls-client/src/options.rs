//! What the command line means.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mtls_core::Policy;
use mtls_core::path::{Endpoint, Host, HostName, Path};
use mtls_core::proto::binding::{Binding, Bindings};

use crate::args::{self, Cli, Shared};
use crate::fields::Fields;
use crate::target::{HttpsUrl, parse_target};

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Get(Get),
    Check(Vec<Endpoint>),
}

/// A page to fetch.
#[derive(Debug)]
pub(crate) struct Get {
    pub(crate) url: HttpsUrl,
    pub(crate) output: Output,
    pub(crate) include: bool,
    pub(crate) fields: Fields,
    pub(crate) follow: bool,
    pub(crate) fail: bool,
}

/// Where a body goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    File(PathBuf),
}

/// What all commands share.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) primary: Path,
    pub(crate) sides: Vec<Path>,
    pub(crate) side_endpoint: Option<Endpoint>,
    pub(crate) policy: Policy,
    pub(crate) require_independent: bool,
    pub(crate) deadline: Duration,
    pub(crate) bindings: Bindings,
    pub(crate) evidence_dir: Option<PathBuf>,
    pub(crate) roots: Roots,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) max_time: Option<Duration>,
    pub(crate) json: bool,
    pub(crate) silent: bool,
    pub(crate) verbose: u8,
}

/// Which CAs are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Mozilla's list, as it was when the program was built.
    Mozilla,
    System,
    File(PathBuf),
}

/// An argument that makes no sense, and why.
#[derive(Debug)]
pub(crate) struct UsageError {
    argument: &'static str,
    reason: String,
}

impl UsageError {
    pub(crate) fn new(argument: &'static str, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        Self { argument, reason }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.argument, self.reason)
    }
}

/// Turns what was typed into what it means.
pub(crate) fn understand(cli: Cli) -> Result<(Command, Settings), UsageError> {
    match cli.command {
        args::Command::Get(get) => {
            let settings = settings(&get.shared)?;
            let get = self::get(get)?;
            if settings.json && get.output == Output::Stdout {
                return Err(UsageError::new(
                    "--json",
                    "standard output is for the body; write that to a file with --output FILE",
                ));
            }
            Ok((Command::Get(get), settings))
        }
        args::Command::Check(check) => {
            let targets = check
                .targets
                .iter()
                .map(|text| parse_target(text).map_err(|error| UsageError::new("TARGET", error)));
            let targets = targets.collect::<Result<_, _>>()?;
            Ok((Command::Check(targets), settings(&check.shared)?))
        }
    }
}

fn get(typed: args::Get) -> Result<Get, UsageError> {
    Ok(Get {
        url: HttpsUrl::parse(&typed.url).map_err(|error| UsageError::new("URL", error))?,
        output: match typed.output {
            Some(path) if path.as_os_str() != "-" => Output::File(path),
            _ => Output::Stdout,
        },
        include: typed.include,
        fields: Fields::parse(&typed.headers)
            .map_err(|error| UsageError::new("--header", error))?,
        follow: typed.location,
        fail: typed.fail,
    })
}

fn settings(typed: &Shared) -> Result<Settings, UsageError> {
    let adapt = adaptation(typed)?;
    let path = |argument, spec: &str| match spec.parse::<Path>() {
        Ok(path) => Ok(adapt(path)),
        Err(error) => Err(UsageError::new(argument, error)),
    };
    let sides = match typed.sides.as_slice() {
        [] => vec![path("--side", "direct")?],
        specs => {
            let sides = specs.iter().map(|spec| path("--side", spec));
            sides.collect::<Result<_, _>>()?
        }
    };
    let side_endpoint = typed.side_endpoint.as_deref().map(str::parse).transpose();
    let policy = typed.policy.parse();
    Ok(Settings {
        primary: path("--primary", &typed.primary)?,
        sides,
        side_endpoint: side_endpoint.map_err(|error| UsageError::new("--side-endpoint", error))?,
        policy: policy.map_err(|error| UsageError::new("--policy", error))?,
        require_independent: typed.require_independent,
        deadline: typed.deadline,
        bindings: bindings(typed.binding.as_deref()),
        evidence_dir: typed.evidence_dir.clone(),
        roots: roots(typed),
        connect_timeout: typed.connect_timeout,
        max_time: typed.max_time,
        json: typed.json,
        silent: typed.silent,
        verbose: typed.verbose,
    })
}

/// What all paths are told alike.
fn adaptation(typed: &Shared) -> Result<impl Fn(Path) -> Path, UsageError> {
    let parse =
        |text: &String| Override::parse(text).map_err(|error| UsageError::new("--resolve", error));
    let overrides: Vec<_> = typed.resolve.iter().map(parse).collect::<Result<_, _>>()?;
    let timeout = typed.connect_timeout;
    Ok(move |path| {
        let path = overrides.iter().fold(path, |path, entry| entry.apply(path));
        match timeout {
            Some(timeout) => path.connect_timeout(timeout),
            None => path,
        }
    })
}

fn bindings(word: Option<&str>) -> Bindings {
    match word {
        Some("exporter") => Binding::Exporter.into(),
        Some("hello") => Binding::Hello.into(),
        _ => Bindings::ALL,
    }
}

fn roots(typed: &Shared) -> Roots {
    match (&typed.cacert, typed.system_roots) {
        (Some(file), _) => Roots::File(file.clone()),
        (None, true) => Roots::System,
        (None, false) => Roots::Mozilla,
    }
}

/// Addresses that stand for a host and a port: `HOST:PORT:ADDR[,ADDR]…`, as curl's.
struct Override {
    host: HostName,
    port: u16,
    addresses: Vec<std::net::IpAddr>,
}

impl Override {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(addresses)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("expected HOST:PORT:ADDR, got `{text}`"));
        };
        let endpoint: Endpoint = format!("{host}:{port}")
            .parse()
            .map_err(|error| format!("expected HOST:PORT:ADDR, got `{text}`: {error}"))?;
        let Host::Name(host) = endpoint.host else {
            return Err(format!("`{host}` is an address already; name a host"));
        };
        let addresses = addresses.split(',').map(|address| match address.parse() {
            Ok(Host::Ip(ip)) => Ok(ip),
            _ => Err(format!("`{address}` is not an IP address")),
        });
        Ok(Self {
            host,
            port: endpoint.port,
            addresses: addresses.collect::<Result<_, _>>()?,
        })
    }

    fn apply(&self, path: Path) -> Path {
        self.addresses.iter().fold(path, |path, &address| {
            path.resolve(self.host.clone(), self.port, address)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn understood(arguments: &[&str]) -> Result<(Command, Settings), String> {
        let cli = Cli::try_parse_from([&["mtls-client"], arguments].concat());
        understand(cli.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_means_require_over_two_direct_paths() {
        let (command, settings) = understood(&["check", "example.org"]).unwrap();
        assert!(matches!(command, Command::Check(targets) if targets.len() == 1));
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
        let (_, settings) = understood(&typed).unwrap();
        let sides: Vec<_> = settings.sides.iter().map(Path::to_string).collect();
        assert_eq!(sides, ["if:eth0", "src:192.0.2.1"]);
    }

    #[test]
    fn overrides_of_every_form_are_understood() {
        for (text, addresses) in [
            ("example.org:443:192.0.2.1", 1),
            ("example.org:443:2001:db8::1", 1),
            ("example.org:443:[2001:db8::1]", 1),
            ("example.org:443:192.0.2.1,2001:db8::1", 2),
        ] {
            let parsed = Override::parse(text).unwrap();
            assert_eq!(parsed.addresses.len(), addresses, "{text}");
            assert_eq!((parsed.host.as_str(), parsed.port), ("example.org", 443));
        }
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
            (&["check", "http://a.test/"], "TARGET: only https"),
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
