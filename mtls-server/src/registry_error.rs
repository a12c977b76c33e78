//! Errors of the registry that several machines share.

use std::fmt;
use std::path::PathBuf;

use mtls_core::registry::fleet::{EngineError, FleetError};
use mtls_core::registry::redis::{RedisAddress, RedisAddressError};

/// The reason why the shared registry cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// An address is invalid. The message does not repeat it: it may hold a password.
    Url(RedisAddressError),
    /// A file of a key or a password cannot be used.
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The settings are invalid.
    Settings(FleetError),
    /// A server cannot be used.
    Engine {
        /// Its address.
        address: RedisAddress,
        /// The reason.
        problem: EngineError,
    },
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "cannot use the value of --registry: {error}"),
            Self::File { path, reason } => {
                let path = path.display();
                write!(f, "cannot use {path} for the registry: {reason}")
            }
            Self::Settings(error) => write!(f, "cannot use the shared registry: {error}"),
            Self::Engine { address, problem } => {
                write!(f, "cannot use the registry's server {address}: {problem}")
            }
        }
    }
}

impl std::error::Error for RegistryError {}
