//! Standard output, without the standard library's buffer.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Duplicates the handle of standard output. The standard library's own buffers lines, and hides
/// that standard output is closed (see `closed_stdout.c`).
pub(crate) fn file() -> io::Result<File> {
    let handle = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(handle.into())
}
