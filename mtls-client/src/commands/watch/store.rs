//! The file of the state.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest state, in bytes.
const MAX_STATE: u64 = 256 << 20;

/// Writes states, the newest at last.
pub(super) struct Store {
    file: PathBuf,
    next: AtomicU64,
    /// The number of the state in the file. A write in a thread may end after a later one.
    written: Arc<Mutex<u64>>,
}

/// A state to write, wherever writing may block.
pub(super) struct Snapshot {
    file: PathBuf,
    number: u64,
    written: Arc<Mutex<u64>>,
    json: Vec<u8>,
}

impl Store {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            next: AtomicU64::new(1),
            written: Arc::default(),
        }
    }

    /// The state as of now, in JSON.
    pub(super) fn snapshot(&self, json: Vec<u8>) -> Snapshot {
        Snapshot {
            file: self.file.clone(),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            written: Arc::clone(&self.written),
            json,
        }
    }
}

impl Snapshot {
    /// Writes it, unless a newer one was written.
    ///
    /// # Errors
    /// The error of the file system.
    pub(super) fn write(self) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written < self.number {
            replace(&self.file, &self.json)?;
            *written = self.number;
        }
        Ok(())
    }
}

/// Reads a state.
///
/// # Errors
/// The error of the file system. A device is refused: it would be renamed and replaced.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_STATE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_STATE {
        true => Err(io::Error::other(format!("longer than {MAX_STATE} bytes"))),
        false => Ok(bytes),
    }
}

/// Replaces the file at once: a reader, and a restart, see the old state or the new one.
fn replace(path: &Path, json: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Left behind by a process that was killed, or a link to another file.
    let _ = std::fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(json)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_state_never_replaces_a_newer_one() {
        let file = std::env::temp_dir().join(format!("mtls-watch-{}", std::process::id()));
        let store = Store::new(file.clone());
        let older = store.snapshot(b"older".to_vec());
        let newer = store.snapshot(b"newer".to_vec());
        newer.write().expect("to write");
        older.write().expect("to write nothing");
        assert_eq!(std::fs::read(&file).expect("a file"), b"newer");
        std::fs::remove_file(file).expect("to remove");
    }
}
