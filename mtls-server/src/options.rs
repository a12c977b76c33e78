//! What a server is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mtls_core::{ListenerLimits, Policy};

use crate::identity::Identity;

/// How to serve a directory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// The directory. Symbolic links in it are followed; it is never listed.
    pub dir: PathBuf,
    /// The certificate chain and its key.
    pub identity: Identity,
    /// What to do with connections that are not verified.
    pub policy: Policy,
    /// Where to listen for TLS and side connections. Default: 127.0.0.1, port 8443.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for side connections only. Default: nowhere.
    pub side_listen: Vec<SocketAddr>,
    /// The bounds.
    pub limits: Limits,
}

impl ServeOptions {
    /// The defaults of everything that has one.
    pub fn new(dir: impl Into<PathBuf>, identity: Identity, policy: Policy) -> Self {
        Self {
            dir: dir.into(),
            identity,
            policy,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))],
            side_listen: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// The bounds of a server. A connection counts from the end of its handshake; what may wait
/// before is in [`handshakes`](Self::handshakes).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// HTTPS connections at a time; more wait to be served. Default: 4,096.
    pub connections: usize,
    /// How long a client may take to send a whole HTTP/1.1 request header. The wait for the
    /// request counts, on a connection that is kept alive too. Default: 30 s.
    pub header_timeout: Duration,
    /// How long a connection may stay without a byte in either direction before it is asked to
    /// close; after the same time again it is cut. Default: 60 s.
    pub idle_timeout: Duration,
    /// How long open connections may go on when the server stops. Default: 10 s.
    pub shutdown_timeout: Duration,
    /// Silent connections, and handshakes under way.
    pub handshakes: ListenerLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
            handshakes: ListenerLimits::default(),
        }
    }
}
