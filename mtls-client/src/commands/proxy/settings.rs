//! What was typed after `proxy`, and what it means.

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::proto::binding::Binding;

use super::args;
use crate::commands::proxy::pattern::Pattern;
use crate::commands::proxy::rules::Rules;
use crate::connect::settings::Settings;
use crate::usage::UsageError;

/// A proxy to run.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) rules: Rules,
    pub(crate) max_tunnels: usize,
    pub(crate) history: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
}

const TRUST: &str = "the proxy ends no TLS connection; say to the programs behind it whom to trust";

impl Proxy {
    /// Before anything that it would change.
    pub(crate) fn refuse_smkex(typed: &args::Proxy) -> Result<(), UsageError> {
        match typed.shared.smkex {
            true => Err(UsageError::new("--smkex", TRUST)),
            false => Ok(()),
        }
    }

    pub(crate) fn understand(typed: &args::Proxy, settings: &Settings) -> Result<Self, UsageError> {
        refuse_what_does_not_apply(typed, settings)?;
        let public = typed
            .listen
            .iter()
            .find(|address| !address.ip().is_loopback());
        if let Some(address) = public.filter(|_| !typed.unsafe_listen) {
            return Err(UsageError::new(
                "--listen",
                format!(
                    "others can reach {address}, and the proxy asks nobody for a password; give \
                     --unsafe-listen if you mean it"
                ),
            ));
        }
        Ok(Self {
            listen: typed.listen.clone(),
            rules: Rules::new(
                settings.policy,
                &patterns("--require", &typed.require)?,
                &patterns("--exempt", &typed.exempt)?,
            ),
            max_tunnels: usize::try_from(typed.max_tunnels).unwrap_or(usize::MAX),
            history: usize::try_from(typed.history).unwrap_or(usize::MAX),
            idle_timeout: typed.idle_timeout,
            shutdown_timeout: typed.shutdown_timeout,
        })
    }
}

fn patterns(option: &'static str, typed: &[String]) -> Result<Vec<Pattern>, UsageError> {
    let parse = |text: &String| {
        let parsed = text.parse();
        parsed.map_err(|error: String| UsageError::new(option, error))
    };
    typed.iter().map(parse).collect()
}

/// Options of the other commands that would promise what a proxy cannot do.
fn refuse_what_does_not_apply(typed: &args::Proxy, settings: &Settings) -> Result<(), UsageError> {
    let refuse = |option, reason| Err(UsageError::new(option, reason));
    if typed.shared.cacert.is_some() {
        return refuse("--cacert", TRUST);
    }
    if typed.shared.system_roots {
        return refuse("--system-roots", TRUST);
    }
    if settings.identity.is_some() {
        return refuse(
            "--cert",
            "the proxy ends no TLS connection; give the certificate to the program behind it",
        );
    }
    if settings.max_time.is_some() {
        return refuse(
            "--max-time",
            "the proxy runs until it is stopped; see --idle-timeout",
        );
    }
    if !settings.bindings.contains(Binding::Hello) {
        return refuse(
            "--binding",
            "a relay holds no TLS keys, so it cannot compute the exporter: `hello` is all that it \
             can offer. For the stronger binding use `mtls-client get` or the library",
        );
    }
    Ok(())
}
