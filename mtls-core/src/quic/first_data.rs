//! The moment at which a client's first application data arrive, without taking them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use quinn::{Connection, ConnectionError};

/// Watches a connection of a server for streams and datagrams of the client.
///
/// quinn gives a stream out when it is accepted, and takes none back. So a future of each kind is polled
/// once, before anything can have arrived, and then only waited for: it is woken when there is something
/// to accept, and dropped without accepting it.
pub(super) struct FirstData(BoxFuture<'static, ()>);

#[derive(Default)]
struct Woken {
    flag: AtomicBool,
    waker: AtomicWaker,
}

impl FirstData {
    /// Begins to watch. The client's part of the handshake must not have been processed yet: before
    /// that, none of its application data can be read.
    pub(super) fn watch(connection: Connection) -> Self {
        let mut watching = watch(connection).boxed();
        // The first poll registers; it never completes at once.
        let _ = watching.as_mut().now_or_never();
        Self(watching)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_unpin(cx)
    }
}

async fn watch(connection: Connection) {
    let woken = Arc::new(Woken::default());
    let mut bidirectional = pin!(connection.accept_bi());
    let mut unidirectional = pin!(connection.accept_uni());
    let mut datagram = pin!(connection.read_datagram());
    let ended = {
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        bidirectional.as_mut().poll(cx).is_ready()
            || unidirectional.as_mut().poll(cx).is_ready()
            || datagram.as_mut().poll(cx).is_ready()
    };
    if !ended {
        poll_fn(|cx| woken.poll(cx)).await;
    }
}

impl Woken {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        match self.flag.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.flag.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// Whether a connection that has something to accept, or has ended, broke.
///
/// # Errors
/// The error, but for a close by the client, which is the last that it has to say.
pub(super) fn check_open(connection: &Connection) -> Result<(), ConnectionError> {
    match connection.close_reason() {
        None | Some(ConnectionError::ApplicationClosed(_)) => Ok(()),
        Some(error) => Err(error),
    }
}
