//! Takes renewed certificates into use while the server runs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use mtls_core::MultipathAcceptor;

use super::server_tls::{ServerTls, TlsFiles};
use crate::error::Error;

/// How often the files are looked at. A change is taken into use once it has stood for one look,
/// since a certificate and its key cannot be replaced in one step.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches the files of a server's TLS, and gives it what is new in them.
///
/// Looking at the files again and again (a few system calls) notices every way in which they are
/// replaced: written in place, renamed over, or swapped by a symbolic link, as Kubernetes does, on
/// network file systems too.
pub(crate) struct Reloader {
    files: TlsFiles,
    changes: Changes<Vec<Fingerprint>>,
}

/// What came of a reload.
#[derive(Debug)]
pub(crate) enum Reloaded {
    /// New handshakes use what the files hold now.
    Fresh(ServerTls),
    /// The files cannot be used; what was there before stays.
    Kept(Error),
}

impl Reloader {
    /// Make it before the files are read, so that no change is missed.
    pub(crate) fn new(files: TlsFiles) -> Self {
        Self {
            changes: Changes::since(files.fingerprints()),
            files,
        }
    }

    /// Reads the files for the first time.
    pub(crate) fn load(&self) -> Result<ServerTls, Error> {
        self.files.load()
    }

    /// Reloads in a thread of its own when the files have changed, and for each message of
    /// `hangup`, until the sender of that is dropped. Calls `done` after each reload.
    ///
    /// The files may lie on a disk that does not answer, and other files must not keep the
    /// certificates waiting for a thread.
    ///
    /// # Errors
    /// The system has no thread to give.
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
        loop {
            let asked = match hangup.recv_timeout(LOOK_EVERY) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = self.files.fingerprints();
            let cause = match (asked, self.changes.look(now.clone())) {
                (true, _) => Cause::Asked,
                (false, true) => Cause::Changed,
                (false, false) => continue,
            };
            if asked {
                self.changes = Changes::since(now);
            }
            match reload(&self.files, acceptor) {
                Ok(tls) => done(cause, Reloaded::Fresh(tls)),
                Err(error) => done(cause, Reloaded::Kept(error)),
            }
        }
    }
}

fn reload(files: &TlsFiles, acceptor: &MultipathAcceptor) -> Result<ServerTls, Error> {
    let tls = files.load()?;
    acceptor.replace_config(&tls.config()?)?;
    Ok(tls)
}

impl TlsFiles {
    fn fingerprints(&self) -> Vec<Fingerprint> {
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
            .map(|path| Fingerprint::of(path))
            .collect()
    }
}

/// Why there was a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody wanted it: SIGHUP.
    Asked,
    /// The files are other ones.
    Changed,
}

/// What tells one state of a file from another; `None` for one that is not there.
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
    /// Of what the path leads to, links followed.
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

/// Tells a change that has settled.
#[derive(Debug)]
struct Changes<T> {
    /// What is in use, or was found unusable.
    known: T,
    /// What came after it, and may still be under way.
    fresh: Option<T>,
}

impl<T: PartialEq> Changes<T> {
    fn since(known: T) -> Self {
        Self { known, fresh: None }
    }

    /// Is this new, and the same as at the look before?
    fn look(&mut self, now: T) -> bool {
        if now == self.known {
            self.fresh = None;
            return false;
        }
        if self.fresh.as_ref() == Some(&now) {
            self.fresh = None;
            self.known = now;
            return true;
        }
        self.fresh = Some(now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_counts_when_it_has_stood_for_a_look() {
        let mut changes = Changes::since(1);
        assert!(!changes.look(1));
        assert!(!changes.look(2));
        assert!(!changes.look(3), "half of it was there");
        assert!(changes.look(3));
        assert!(!changes.look(3), "once only");
    }

    #[test]
    fn change_that_is_taken_back_is_none() {
        let mut changes = Changes::since(1);
        assert!(!changes.look(2));
        assert!(!changes.look(1));
        assert!(!changes.look(2), "the wait begins anew");
        assert!(changes.look(2));
    }

    #[test]
    fn every_way_to_replace_a_file_is_seen() {
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
