//! A server that is bound, and runs until it is told to stop.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::{MultipathAcceptor, MultipathListener, ServerStream};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::connection::Site;
use crate::error::Error;
use crate::identity::Identity;
use crate::incoming::Sockets;
use crate::options::{Limits, ServeOptions};

/// An HTTPS server whose sockets are bound. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Server {
    acceptor: MultipathAcceptor,
    sockets: Sockets,
    side_sockets: Sockets,
    addresses: Vec<SocketAddr>,
    side_addresses: Vec<SocketAddr>,
    site: Site,
    limits: Limits,
    stop: watch::Sender<bool>,
}

/// How a server came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every connection had ended.
    All,
    /// This many were cut off when the time was over.
    CutOff(usize),
}

impl Server {
    /// Checks the options and binds every socket. Clients can connect from now on, and are served
    /// once [`run`](Self::run) is called.
    ///
    /// # Errors
    /// Everything that can be wrong with [`ServeOptions`]; then no socket stays bound.
    pub async fn bind(options: ServeOptions) -> Result<Self, Error> {
        let limits = options.limits;
        check_limits(&limits)?;
        let dir = check_dir(&options.dir, &options.identity)?;
        let config = Arc::new(options.identity.server_config()?);
        let acceptor = MultipathAcceptor::builder(config, options.policy).build()?;
        if options.listen.is_empty() {
            return Err(Error::NoListener);
        }
        let (stop, stopped) = watch::channel(false);
        let sockets = Sockets::bind(&options.listen, stopped.clone()).await?;
        let side_sockets = Sockets::bind(&options.side_listen, stopped.clone()).await?;
        Ok(Self {
            acceptor,
            addresses: sockets.addresses(),
            side_addresses: side_sockets.addresses(),
            sockets,
            side_sockets,
            site: Site::new(&dir, &limits, stopped),
            limits,
            stop,
        })
    }

    /// The first address for TLS and side connections.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses for TLS and side connections, with the ports that the system chose.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses for side connections only.
    pub fn side_addrs(&self) -> &[SocketAddr] {
        &self.side_addresses
    }

    /// Serves until `shutdown` is ready. Then the sockets are closed, and connections that are
    /// open may finish their requests within [`Limits::shutdown_timeout`]. Handshakes that are
    /// still under way when the last of them has ended are given up.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let limits = self.limits.handshakes;
        let mut listener = MultipathListener::new(self.acceptor, self.sockets, limits);
        if !self.side_addresses.is_empty() {
            listener.add_side(self.side_sockets);
        }
        let serving = Serving {
            listener,
            site: self.site,
            permits: Arc::new(Semaphore::new(
                self.limits.connections.min(Semaphore::MAX_PERMITS),
            )),
            connections: JoinSet::new(),
        };
        serving
            .run(shutdown, self.stop, self.limits.shutdown_timeout)
            .await
    }
}

/// A server that serves.
struct Serving {
    listener: MultipathListener<TcpStream>,
    site: Site,
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
}

impl Serving {
    async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        stop: watch::Sender<bool>,
        patience: Duration,
    ) -> Drained {
        tokio::select! {
            () = shutdown => {}
            never = self.accept() => match never {},
        }
        stop.send_replace(true);
        match timeout(patience, self.drain()).await {
            Ok(()) => Drained::All,
            Err(_) => Drained::CutOff(self.connections.len()),
        }
    }

    /// Serves what the listener gives; safe to drop.
    async fn accept(&mut self) -> Infallible {
        loop {
            tokio::select! {
                arrived = next(&mut self.listener, &self.permits) => self.spawn(arrived),
                Some(ended) = self.connections.join_next() => note(ended),
            }
        }
    }

    /// Waits for the connections to end, and serves those whose handshake was already done. Side
    /// connections stay meanwhile: the client may still wait for their answers.
    async fn drain(&mut self) {
        loop {
            tokio::select! {
                biased;
                arrived = next(&mut self.listener, &self.permits) => self.spawn(arrived),
                ended = self.connections.join_next() => match ended {
                    Some(ended) => note(ended),
                    None => return,
                },
            }
        }
    }

    fn spawn(&mut self, arrived: Arrived) {
        let site = self.site.clone();
        self.connections.spawn(async move {
            site.serve(arrived.stream, arrived.peer).await;
            drop(arrived.permit);
        });
    }
}

/// A connection that may be served, and its place.
struct Arrived {
    stream: ServerStream<TcpStream>,
    peer: SocketAddr,
    permit: Option<OwnedSemaphorePermit>,
}

/// The next connection, once there is a place for it; safe to drop.
async fn next(listener: &mut MultipathListener<TcpStream>, permits: &Arc<Semaphore>) -> Arrived {
    // An error would say that the semaphore was closed; nobody closes it.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (stream, peer) = listener.accept().await;
    Arrived {
        stream,
        peer,
        permit,
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed; the others go on");
    }
}

fn check_limits(limits: &Limits) -> Result<(), Error> {
    for (name, zero) in [
        ("connections", limits.connections == 0),
        ("header_timeout", limits.header_timeout.is_zero()),
        ("idle_timeout", limits.idle_timeout.is_zero()),
    ] {
        if zero {
            return Err(Error::ZeroLimit(name));
        }
    }
    Ok(())
}

/// The directory, without links and dots: what it means must not change with the working
/// directory.
fn check_dir(dir: &Path, identity: &Identity) -> Result<PathBuf, Error> {
    let unusable = |source| Error::Directory {
        path: dir.to_owned(),
        source,
    };
    let real = fs::canonicalize(dir).map_err(unusable)?;
    if !real.is_dir() {
        return Err(Error::NotADirectory(dir.to_owned()));
    }
    fs::read_dir(&real).map_err(unusable)?;
    let key = identity.key_file().map(|key| (key, fs::canonicalize(key)));
    if let Some((key, Ok(real_key))) = key
        && real_key.starts_with(&real)
    {
        return Err(Error::KeyIsServed {
            key: key.to_owned(),
            dir: dir.to_owned(),
        });
    }
    Ok(real)
}
