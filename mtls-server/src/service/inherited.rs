//! Listening sockets from the service manager.

use std::net::TcpListener;
use std::sync::Arc;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::error::Error;
use crate::inherited_error::InheritedSocketError;

/// The variable with the number of the sockets.
const NUMBER: &str = "LISTEN_FDS";
/// The most sockets: each one takes memory before it is examined.
const MOST: usize = 1_024;
/// The variable with the names of the sockets, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// Listening sockets that another process has opened for this one: the service manager, in the way
/// of `sd_listen_fds(3)`.
///
/// They take the place of the addresses to listen on. They stay open while this process ends and the
/// next one starts, or are shared by both, so no connection is refused.
#[derive(Clone, Debug, Default)]
pub struct InheritedSockets {
    primary: Vec<Arc<TcpListener>>,
    side: Vec<Arc<TcpListener>>,
}

impl InheritedSockets {
    /// Takes the sockets that the environment names, once.
    ///
    /// A socket with the name `side` in `LISTEN_FDNAMES` is for side connections only. Those named
    /// `primary`, and those without a name of their own, are for TLS and side connections. Call it
    /// before other threads exist: it removes variables from the environment.
    ///
    /// # Errors
    /// [`Error::InheritedSocket`] for a socket with another name, for one that does not listen for TCP
    /// connections, and for an invalid number of sockets.
    pub fn from_environment() -> Result<Self, Error> {
        check_number()?;
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let error = |problem: String| {
                let name = name.to_owned();
                error_of(InheritedSocketError::Socket {
                    number: index + 1,
                    name,
                    problem,
                })
            };
            let kind = sockets.of(name);
            let kind = kind.ok_or_else(|| error("no socket has that name".to_owned()))?;
            let socket = passed.take_tcp_listener(index);
            let socket = socket.map_err(|source| error(source.to_string()))?;
            let listening = socket.filter(|socket| socket_acceptconn(socket).unwrap_or(false));
            let socket = listening.ok_or_else(|| error("it does not listen".to_owned()))?;
            let set = socket.set_nonblocking(true);
            set.map_err(|source| error(source.to_string()))?;
            kind.push(Arc::new(socket));
        }
        Ok(sockets)
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.primary.is_empty() && self.side.is_empty()
    }

    pub(crate) fn primary(&self) -> &[Arc<TcpListener>] {
        &self.primary
    }

    pub(crate) fn side(&self) -> &[Arc<TcpListener>] {
        &self.side
    }

    /// The sockets with this name. systemd calls a socket without a name after its unit, or
    /// `unknown`.
    fn of(&mut self, name: &str) -> Option<&mut Vec<Arc<TcpListener>>> {
        match name {
            "side" => Some(&mut self.side),
            "primary" | "unknown" | "" => Some(&mut self.primary),
            unit if unit.ends_with(".socket") => Some(&mut self.primary),
            _ => None,
        }
    }
}

/// Checks the number of sockets, if they are for this process.
fn check_number() -> Result<(), Error> {
    let number = std::env::var_os(NUMBER).unwrap_or_default();
    let for_others = std::env::var("LISTEN_PID")
        .is_ok_and(|pid| !pid.is_empty() && pid.parse() != Ok(std::process::id()));
    if number.is_empty() || for_others {
        return Ok(());
    }
    let parsed = number.to_str().and_then(|number| number.parse().ok());
    match parsed {
        Some(0..=MOST) => Ok(()),
        _ => Err(error_of(InheritedSocketError::Number(
            number.to_string_lossy().into_owned(),
        ))),
    }
}

fn error_of(error: InheritedSocketError) -> Error {
    Error::InheritedSocket(Box::new(error))
}
