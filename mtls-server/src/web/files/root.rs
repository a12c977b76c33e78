//! The served directory, whose path may contain links.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::Error;
use crate::sync::lock;

/// A path to a directory, which may be or contain a symbolic link that is replaced while the
/// server runs.
#[derive(Debug)]
pub(super) struct Root {
    /// Absolute, but not resolved.
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The served directory, resolved and checked.
    dir: Arc<Path>,
    /// The current directory of the path if it cannot be served; it was logged.
    refused: Option<PathBuf>,
    /// Private keys, which must not be served.
    keys: Vec<PathBuf>,
}

impl Root {
    /// Resolves and checks the path.
    ///
    /// # Errors
    /// [`Error::Directory`] and [`Error::NotADirectory`].
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::Directory {
            path: path.to_owned(),
            source,
        };
        let dir = fs::canonicalize(path).map_err(unusable)?;
        check(&dir, &[])?;
        Ok(Self {
            // Its meaning must not change with the working directory.
            path: std::path::absolute(path).map_err(unusable)?,
            state: Mutex::new(State {
                dir: dir.into(),
                refused: None,
                keys: Vec::new(),
            }),
        })
    }

    /// Refuses directories that contain this file, now and later.
    ///
    /// # Errors
    /// [`Error::KeyIsServed`].
    pub(super) fn keep_out(&self, key: &Path) -> Result<(), Error> {
        let mut state = self.lock();
        state.keys.push(key.to_owned());
        check_key(&state.dir, key)
    }

    /// The current directory of the path; the previous one if it cannot be served. Blocks.
    pub(super) fn follow(&self) -> Arc<Path> {
        let mut state = self.lock();
        // The link is missing for a moment during a replacement.
        if let Ok(found) = fs::canonicalize(&self.path) {
            state.follow(&self.path, found);
        }
        Arc::clone(&state.dir)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn follow(&mut self, path: &Path, found: PathBuf) {
        if *found == *self.dir {
            self.refused = None;
            return;
        }
        let (path, shown) = (path.display(), found.display());
        match check(&found, &self.keys) {
            Ok(()) => {
                tracing::info!("serving {shown} from now on: {path} leads there");
                self.dir = found.into();
                self.refused = None;
            }
            Err(error) if self.refused.as_ref() != Some(&found) => {
                let before = self.dir.display();
                tracing::error!("{path} leads to {shown} now, and {before} stays in use: {error}");
                self.refused = Some(found);
            }
            Err(_) => {}
        }
    }
}

/// Checks that a directory can be read, and contains none of `keys`.
fn check(dir: &Path, keys: &[PathBuf]) -> Result<(), Error> {
    if !dir.is_dir() {
        return Err(Error::NotADirectory(dir.to_owned()));
    }
    fs::read_dir(dir).map_err(|source| Error::Directory {
        path: dir.to_owned(),
        source,
    })?;
    keys.iter().try_for_each(|key| check_key(dir, key))
}

fn check_key(dir: &Path, key: &Path) -> Result<(), Error> {
    // One that does not exist yet may be created in its directory.
    let directory = || fs::canonicalize(std::path::absolute(key)?.parent().unwrap_or(dir));
    match fs::canonicalize(key).or_else(|_| directory()) {
        Ok(real) if real.starts_with(dir) => Err(Error::KeyIsServed {
            key: key.to_owned(),
            dir: dir.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_that_cannot_be_served_leaves_the_one_before_in_use() {
        let dir = tempfile::tempdir().expect("a directory");
        let real = fs::canonicalize(dir.path()).expect("a path");
        let path = |name: &str| real.join(name);
        for name in ["1", "2", "3"] {
            fs::create_dir(path(name)).expect("a directory");
        }
        fs::write(path("2/server.key"), "a key").expect("to write");
        fs::write(path("file"), "no directory").expect("to write");
        let lead_to = |name: &str| {
            symlink(name, path("next")).expect("a link");
            fs::rename(path("next"), path("current")).expect("to rename");
        };
        lead_to("1");
        let root = Root::open(&path("current")).expect("a root");
        root.keep_out(&path("2/server.key")).expect("elsewhere");
        assert_eq!(*root.follow(), *path("1"));
        for (name, served) in [
            ("2", "1"),
            ("file", "1"),
            ("none", "1"),
            ("3", "3"),
            ("2", "3"),
        ] {
            lead_to(name);
            assert_eq!(*root.follow(), *path(served), "at {name}");
        }
        fs::remove_file(path("current")).expect("to remove");
        assert_eq!(*root.follow(), *path("3"), "while there is no link");
    }
}
