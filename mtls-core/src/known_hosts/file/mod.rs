//! The embedded store of known hosts: one small file.

mod clock;
mod contents;
mod disk;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;

pub(super) use self::clock::Reading;
use self::clock::read_clocks;
use self::contents::Contents;
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use self::contents::fuzz;
use self::disk::{Disk, Stamp};
use super::entry::{HostEntry, Support};
use super::error::{KnownHostsError, KnownHostsFailure};
use super::{Change, KnownHosts, canonical};
use crate::path::Endpoint;
use crate::sync::lock;

pub use clock::ClockJump;

/// The most notices that wait for [`FileStore::take_notices`].
const MAX_NOTICES: usize = 64;

/// Known hosts in one file, which several processes may use at the same time.
///
/// A change is made under a lock (`flock(2)` on `FILE.lock`) and replaces the file as a whole, so a
/// reader never sees half of one, and a crash or a full disk leaves the file as it was. The file has
/// mode 0600. A file that other users own or can write, that is damaged or that is larger than 4 MiB
/// is an error. A missing file is an empty store, so its directory must not be writable by others.
///
/// Entries expire by the system's clock, but within one boot never faster than the time since boot:
/// a clock that jumps forward expires nothing.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use mtls_core::known_hosts::FileStore;
/// use mtls_core::{ClientSettings, Policy};
///
/// let store = FileStore::new("/var/lib/app/hosts.json").max_hosts(1000);
/// let settings = ClientSettings::new(Policy::Prefer)
///     .known_hosts(Arc::new(store))
///     .remember(Duration::from_secs(30 * 24 * 3600));
/// ```
pub struct FileStore {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Disk,
    max_hosts: usize,
    clocks: fn() -> Reading,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The file as it was read last.
    cached: Option<(Stamp, Arc<Contents>)>,
    notices: VecDeque<Notice>,
}

/// One entry of the list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The host and port.
    pub host: Endpoint,
    /// The entry.
    pub entry: HostEntry,
    /// It no longer counts.
    pub expired: bool,
    /// It was made later than now.
    pub from_the_future: bool,
}

/// An observation about the store that its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The system's clock jumped.
    Clock(ClockJump),
    /// The entry of this host was made later than now.
    FromTheFuture(Endpoint),
    /// The entry of this host could not be changed, for this reason.
    NotRecorded(Endpoint, String),
}

impl FileStore {
    /// A store in this file, which is made with the first entry, as is its directory (mode 0700).
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self::with_clocks(file.into(), read_clocks)
    }

    pub(super) fn with_clocks(file: PathBuf, clocks: fn() -> Reading) -> Self {
        Self {
            shared: Arc::new(Shared {
                disk: Disk::new(file),
                max_hosts: 4096,
                clocks,
                state: Mutex::default(),
            }),
        }
    }

    /// Sets the number of entries, from 4 to 8,192. Default: 4,096. A quarter of them may be of
    /// servers that support nothing ([`Support::Neither`]), of which the oldest makes room.
    #[must_use]
    pub fn max_hosts(self, hosts: usize) -> Self {
        self.rebuilt(|shared| shared.max_hosts = hosts.clamp(4, 8192))
    }

    /// Sets the time to wait for another process that changes the file. Default: 2 s.
    #[must_use]
    pub fn lock_timeout(self, timeout: Duration) -> Self {
        self.rebuilt(|shared| shared.disk.set_lock_timeout(timeout))
    }

    fn rebuilt(self, change: impl FnOnce(&mut Shared)) -> Self {
        let old = &self.shared;
        let mut shared = Shared {
            disk: old.disk.clone(),
            max_hosts: old.max_hosts,
            clocks: old.clocks,
            state: Mutex::default(),
        };
        change(&mut shared);
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The file.
    pub fn file(&self) -> &FilePath {
        self.shared.disk.file()
    }

    /// All entries, by host. Blocks while it reads the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, KnownHostsError> {
        let (contents, now) = self.shared.read()?;
        let listed = contents.hosts().map(|(host, entry)| Listed {
            host: host.clone(),
            expired: entry.is_expired(now),
            from_the_future: entry.is_from_the_future(now),
            entry: entry.clone(),
        });
        Ok(listed.collect())
    }

    /// Removes the entry of a host; returns whether there was one. Blocks while it writes the file.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn remove(&self, host: &Endpoint) -> Result<bool, KnownHostsError> {
        let host = canonical(host);
        self.shared
            .change(|contents, _, _| Ok(contents.remove(&host)))
    }

    /// The entries that have not expired and are not of [`Support::Neither`], as a file of another
    /// store. Blocks while it reads the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn export(&self) -> Result<String, KnownHostsError> {
        let (contents, now) = self.shared.read()?;
        self.shared.disk.render(&contents.strong(now))
    }

    /// Adds the entries of an exported file; returns their number, with those that change nothing. An
    /// entry here that is stronger or lasts longer stays. Entries that have expired or are of [`Support::Neither`] are skipped.
    /// Import only what you trust: an entry decides where a host's side verifier is, and which keys
    /// are known. Blocks while it writes the file.
    ///
    /// # Errors
    /// If an entry is invalid, or the file cannot be read or written; nothing is changed then.
    pub fn import(&self, text: &str) -> Result<usize, KnownHostsError> {
        let imported = self
            .shared
            .disk
            .parse(text)
            .map_err(|error| KnownHostsError {
                place: "the imported text".into(),
                ..error
            })?;
        let max_hosts = self.shared.max_hosts;
        self.shared.change(|contents, now, _| {
            let strong = imported.strong(now);
            let count = strong.hosts().count();
            for (host, entry) in strong.hosts() {
                contents
                    .import(host.clone(), entry.clone(), max_hosts, now)
                    .map_err(|failure| self.shared.disk.error(failure))?;
            }
            Ok(count)
        })
    }

    /// Takes the notices that have accumulated, each once.
    pub fn take_notices(&self) -> Vec<Notice> {
        lock(&self.shared.state).notices.drain(..).collect()
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("file", &self.file())
            .finish_non_exhaustive()
    }
}

