//! What the commands share which make connections.

use std::path::PathBuf;
use std::time::Duration;

use mtls_core::Policy;
use mtls_core::path::{Endpoint, Host, HostAddress, HostName, Path};
use mtls_core::proto::binding::{Binding, Bindings};

use crate::args::Shared;
use crate::connect::nameservers::Nameservers;
use crate::usage::UsageError;

/// How connections are made and judged, and who is told.
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
    pub(crate) identity: Option<Identity>,
    /// No certificates; the policy is `Require` then.
    pub(crate) smkex: bool,
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

/// The client certificate: files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Settings {
    pub(crate) fn understand(typed: &Shared) -> Result<Self, UsageError> {
        let adaptation = Adaptation::understand(typed)?;
        let settings = Self::adapted(typed, &adaptation)?;
        let paths = settings.sides.iter().chain([&settings.primary]);
        adaptation
            .nameservers
            .check_used(&paths.collect::<Vec<_>>())?;
        Ok(settings)
    }

    /// The settings, with paths that `--dns` may name beyond those of the command line.
    pub(crate) fn adapted(typed: &Shared, adaptation: &Adaptation) -> Result<Self, UsageError> {
        let path = |argument, spec: &str| match spec.parse::<Path>() {
            Ok(path) => Ok(adaptation.adapt(path)),
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
        let policy = policy(typed)?;
        Ok(Self {
            primary: path("--primary", &typed.primary)?,
            sides,
            side_endpoint: side_endpoint
                .map_err(|error| UsageError::new("--side-endpoint", error))?,
            policy,
            require_independent: typed.require_independent,
            deadline: typed.deadline,
            bindings: bindings(typed.binding.as_deref()),
            evidence_dir: typed.evidence_dir.clone(),
            roots: roots(typed),
            identity: identity(typed),
            smkex: typed.smkex,
            connect_timeout: typed.connect_timeout,
            max_time: typed.max_time,
            json: typed.json,
            silent: typed.silent,
            verbose: typed.verbose,
        })
    }

    /// Takes this address for this name and port on every path, as `--resolve` does.
    pub(crate) fn resolve(&mut self, host: &HostName, port: u16, address: &HostAddress) {
        for path in self.sides.iter_mut().chain([&mut self.primary]) {
            *path = path.clone().resolve(host.clone(), port, address.clone());
        }
    }
}

/// What all paths are told alike.
#[derive(Clone, Debug)]
pub(crate) struct Adaptation {
    overrides: Vec<Override>,
    nameservers: Nameservers,
    connect_timeout: Option<Duration>,
}

impl Adaptation {
    pub(crate) fn understand(typed: &Shared) -> Result<Self, UsageError> {
        let parse = |text: &String| {
            Override::parse(text).map_err(|error| UsageError::new("--resolve", error))
        };
        Ok(Self {
            overrides: typed.resolve.iter().map(parse).collect::<Result<_, _>>()?,
            nameservers: Nameservers::understand(&typed.dns, &roots(typed))?,
            connect_timeout: typed.connect_timeout,
        })
    }

    /// Tells it to a path.
    pub(crate) fn adapt(&self, path: Path) -> Path {
        let overrides = self.overrides.iter();
        let path = overrides.fold(path, |path, entry| entry.apply(path));
        let path = self.nameservers.apply(path);
        match self.connect_timeout {
            Some(timeout) => path.connect_timeout(timeout),
            None => path,
        }
    }
}

fn policy(typed: &Shared) -> Result<Policy, UsageError> {
    let policy = typed.policy.parse();
    let policy = policy.map_err(|error| UsageError::new("--policy", error))?;
    match (typed.smkex, policy) {
        (false, _) | (true, Policy::Require) => Ok(policy),
        (true, policy) => Err(UsageError::new(
            "--smkex",
            format_args!(
                "without certificates the policy is `require` and cannot be `{policy}`; leave \
                 --policy away"
            ),
        )),
    }
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

fn identity(typed: &Shared) -> Option<Identity> {
    let chain = typed.cert.clone()?;
    let key = typed.key.clone().unwrap_or_else(|| chain.clone());
    Some(Identity { chain, key })
}

/// Addresses that stand for a host and a port: `HOST:PORT:ADDR[,ADDR]…`, as curl's.
#[derive(Clone, Debug)]
struct Override {
    host: HostName,
    port: u16,
    addresses: Vec<HostAddress>,
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
            Ok(Host::Ip(address)) => Ok(address),
            _ => Err(format!("`{address}` is not an IP address")),
        });
        Ok(Self {
            host,
            port: endpoint.port,
            addresses: addresses.collect::<Result<_, _>>()?,
        })
    }

    fn apply(&self, path: Path) -> Path {
        self.addresses.iter().fold(path, |path, address| {
            path.resolve(self.host.clone(), self.port, address.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
