//! Errors of a store of known hosts.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Error of a store of known hosts. A connection is refused where its host cannot be looked up.
///
/// ```
/// use mtls_core::known_hosts::{FileStore, KnownHostsFailure};
///
/// let store = FileStore::new("hosts.json");
/// let error = store.import("{}").unwrap_err();
/// assert!(matches!(error.failure, KnownHostsFailure::Malformed(_)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownHostsError {
    /// The place of the store: a file, or another store's description.
    pub place: PathBuf,
    /// The cause.
    pub failure: KnownHostsFailure,
}

/// The cause of a [`KnownHostsError`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KnownHostsFailure {
    /// The store cannot be read.
    Read(Arc<io::Error>),
    /// The store cannot be written: the entries are as before.
    Write(Arc<io::Error>),
    /// Another process holds the lock for too long.
    Locked,
    /// The file belongs to another user, by this number.
    OtherOwner(u32),
    /// Other users can write the file: its permissions.
    WritableByOthers(u32),
    /// The file is larger than the limit, in bytes.
    TooLarge(u64),
    /// The file is damaged, or was not written by this library.
    Malformed(String),
    /// The file is of a newer version.
    NewerVersion(u64),
    /// The limit of entries is reached.
    Full(usize),
    /// The store's task did not end.
    Interrupted,
}

impl fmt::Display for KnownHostsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.display();
        match &self.failure {
            KnownHostsFailure::Read(error) => write!(
                f,
                "the known hosts in {place} cannot be read: {error}; repair the file or its \
                 permissions"
            ),
            KnownHostsFailure::Write(error) => write!(
                f,
                "the known hosts in {place} cannot be written: {error}; nothing was remembered or \
                 forgotten: make space, or the directory writable"
            ),
            KnownHostsFailure::Locked => write!(
                f,
                "the known hosts in {place} are locked by another process; nothing was remembered \
                 or forgotten: end that process, or try again"
            ),
            KnownHostsFailure::OtherOwner(user) => write!(
                f,
                "the known hosts in {place} belong to another user (uid {user}), who could remove \
                 entries; change the owner with `chown`"
            ),
            KnownHostsFailure::WritableByOthers(mode) => write!(
                f,
                "the known hosts in {place} can be written by other users (mode {mode:03o}), who \
                 could remove entries; restrict it with `chmod go-w`"
            ),
            KnownHostsFailure::TooLarge(limit) => write!(
                f,
                "the known hosts in {place} are larger than {limit} bytes; restore the file from a \
                 copy, or move it away to start anew"
            ),
            KnownHostsFailure::Malformed(reason) => write!(
                f,
                "the known hosts in {place} are damaged: {reason}; restore the file from a copy, or \
                 move it away to start anew"
            ),
            KnownHostsFailure::NewerVersion(version) => write!(
                f,
                "the known hosts in {place} have version {version}, which a newer program wrote; \
                 upgrade this program"
            ),
            KnownHostsFailure::Full(limit) => write!(
                f,
                "the known hosts in {place} have reached the limit of {limit} entries; remove \
                 entries that are no longer needed"
            ),
            KnownHostsFailure::Interrupted => {
                write!(
                    f,
                    "the known hosts in {place} were not reached: the program is ending"
                )
            }
        }
    }
}

impl std::error::Error for KnownHostsError {}
