//! Errors of listening sockets from the service manager.

use std::fmt;

/// The reason why a socket from the service manager cannot be used.
#[derive(Debug)]
pub struct InheritedSocketError {
    /// Its place in `LISTEN_FDS`, from 1 on.
    pub(crate) number: usize,
    /// Its name in `LISTEN_FDNAMES`.
    pub(crate) name: String,
    pub(crate) problem: String,
}

impl fmt::Display for InheritedSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            name,
            problem,
        } = self;
        write!(
            f,
            "cannot use socket {number} of LISTEN_FDS, named {name:?}: {problem}; pass TCP sockets \
             that listen, and name them primary or side (FileDescriptorName= in systemd.socket(5))"
        )
    }
}
