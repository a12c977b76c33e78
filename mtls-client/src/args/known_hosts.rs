//! Options of known hosts.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mtls_core::known_hosts::{FileStore, MAX_AGE};

use super::duration;
use crate::failure::Failure;

const DAY: u64 = 24 * 3600;

/// The file of known hosts.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Known host options")]
pub(crate) struct KnownHostsFileArgs {
    /// File of known hosts [default: $XDG_STATE_HOME/mtls-client/known-hosts.json, with
    /// ~/.local/state for $XDG_STATE_HOME]
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Option<PathBuf>,
}

/// Known hosts, for commands that make connections.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Known host options")]
pub(crate) struct KnownHostsArgs {
    #[command(flatten)]
    pub(crate) file: KnownHostsFileArgs,

    /// Neither use nor change known hosts
    #[arg(long, conflicts_with_all = ["known_hosts", "remember"])]
    pub(crate) no_known_hosts: bool,

    /// Remember each verified server, so that it must be verified from then on, under every policy
    /// [default TIME: 180d]
    ///
    /// TIME is in days (`30d`), or in s, m or h up to 24h; at most 730d.
    #[arg(
        long, value_name = "TIME", num_args = 0..=1, require_equals = true,
        default_missing_value = "180d", value_parser = max_age
    )]
    pub(crate) remember: Option<Duration>,
}

/// Remembered keys, for commands that see the server's key.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Known host options")]
pub(crate) struct KeyArgs {
    /// Accept and remember a new raw public key of a known server, if the connection is verified
    /// (--smkex)
    #[arg(long, conflicts_with = "no_known_hosts")]
    pub(crate) accept_new_key: bool,

    /// Accept a server whose side path cannot be connected if it shows a remembered public key; the
    /// verdict is then `pinned`, not verified
    #[arg(long, conflicts_with = "no_known_hosts")]
    pub(crate) allow_pinned: bool,
}

impl KnownHostsFileArgs {
    /// The store. `None` if neither the option nor the environment names a file.
    pub(crate) fn store(&self) -> Option<Arc<FileStore>> {
        let file = self.known_hosts.clone().or_else(default_file)?;
        Some(Arc::new(FileStore::new(file)))
    }

    /// The store.
    ///
    /// # Errors
    /// If neither the option nor the environment names a file.
    pub(crate) fn required(&self) -> Result<Arc<FileStore>, Failure> {
        self.store().ok_or_else(|| {
            let reason = "neither XDG_STATE_HOME nor HOME is set; name the file of known hosts";
            Failure::usage("--known-hosts", reason)
        })
    }
}

impl KnownHostsArgs {
    /// The store; `None` without known hosts.
    ///
    /// # Errors
    /// If hosts are to be remembered, and there is no file.
    pub(crate) fn store(&self) -> Result<Option<Arc<FileStore>>, Failure> {
        match (self.no_known_hosts, self.remember) {
            (true, _) => Ok(None),
            (false, Some(_)) => self.file.required().map(Some),
            (false, None) => Ok(self.file.store()),
        }
    }
}

/// A file in the user's state directory (XDG Base Directory Specification).
fn default_file() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join("mtls-client").join("known-hosts.json"))
}

/// Parses the time that an entry lasts.
fn max_age(text: &str) -> Result<Duration, String> {
    let age = match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => Duration::from_secs(u64::from(days) * DAY),
        Some(Err(_)) => return Err("expected a whole number of days, such as `30d`".into()),
        None => duration::parse(text).map_err(|error| format!("{error}; write days as `30d`"))?,
    };
    if age < Duration::from_secs(1) {
        return Err("must be at least 1s".into());
    }
    if age > MAX_AGE {
        return Err(format!("must be at most {}d", MAX_AGE.as_secs() / DAY));
    }
    Ok(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_parsed_in_days_and_shorter_units() {
        for (text, seconds) in [
            ("30d", 30 * DAY),
            ("730d", 730 * DAY),
            ("12h", DAY / 2),
            ("1s", 1),
        ] {
            assert_eq!(max_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for (text, expected) in [
            ("0d", "at least 1s"),
            ("500ms", "at least 1s"),
            ("731d", "at most 730d"),
            ("1.5d", "whole number"),
            ("48h", "`30d`"),
            ("1w", "`30d`"),
        ] {
            let error = max_age(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
