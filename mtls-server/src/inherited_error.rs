//! Errors of listening sockets from the service manager.

use std::fmt;

/// The reason why a socket from the service manager cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritedSocketError {
    /// `LISTEN_FDS` has this value, and not a number of sockets.
    Number(String),
    /// One of the sockets is of no use.
    Socket {
        /// Its place in `LISTEN_FDS`, from 1 on.
        number: usize,
        /// Its name in `LISTEN_FDNAMES`.
        name: String,
        /// The reason.
        problem: String,
    },
}

impl fmt::Display for InheritedSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(
                f,
                "cannot use LISTEN_FDS: expected a number of sockets up to 1024, got {number:?}; unset \
                 it to listen on the addresses of --listen"
            ),
            Self::Socket {
                number,
                name,
                problem,
            } => write!(
                f,
                "cannot use socket {number} of LISTEN_FDS, named {name:?}: {problem}; pass TCP sockets \
                 that listen, and name them primary or side (FileDescriptorName= in systemd.socket(5))"
            ),
        }
    }
}
