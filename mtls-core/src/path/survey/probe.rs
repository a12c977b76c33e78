//! One path tried against a server: does it lead there, how fast, and is a side verifier there?

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::path::{Dial, DialError, Endpoint, Path, PathKind, RouteInfo};
use mtls_core::proto::frame::GREETING;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// A path that leads to the server.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) route: RouteInfo,
    /// How long a TCP handshake took, with the proxy's part where there is one.
    pub(super) rtt: Option<Duration>,
    pub(super) greeting: Option<Greeting>,
}

/// What answers the side protocol's greeting (`docs/protocol.md`, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Greeting {
    /// A side verifier. Which one, only a verification shows.
    Greets,
    /// Something else, such as a TLS server that complains.
    OtherProtocol,
    /// It closed the connection.
    Closes,
    /// Nothing came in time.
    Silent,
}

impl Greeting {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Greets => "greets",
            Self::OtherProtocol => "no: another protocol",
            Self::Closes => "no: closes",
            Self::Silent => "no: silent",
        }
    }
}

/// Dials twice: the first time the name is resolved, so the second shows what TCP takes. `patience`
/// is for the greeting, where one is asked for.
pub(super) async fn probe(
    path: Path,
    to: Endpoint,
    patience: Option<Duration>,
) -> Result<Reached, DialError> {
    let first = path.dial(&to).await?;
    let again = match (path.kind(), first.peer) {
        (PathKind::Socks5(_) | PathKind::HttpConnect(_), _) | (_, None) => to,
        (_, Some(peer)) => Endpoint::new(peer.ip(), peer.port()),
    };
    let start = Instant::now();
    let second = path.dial(&again).await;
    let rtt = second.is_ok().then(|| start.elapsed());
    let dialed = second.unwrap_or(first);
    let greeting = match patience {
        Some(patience) => Some(greet(dialed.stream, patience).await),
        None => None,
    };
    Ok(Reached {
        local: dialed.local,
        peer: dialed.peer,
        route: RouteInfo::clone(&dialed.route),
        rtt,
        greeting,
    })
}

async fn greet(mut stream: TcpStream, patience: Duration) -> Greeting {
    let mut answer = [0; GREETING.len()];
    let talk = async {
        stream.write_all(&GREETING).await?;
        let mut heard = 0;
        while heard < answer.len() && GREETING.starts_with(&answer[..heard]) {
            match stream.read(&mut answer[heard..]).await? {
                0 => return Ok(Greeting::Closes),
                len => heard += len,
            }
        }
        std::io::Result::Ok(match answer == GREETING {
            true => Greeting::Greets,
            false => Greeting::OtherProtocol,
        })
    };
    match timeout(patience, talk).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(_)) => Greeting::Closes,
        Err(_) => Greeting::Silent,
    }
}
