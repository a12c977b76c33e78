//! Standard output, without the standard library's buffer.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Another handle on standard output. The standard library's own keeps a line until its end, and takes
/// a closed one for one that is written to (see `closed_stdout.c`).
pub(crate) fn file() -> io::Result<File> {
    let handle = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(handle.into())
}
