//! Tasks that end with their owner.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Tasks that are aborted when this is dropped.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Starts a task. Errors in it show in its counters.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Ends all of them, and with them their sockets.
    pub fn abort_all(&self) {
        self.lock().abort_all();
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener with a task for each of its connections; all end when it is dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<Tasks>,
    accepted: Arc<AtomicUsize>,
    _accepting: Tasks,
}

impl Listening {
    /// Listens at `address`, and serves each connection in a task of its own.
    pub(crate) async fn start<F, T>(address: SocketAddr, serve: F) -> io::Result<Self>
    where
        F: Fn(TcpStream, SocketAddr) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::on(TcpListener::bind(address).await?, serve)
    }

    /// The same on a listener.
    pub(crate) fn on<F, T>(listener: TcpListener, serve: F) -> io::Result<Self>
    where
        F: Fn(TcpStream, SocketAddr) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let (accepting, connections) = (Tasks::default(), Arc::new(Tasks::default()));
        let served = Arc::clone(&connections);
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        accepting.spawn(async move {
            // A connection that died before it was accepted is no reason to stop.
            loop {
                if let Ok((stream, peer)) = listener.accept().await
                    && stream.set_nodelay(true).is_ok()
                {
                    count.fetch_add(1, Ordering::SeqCst);
                    served.spawn(serve(stream, peer));
                }
            }
        });
        Ok(Self {
            address,
            connections,
            accepted,
            _accepting: accepting,
        })
    }

    /// How many connections came.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}
