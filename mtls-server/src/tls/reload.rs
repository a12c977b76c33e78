//! Reloading of certificates while the server runs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mtls_core::MultipathAcceptor;

use super::Identity;
use super::expiry::ExpiryWatch;
use super::server_tls::{ServerTls, TlsFiles};
use crate::error::Error;

/// The interval of checks for changes. A change counts once two checks agree, because a certificate and
/// its key cannot be replaced in one step.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval of checks whether a certificate soon expires.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Checks the certificate files of a server for changes, and reloads them.
///
/// Repeated checks (a few system calls) detect each kind of replacement: writes in place, renames, and
/// new targets of symbolic links, as in Kubernetes, on network file systems too.
pub(crate) struct Reloader {
    files: TlsFiles,
    changes: Changes<Vec<Fingerprint>>,
    /// The certificate in use, since the first load.
    current: Option<(Identity, ExpiryWatch)>,
}

/// The result of a reload.
#[derive(Debug)]
pub(crate) enum Reloaded {
    /// New handshakes use the new contents of the files.
    Fresh(ServerTls),
    /// The files cannot be used; the previous contents stay in use.
    Kept(Error),
}

impl Reloader {
    /// Create it before the first load, so that no change is missed.
    pub(crate) fn new(files: TlsFiles) -> Self {
        Self {
            changes: Changes::since(files.fingerprints()),
            files,
            current: None,
        }
    }

    /// Reads the files for the first time. A FIFO is read too, as from a process substitution of the
    /// shell, but cannot be reloaded.
    pub(crate) fn load(&mut self) -> Result<ServerTls, Error> {
        let tls = self.files.load()?;
        self.watch(&tls);
        Ok(tls)
    }

    fn watch(&mut self, tls: &ServerTls) {
        let watch = ExpiryWatch::of(&tls.identity, SystemTime::now());
        self.current = Some((tls.identity.clone(), watch));
    }

    /// Logs the warnings of the certificate in use that apply since the last call.
    fn warn_of_expiry(&mut self) {
        let Some((identity, watch)) = &mut self.current else {
            return;
        };
        for warning in watch.new_warnings(identity, SystemTime::now()) {
            tracing::warn!(certificate = %self.files.cert.display(), "{warning}");
        }
    }

    /// Reloads in a thread of its own when the files have changed, and for each message of
    /// `hangup`, until the sender of that is dropped. Calls `done` after each reload.
    ///
    /// The files may be on a disk that does not respond, and other files must not delay certificates.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(crate) fn spawn(
        self,
        acceptor: MultipathAcceptor,
        hangup: Receiver<()>,
        done: impl Fn(Cause, Reloaded) + Send + 'static,
    ) -> io::Result<()> {
        let thread = thread::Builder::new().name("certificates".into());
        thread.spawn(move || self.run(&acceptor, &hangup, done))?;
        Ok(())
    }

    fn run(
        mut self,
        acceptor: &MultipathAcceptor,
        hangup: &Receiver<()>,
        done: impl Fn(Cause, Reloaded),
    ) {
        let mut expiry_check = Instant::now() + EXPIRY_INTERVAL;
        loop {
            let is_signal = match hangup.recv_timeout(CHECK_INTERVAL) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if expiry_check <= Instant::now() {
                self.warn_of_expiry();
                expiry_check = Instant::now() + EXPIRY_INTERVAL;
            }
            let now = self.files.fingerprints();
            let cause = match (is_signal, self.changes.update(now.clone())) {
                (true, _) => Cause::Signal,
                (false, true) => Cause::Changed,
                (false, false) => continue,
            };
            if is_signal {
                self.changes = Changes::since(now);
            }
            match reload(&self.files, acceptor) {
                Ok(tls) => {
                    self.watch(&tls);
                    done(cause, Reloaded::Fresh(tls));
                }
                Err(error) => done(cause, Reloaded::Kept(error)),
            }
        }
    }
}

fn reload(files: &TlsFiles, acceptor: &MultipathAcceptor) -> Result<ServerTls, Error> {
    files.check_regular()?;
    let tls = files.load()?;
    acceptor.replace_config(&tls.config()?)?;
    Ok(tls)
}

impl TlsFiles {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
    }

    fn fingerprints(&self) -> Vec<Fingerprint> {
        self.paths().map(|path| Fingerprint::of(path)).collect()
    }

    /// Refuses a FIFO or a device, which could block the thread forever.
    fn check_regular(&self) -> Result<(), Error> {
        let is_special = |path: &&PathBuf| fs::metadata(path).is_ok_and(|file| !file.is_file());
        match self.paths().find(is_special) {
            Some(path) => Err(Error::NotReloadable(path.clone())),
            None => Ok(()),
        }
    }
}

/// The cause of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// SIGHUP.
    Signal,
    /// The files have changed.
    Changed,
}

/// The identity of a state of a file; `None` for a missing file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint(Option<FileId>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    length: u64,
    /// In seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Of the target of a path, with links resolved.
    fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|file| FileId {
            device: file.dev(),
            inode: file.ino(),
            length: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }))
    }
}

/// Detects a change that two checks agree on.
#[derive(Debug)]
struct Changes<T> {
    /// The state that was loaded last.
    known: T,
    /// A later state, of which the change may be incomplete.
    candidate: Option<T>,
}

impl<T: PartialEq> Changes<T> {
    fn since(known: T) -> Self {
        Self {
            known,
            candidate: None,
        }
    }

    /// Whether this is a new state, and the same as at the previous check.
    fn update(&mut self, now: T) -> bool {
        if now == self.known {
            self.candidate = None;
            return false;
        }
        if self.candidate.as_ref() == Some(&now) {
            self.candidate = None;
            self.known = now;
            return true;
        }
        self.candidate = Some(now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_two_checks_agree() {
        let mut changes = Changes::since(1);
        assert!(!changes.update(1));
        assert!(!changes.update(2));
        assert!(!changes.update(3), "half of it was there");
        assert!(changes.update(3));
        assert!(!changes.update(3), "once only");
    }

    #[test]
    fn a_change_that_is_reverted_does_not_count() {
        let mut changes = Changes::since(1);
        assert!(!changes.update(2));
        assert!(!changes.update(1));
        assert!(!changes.update(2), "the wait begins anew");
        assert!(changes.update(2));
    }

    #[test]
    fn each_way_to_replace_a_file_is_detected() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("real"), "1").expect("to write");
        std::os::unix::fs::symlink(path("real"), path("link")).expect("a link");
        let first = Fingerprint::of(&path("link"));
        assert_eq!(first, Fingerprint::of(&path("link")));
        fs::write(path("new"), "1").expect("to write");
        fs::rename(path("new"), path("real")).expect("to rename");
        let renamed = Fingerprint::of(&path("link"));
        assert_ne!(first, renamed);
        fs::write(path("other"), "1").expect("to write");
        std::os::unix::fs::symlink(path("other"), path("next")).expect("a link");
        fs::rename(path("next"), path("link")).expect("to rename");
        let swapped = Fingerprint::of(&path("link"));
        assert_ne!(renamed, swapped);
        fs::write(path("other"), "12").expect("to write");
        let written = Fingerprint::of(&path("link"));
        assert_ne!(swapped, written);
        fs::remove_file(path("other")).expect("to remove");
        assert_eq!(Fingerprint::of(&path("link")), Fingerprint(None));
    }
}
