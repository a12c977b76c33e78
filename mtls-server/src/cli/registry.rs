//! The registry that the machines of a fleet share, as typed.

use std::convert::Infallible;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::registry::ServiceId;
use mtls_core::registry::fleet::{FleetKeys, FleetRegistry, FleetSettings, MachineId};
use mtls_core::registry::redis::{RedisAddress, RedisAddressError, RedisEngine, RedisSettings};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::registry_error::RegistryError;
use crate::service::sandbox::Sandbox;
use crate::service::{Fleet, Program, print_line};
use crate::text_file::read_text;
use crate::tls::{client_identity, provider, roots_from_file, system_roots};

/// How long a machine waits at its start until the others know it.
const START: Duration = Duration::from_secs(10);
/// A password in the environment, where redis-cli reads it too.
const PASSWORD_VARIABLE: &str = "REDISCLI_AUTH";

/// The options of the registry, as typed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registry options")]
pub struct RegistryArgs {
    /// Redis or Valkey server of a registry that several machines share, as
    /// redis://[USER@]HOST[:PORT], or rediss:// for TLS; repeat it for independent servers
    ///
    /// Machines behind one address need a shared registry, because a client's side connection may
    /// reach another machine than its TLS connection. Default: a registry in memory, for one machine.
    ///
    /// redis+sentinel://[USER@]HOST[:PORT][+HOST[:PORT]…]/NAME is the primary that these Sentinels
    /// watch as NAME; rediss+sentinel:// uses TLS to it and to them.
    #[arg(long, value_name = "URL", requires_all = ["service", "registry_key", "machine"])]
    pub registry: Vec<RegistryUrl>,

    /// Name of the service, the same on all of its machines
    #[arg(long, value_name = "NAME", requires = "registry")]
    pub service: Option<String>,

    /// File with the key of the fleet: 64 hexadecimal digits, and on a second line a key that is
    /// accepted too while keys are rotated
    #[arg(long, value_name = "FILE", requires = "registry")]
    pub registry_key: Option<PathBuf>,

    /// Number of this machine, 0 to 65535, different on each machine
    #[arg(long, value_name = "N", requires = "registry")]
    pub machine: Option<u16>,

    /// File with the password for the registry's servers; default: REDISCLI_AUTH in the environment
    #[arg(long, value_name = "FILE", requires = "registry")]
    pub registry_password: Option<PathBuf>,

    /// CA certificates for rediss:// instead of the system's
    #[arg(long, value_name = "FILE", requires = "registry")]
    pub registry_ca: Option<PathBuf>,

    /// Client certificate for rediss://
    #[arg(long, value_name = "FILE", requires_all = ["registry", "registry_client_key"])]
    pub registry_client_cert: Option<PathBuf>,

    /// Private key of --registry-client-cert
    #[arg(long, value_name = "FILE", requires = "registry_client_cert")]
    pub registry_client_key: Option<PathBuf>,
}

/// An address as typed. It is read later, because clap repeats in its messages what it cannot read,
/// and that may hold a password.
#[derive(Clone)]
pub struct RegistryUrl(Result<RedisAddress, RedisAddressError>);

impl FromStr for RegistryUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.parse()))
    }
}

impl fmt::Debug for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Settings from the options.
struct Settings {
    service: ServiceId,
    fleet: FleetSettings,
    engines: Vec<RedisSettings>,
}

impl RegistryArgs {
    /// Allows the files that these options name, and the resolution of names.
    pub(super) fn allow(&self, mut sandbox: Sandbox) -> Sandbox {
        for file in [
            &self.registry_key,
            &self.registry_password,
            &self.registry_ca,
            &self.registry_client_cert,
            &self.registry_client_key,
        ]
        .into_iter()
        .flatten()
        {
            sandbox = sandbox.file(file);
        }
        match self.registry.is_empty() {
            true => sandbox,
            false => sandbox.names(),
        }
    }

    /// Connects to the shared registry, if there is one, and lets the monitor use it. Waits for a
    /// bounded time until this machine may complete handshakes.
    pub(super) async fn open(&self, program: &mut Program) -> Result<(), Error> {
        let Some(settings) = self.settings()? else {
            return Ok(());
        };
        let service = settings.service;
        let registry = settings.start()?;
        let fleet = Fleet { registry, service };
        program.monitor().share_registry(fleet.clone());
        let ready = timeout(START, fleet.registry.ready());
        if program.until(ready).await?.is_err() {
            print_line(format_args!(
                "the registry is not available: handshakes are refused until it is"
            ));
        }
        Ok(())
    }

    /// The errors that can be found without serving.
    pub(super) async fn check(&self) -> Vec<Error> {
        match self.settings() {
            Ok(None) => Vec::new(),
            Ok(Some(settings)) => settings.check().await,
            Err(error) => vec![error],
        }
    }

    /// `None` without `--registry`.
    fn settings(&self) -> Result<Option<Settings>, Error> {
        let (Some(service), Some(key), Some(machine)) =
            (&self.service, &self.registry_key, self.machine)
        else {
            return Ok(None);
        };
        let service = ServiceId::from_name(service);
        let password = self.password()?;
        let addresses = self.registry.iter().map(|url| url.0.clone());
        let addresses: Vec<_> = addresses
            .collect::<Result<_, _>>()
            .map_err(RegistryError::Url)?;
        let tls = match addresses.iter().any(|address| address.tls) {
            true => Some(Arc::new(self.tls()?)),
            false => None,
        };
        let engine = |address: &RedisAddress| {
            let mut settings = RedisSettings::new(address.clone(), service);
            settings.password.clone_from(&password);
            settings.tls = tls.clone().filter(|_| address.tls);
            settings
        };
        Ok(Some(Settings {
            service,
            fleet: FleetSettings::new(MachineId(machine), read_keys(key)?),
            engines: addresses.iter().map(engine).collect(),
        }))
    }

    fn password(&self) -> Result<Option<Zeroizing<String>>, Error> {
        let text = match &self.registry_password {
            Some(path) => read_secret(path)?,
            None => match env::var(PASSWORD_VARIABLE) {
                Ok(password) => Zeroizing::new(password),
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(Zeroizing::new(text.trim_end().to_owned())))
    }

    fn tls(&self) -> Result<ClientConfig, Error> {
        let roots: RootCertStore = match &self.registry_ca {
            Some(path) => roots_from_file(path)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_root_certificates(roots);
        match (&self.registry_client_cert, &self.registry_client_key) {
            (Some(certificate), Some(key)) => {
                let (chain, key) = client_identity(certificate, key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(Error::Tls)
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

impl Settings {
    fn start(self) -> Result<FleetRegistry<RedisEngine>, Error> {
        let engines = self.engines.into_iter().map(RedisEngine::new).collect();
        FleetRegistry::start(engines, self.fleet)
            .map_err(|error| RegistryError::Settings(error).into())
    }

    /// Connects to each engine separately.
    async fn check(self) -> Vec<Error> {
        let mut wrong = Vec::new();
        for engine in self.engines {
            let address = engine.address.clone();
            if let Err(problem) = RedisEngine::new(engine).check().await {
                wrong.push(RegistryError::Engine { address, problem }.into());
            }
        }
        wrong
    }
}

fn read_keys(path: &Path) -> Result<FleetKeys, RegistryError> {
    let text = read_secret(path)?;
    FleetKeys::from_text(&text).map_err(|error| RegistryError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, RegistryError> {
    read_text(path).map_err(|error| RegistryError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
