//! The standard streams, without the buffers of the standard library: those would hold back what
//! is no whole line.

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

/// Lets whoever reads standard output see its end, once the stream of [`output`] is dropped.
pub(super) fn close_output() {
    // A descriptor that is really closed would be the next file's that opens.
    let closed = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
    if let Err(error) = closed {
        tracing::debug!(%error, "standard output stays open to the end");
    }
}
