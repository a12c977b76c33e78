//! Writing several files so that either all appear or none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

use crate::Error;

/// A file to be written.
pub(crate) struct NewFile {
    name: &'static str,
    access: Access,
    text: String,
}

impl NewFile {
    pub(crate) fn new(name: &'static str, access: Access, text: &str) -> Self {
        Self {
            name,
            access,
            text: text.to_owned(),
        }
    }
}

/// The permissions of a file.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    Everyone,
    Owner,
}

/// Writes `files` into `dir` and returns their paths.
///
/// Every file is created anew, never opened: its mode is right before its first byte, and no
/// link that stands in its place is followed. Without `force` it is created in its place; with
/// `force` it is created beside it and renamed, once all of them are complete.
pub(crate) fn write_all(dir: &Path, files: &[NewFile], force: bool) -> Result<Vec<PathBuf>, Error> {
    let targets: Vec<PathBuf> = files.iter().map(|file| dir.join(file.name)).collect();
    check(&targets, force)?;
    fs::create_dir_all(dir).map_err(io_error("create the directory", dir))?;

    let mut staged = Staged::default();
    for (file, target) in files.iter().zip(&targets) {
        let place = if force {
            dir.join(format!(".{}.{}.new", file.name, process::id()))
        } else {
            target.clone()
        };
        staged.create(file, place)?;
    }
    staged.publish(&targets)?;
    Ok(targets)
}

/// Finds what is in the way of `targets`, before anything is written.
fn check(targets: &[PathBuf], force: bool) -> Result<(), Error> {
    let mut existing = Vec::new();
    for path in targets {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(Error::NotAFile { path: path.clone() });
            }
            Ok(_) => existing.push(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("look at", path)(error)),
        }
    }
    if force || existing.is_empty() {
        Ok(())
    } else {
        Err(Error::WouldOverwrite { files: existing })
    }
}

/// Files that were created and are removed again when this is dropped before they are published.
#[derive(Default)]
struct Staged(Vec<PathBuf>);

impl Staged {
    fn create(&mut self, file: &NewFile, place: PathBuf) -> Result<(), Error> {
        let mut handle = create_new(&place, file.access).map_err(io_error("create", &place))?;
        self.0.push(place.clone());
        handle
            .write_all(file.text.as_bytes())
            .map_err(io_error("write", &place))
    }

    fn publish(mut self, targets: &[PathBuf]) -> Result<(), Error> {
        for (place, target) in self.0.iter().zip(targets) {
            if place != target {
                fs::rename(place, target).map_err(io_error("replace", target))?;
            }
        }
        self.0.clear();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error that brought us here is the one to report; a file that was already
            // renamed is no longer at this path.
            let _ = fs::remove_file(path);
        }
    }
}

fn create_new(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(match access {
            Access::Everyone => 0o644,
            Access::Owner => 0o600,
        });
    }
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
