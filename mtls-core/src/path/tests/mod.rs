//! Paths on real sockets of the loopback.

mod dial;
mod dns;
mod http;
mod socks;
mod spec;

use core::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Dial as _, DialFailure, Dialed, Endpoint, HostName, Path, ProxyRefusal};

async fn listen(on: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(on).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves one connection.
async fn serve_one<F, T>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (Endpoint, JoinHandle<T>)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (listener, address) = listen("127.0.0.1:0").await;
    let task = tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    (address.into(), task)
}

async fn dial(path: &Path, to: &str) -> Result<Dialed<TcpStream>, DialFailure> {
    path.dial(&to.parse().unwrap()).await.map_err(|error| {
        assert_eq!(
            (error.to.to_string(), &error.via),
            (to.to_owned(), path.kind())
        );
        error.reason
    })
}

async fn refusal(path: &Path) -> ProxyRefusal {
    match dial(path, "target.test:443").await {
        Err(DialFailure::Proxy { proxy, refusal }) => {
            assert_eq!(Some(&proxy), path.kind().proxy());
            refusal
        }
        other => panic!("expected the proxy's refusal, got {other:?}"),
    }
}

/// Stops the clock of this test's runtime until it is dropped: no query is repeated because the machine
/// stalls. Sockets work.
struct StoppedClock(#[expect(dead_code, reason = "its drop ends a task")] Sender<()>);

impl StoppedClock {
    fn new() -> Self {
        let (held, dropped) = channel();
        // A paused clock goes forward where nothing runs, but not while a blocking task does.
        tokio::task::spawn_blocking(move || dropped.recv());
        tokio::time::pause();
        Self(held)
    }
}

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

async fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    stream.read_exact(&mut out).await.unwrap();
    out
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}
