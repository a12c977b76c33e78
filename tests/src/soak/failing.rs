//! A side path that fails and recovers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtls_core::proto::frame::GREETING;
use tokio::io::{AsyncReadExt, copy};
use tokio::net::TcpStream;

use crate::Result;
use crate::prng::Prng;
use crate::tasks::Listening;

/// The greeting and a Proof: all that a server sends in an exchange that verifies.
const EXCHANGE: usize = GREETING.len() + 3 + 81;

/// The number of a server's bytes that reach a client before its side path breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passing(usize);

impl Passing {
    /// The path is down: its connections close at once, and never reach the server.
    const NOTHING: Self = Self(0);
    /// The path is up.
    const ALL: Self = Self(usize::MAX);

    /// A path that is down, one that is up, or one that breaks after any byte.
    pub(super) fn any(prng: &mut Prng) -> Self {
        match prng.below(3) {
            0 => Self::NOTHING,
            1 => Self::ALL,
            _ => Self(1 + prng.below(EXCHANGE)),
        }
    }

    /// Whether a client that prefers verification may end so (`docs/protocol.md`, section 6.1).
    pub(super) fn allows(self, verdict: &str) -> bool {
        match self.0 {
            usize::MAX => verdict == "verified",
            passed if passed < GREETING.len() => verdict == "unverified: no-greeting",
            passed if passed < EXCHANGE => verdict == "refused: side-closed",
            // The end of the exchange and that of the path arrive together.
            _ => matches!(verdict, "verified" | "refused: side-closed"),
        }
    }
}

/// A path to one server, for one client at a time.
pub(super) struct FailingPath {
    passing: Arc<AtomicUsize>,
    listening: Listening,
}

impl FailingPath {
    pub(super) async fn start(server: SocketAddr) -> Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let passing = Arc::new(AtomicUsize::new(Passing::ALL.0));
        let next = Arc::clone(&passing);
        let listening = Listening::start(any, move |near, _| {
            let passing = Passing(next.load(Ordering::SeqCst));
            async move {
                // An end that closes ends the path.
                let _ = forward(near, server, passing).await;
            }
        });
        Ok(Self {
            passing,
            listening: listening.await?,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Sets what passes on the connections that follow.
    pub(super) fn let_pass(&self, passing: Passing) {
        self.passing.store(passing.0, Ordering::SeqCst);
    }
}

async fn forward(mut near: TcpStream, server: SocketAddr, passing: Passing) -> Result {
    if passing == Passing::NOTHING {
        return Ok(());
    }
    let mut far = TcpStream::connect(server).await?;
    far.set_nodelay(true)?;
    let (mut from_client, mut to_client) = near.split();
    let (from_server, mut to_server) = far.split();
    let mut from_server = from_server.take(passing.0 as u64);
    tokio::select! {
        sent = copy(&mut from_client, &mut to_server) => sent?,
        passed = copy(&mut from_server, &mut to_client) => passed?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A server that greets at once, and a path to it.
    async fn server_and_path() -> (Listening, FailingPath) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Listening::start(any, |mut stream, _| async move {
            let _ = stream.write_all(&GREETING).await;
            let _ = stream.read_u8().await;
        });
        let server = server.await.expect("a server");
        let path = FailingPath::start(server.address).await.expect("a path");
        (server, path)
    }

    async fn received(path: &FailingPath) -> Vec<u8> {
        let mut client = TcpStream::connect(path.address()).await.expect("a path");
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("an end");
        received
    }

    #[tokio::test]
    async fn a_path_passes_exactly_the_bytes_of_its_limit() {
        let (server, path) = server_and_path().await;
        path.let_pass(Passing::NOTHING);
        assert!(received(&path).await.is_empty());
        assert_eq!(server.accepted(), 0, "the server is not reached");
        for passing in 1..=GREETING.len() {
            path.let_pass(Passing(passing));
            assert_eq!(received(&path).await, GREETING[..passing]);
        }
    }

    #[test]
    fn a_client_goes_on_only_where_the_path_broke_before_the_greeting() {
        for (passing, allowed) in [
            (Passing::NOTHING, "unverified: no-greeting"),
            (Passing(7), "unverified: no-greeting"),
            (Passing(8), "refused: side-closed"),
            (Passing(EXCHANGE - 1), "refused: side-closed"),
            (Passing::ALL, "verified"),
        ] {
            for verdict in [
                "verified",
                "unverified: no-greeting",
                "refused: side-closed",
                "refused: unknown-handshake",
            ] {
                assert_eq!(passing.allows(verdict), verdict == allowed, "{passing:?}");
            }
        }
    }
}
