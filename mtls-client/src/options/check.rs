//! What was typed after `check`, and what it means.

use mtls_core::path::Endpoint;

use crate::args;
use crate::options::UsageError;
use crate::target::parse_target;

/// Servers to verify.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) targets: Vec<Endpoint>,
}

impl Check {
    pub(super) fn understand(typed: &args::Check) -> Result<Self, UsageError> {
        let targets = typed
            .targets
            .iter()
            .map(|text| parse_target(text).map_err(|error| UsageError::new("TARGET", error)));
        Ok(Self {
            targets: targets.collect::<Result<_, _>>()?,
        })
    }
}
