//! The file of a store on disk: its lock, and its replacement as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use super::contents::Contents;
use crate::known_hosts::error::{KnownHostsError, KnownHostsFailure};

/// The largest file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Permissions that let other users change the file.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The place of a store.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    file: PathBuf,
    lock_timeout: Duration,
}

/// Identifies one version of the file; `None`: there is no file.
pub(super) type Stamp = Option<[u64; 4]>;

impl Disk {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            lock_timeout: Duration::from_secs(2),
        }
    }

    pub(super) fn set_lock_timeout(&mut self, timeout: Duration) {
        self.lock_timeout = timeout;
    }

    pub(super) fn file(&self) -> &FilePath {
        &self.file
    }

    pub(super) fn error(&self, failure: KnownHostsFailure) -> KnownHostsError {
        KnownHostsError {
            place: self.file.clone(),
            failure,
        }
    }

    fn read_error(&self, error: io::Error) -> KnownHostsError {
        self.error(KnownHostsFailure::Read(Arc::new(error)))
    }

    fn write_error(&self, error: io::Error) -> KnownHostsError {
        self.error(KnownHostsFailure::Write(Arc::new(error)))
    }

    pub(super) fn stamp(&self) -> Result<Stamp, KnownHostsError> {
        match fs::metadata(&self.file) {
            Ok(metadata) => Ok(stamp(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.read_error(error)),
        }
    }

    /// Reads the file. A missing one is empty.
    pub(super) fn read(&self) -> Result<(Stamp, Contents), KnownHostsError> {
        // Without waiting for the other end of a FIFO.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = match options.open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((None, Contents::default()));
            }
            Err(error) => return Err(self.read_error(error)),
        };
        let metadata = file.metadata().map_err(|error| self.read_error(error))?;
        if !metadata.is_file() {
            return Err(self.read_error(io::Error::other("it is not a regular file")));
        }
        let owner = metadata.uid();
        if owner != 0 && owner != geteuid().as_raw() {
            return Err(self.error(KnownHostsFailure::OtherOwner(owner)));
        }
        if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(self.error(KnownHostsFailure::WritableByOthers(mode)));
        }
        let mut text = String::new();
        let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
        read.map_err(|error| self.read_error(error))?;
        Ok((stamp(&metadata), self.parse(&text)?))
    }

    pub(super) fn parse(&self, text: &str) -> Result<Contents, KnownHostsError> {
        if text.len() as u64 > MAX_FILE {
            return Err(self.error(KnownHostsFailure::TooLarge(MAX_FILE)));
        }
        Contents::parse(text).map_err(|failure| self.error(failure))
    }

    pub(super) fn render(&self, contents: &Contents) -> Result<String, KnownHostsError> {
        let rendered = contents.render();
        rendered.map_err(|error| self.write_error(error.into()))
    }

    /// Waits for the lock. It is gone when the result is dropped, or the process ends.
    pub(super) fn lock(&self) -> Result<Flock<File>, KnownHostsError> {
        self.make_directory()
            .and_then(|()| self.beside("lock", false))
            .map_err(|error| self.write_error(error))
            .and_then(|file| self.take_lock(file))
    }

    fn take_lock(&self, mut file: File) -> Result<Flock<File>, KnownHostsError> {
        let until = Instant::now() + self.lock_timeout;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => return Ok(locked),
                Err((same, Errno::EWOULDBLOCK | Errno::EINTR)) => file = same,
                Err((_, errno)) => return Err(self.write_error(errno.into())),
            }
            if Instant::now() >= until {
                return Err(self.error(KnownHostsFailure::Locked));
            }
            sleep(LOCK_PAUSE);
        }
    }

    /// Replaces the file. Under the lock.
    pub(super) fn write(&self, contents: &Contents) -> Result<(), KnownHostsError> {
        let text = self.render(contents)?;
        if text.len() as u64 > MAX_FILE {
            return Err(self.error(KnownHostsFailure::Full(contents.hosts().count())));
        }
        self.replace(text.as_bytes())
            .map_err(|error| self.write_error(error))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.name_beside("new");
        // Left behind by a process that was killed.
        let _ = fs::remove_file(&new);
        let written = self.beside("new", true).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let target = self.real_file();
        let replaced = written.and_then(|()| fs::rename(&new, &target));
        if replaced.is_err() {
            let _ = fs::remove_file(&new);
        }
        replaced?;
        // The directory keeps the new name across a crash.
        File::open(self.directory())?.sync_all()
    }

    /// The file itself, if its name is a symbolic link.
    fn real_file(&self) -> PathBuf {
        fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone())
    }

    fn directory(&self) -> PathBuf {
        let real = self.real_file();
        match real.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    fn make_directory(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.directory())
    }

    fn name_beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.real_file().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    fn beside(&self, suffix: &str, is_new: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        match is_new {
            true => options.create_new(true),
            false => options.create(true),
        };
        options.open(self.name_beside(suffix))
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    let nanoseconds = metadata.mtime_nsec().unsigned_abs();
    let seconds = metadata.mtime().unsigned_abs();
    Some([metadata.ino(), metadata.size(), seconds, nanoseconds])
}
