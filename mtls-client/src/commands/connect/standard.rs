//! The standard streams, without the line buffers of the standard library.

use std::io;

use tokio::fs::File;

pub(super) fn input() -> io::Result<File> {
    use std::os::fd::AsFd;
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(File::from_std(stdin.into()))
}

pub(super) fn output() -> io::Result<File> {
    crate::output::stdout::file().map(File::from_std)
}

/// Lets the reader of standard output see its end, once the stream of [`output`] is dropped.
pub(super) fn close_output() {
    // The next file to be opened would reuse a closed descriptor.
    let closed = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
    if let Err(error) = closed {
        tracing::debug!(%error, "standard output stays open");
    }
}
