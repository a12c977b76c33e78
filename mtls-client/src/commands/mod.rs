//! The commands, one folder for each.

pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod evidence;
pub(crate) mod get;
pub(crate) mod hosts;
pub(crate) mod paths;
pub(crate) mod proxy;
pub(crate) mod reference;
pub(crate) mod watch;

use crate::args::ConnectionArgs;
use crate::connect::settings::Settings;
use crate::failure::Failure;
use crate::output::messages;

/// The settings of a command that makes connections; prints warnings about the client certificate.
fn settings(args: ConnectionArgs) -> Result<Settings, Failure> {
    let settings = Settings::new(args)?;
    let warnings = settings
        .identity
        .iter()
        .flat_map(|identity| &identity.warnings);
    for warning in warnings.filter(|_| !settings.output.silent) {
        messages::warn(warning);
    }
    Ok(settings)
}