impl KnownHosts for FileStore {
    fn lookup<'a>(
        &'a self,
        host: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Option<HostEntry>, KnownHostsError>> {
        let host = canonical(host);
        self.blocking(move |shared| shared.lookup(&host))
    }

    fn record<'a>(
        &'a self,
        host: &'a Endpoint,
        change: Change,
    ) -> BoxFuture<'a, Result<(), KnownHostsError>> {
        let host = canonical(host);
        self.blocking(move |shared| {
            let recorded = shared.record(&host, change);
            if let Err(error) = &recorded {
                shared.notice(Notice::NotRecorded(host, error.to_string()));
            }
            recorded
        })
    }
}

impl FileStore {
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, KnownHostsError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, KnownHostsError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let on_thread = Arc::clone(&shared);
            let done = tokio::task::spawn_blocking(move || work(&on_thread)).await;
            done.unwrap_or_else(|_| Err(shared.disk.error(KnownHostsFailure::Interrupted)))
        })
    }
}

impl Shared {
    fn lookup(&self, host: &Endpoint) -> Result<Option<HostEntry>, KnownHostsError> {
        let (contents, now) = self.read()?;
        let Some(entry) = contents.get(host) else {
            return Ok(None);
        };
        if entry.is_from_the_future(now) {
            self.notice(Notice::FromTheFuture(host.clone()));
        }
        Ok(Some(entry.clone()).filter(|entry| !entry.is_expired(now)))
    }

    fn record(&self, host: &Endpoint, change: Change) -> Result<(), KnownHostsError> {
        // Most verified connections change nothing, and take no lock.
        let (contents, now) = self.read()?;
        let before = contents.get(host).cloned();
        if change.clone().apply(before.clone(), now) == before {
            return Ok(());
        }
        self.change(|contents, now, max_hosts| {
            let before = contents.get(host).cloned();
            match change.apply(before, now) {
                Some(entry) => contents
                    .insert(host.clone(), entry, max_hosts, now)
                    .map_err(|failure| self.disk.error(failure)),
                None => {
                    contents.remove(host);
                    Ok(())
                }
            }
        })
    }

    /// The newest contents, and the time by which they expire.
    fn read(&self) -> Result<(Arc<Contents>, u64), KnownHostsError> {
        let stamp = self.disk.stamp()?;
        let cached = lock(&self.state).cached.clone();
        let contents = match cached {
            Some((known, contents)) if known == stamp => contents,
            _ => {
                let (stamp, contents) = self.disk.read()?;
                let contents = Arc::new(contents);
                lock(&self.state).cached = Some((stamp, Arc::clone(&contents)));
                contents
            }
        };
        let now = self.now(&contents, &(self.clocks)());
        Ok((contents, now))
    }

    fn now(&self, contents: &Contents, reading: &Reading) -> u64 {
        let (now, jump) = reading.against(contents.clock());
        if let Some(jump) = jump {
            self.notice(Notice::Clock(jump));
        }
        now
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Contents, u64, usize) -> Result<T, KnownHostsError>,
    ) -> Result<T, KnownHostsError> {
        let _locked = self.disk.lock()?;
        let (_, mut contents) = self.disk.read()?;
        let reading = (self.clocks)();
        let now = self.now(&contents, &reading);
        let before = contents.clone();
        let result = change(&mut contents, now, self.max_hosts)?;
        if contents != before {
            contents.set_clock(reading.anchored_at(now));
            self.disk.write(&contents)?;
        }
        Ok(result)
    }

    fn notice(&self, notice: Notice) {
        let mut state = lock(&self.state);
        let same = |known: &Notice| match (known, &notice) {
            // Its size changes by a second at any time.
            (Notice::Clock(_), Notice::Clock(_)) => true,
            (known, notice) => known == notice,
        };
        if state.notices.len() < MAX_NOTICES && !state.notices.iter().any(same) {
            tracing::warn!(%notice, file = %self.disk.file().display(), "known hosts");
            state.notices.push_back(notice);
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(jump) => jump.fmt(f),
            Self::FromTheFuture(host) => write!(
                f,
                "the entry of {host} was made in the future: this machine's clock is wrong, or was; \
                 the entry counts all the same"
            ),
            Self::NotRecorded(host, reason) => write!(f, "{host}: {reason}"),
        }
    }
}

/// The support of an entry that must not make room for others.
fn is_strong(entry: &HostEntry) -> bool {
    entry.support != Support::Neither
}
