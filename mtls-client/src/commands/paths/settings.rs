//! What was typed after `paths`, and what it means.

use mtls_core::path::Endpoint;

use super::args;
use crate::args::target::parse_target;
use crate::connect::settings::Adaptation;
use crate::connect::settings::Settings;
use crate::usage::UsageError;

/// Ways to look for, and to try.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) target: Option<Endpoint>,
    /// Whether the side paths were named; else they are those that are found.
    pub(crate) has_sides: bool,
    /// Those that are found too.
    pub(crate) all: bool,
    /// What every path is told, those too that are found.
    pub(crate) adaptation: Adaptation,
}

impl Paths {
    pub(crate) fn understand(typed: &args::Paths) -> Result<(Self, Settings), UsageError> {
        let shared = typed.shared();
        let adaptation = Adaptation::understand(&shared)?;
        // `--dns` may name a path that is yet to be found.
        let settings = Settings::adapted(&shared, &adaptation)?;
        let target = typed.target.as_deref().map(parse_target).transpose();
        let paths = Self {
            target: target.map_err(|error| UsageError::new("TARGET", error))?,
            has_sides: !typed.sides.is_empty(),
            all: typed.all,
            adaptation,
        };
        Ok((paths, settings))
    }
}
