//! What was typed after `get`, and what it means.

use std::path::PathBuf;

use crate::args;
use crate::get::Fields;
use crate::options::{Settings, UsageError};
use crate::target::HttpsUrl;

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

impl Get {
    pub(super) fn understand(typed: args::Get, settings: &Settings) -> Result<Self, UsageError> {
        let output = match typed.output {
            Some(path) if path.as_os_str() != "-" => Output::File(path),
            _ => Output::Stdout,
        };
        if settings.json && output == Output::Stdout {
            return Err(UsageError::new(
                "--json",
                "standard output is for the body; write that to a file with --output FILE",
            ));
        }
        Ok(Self {
            url: HttpsUrl::parse(&typed.url).map_err(|error| UsageError::new("URL", error))?,
            output,
            include: typed.include,
            fields: Fields::parse(&typed.headers)
                .map_err(|error| UsageError::new("--header", error))?,
            follow: typed.location,
            fail: typed.fail,
        })
    }
}
