//! One path tried against a server: does it lead there, how fast, and is a side verifier there?

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::path::{Dial, DialError, Endpoint, Path, PathKind, RouteInfo};
use crate::proto::frame::GREETING;

/// A path that leads to the server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reached {
    /// The address at this end.
    pub local: Option<SocketAddr>,
    /// The address at the other end: the proxy's, where there is one.
    pub peer: Option<SocketAddr>,
    /// Its route.
    pub route: RouteInfo,
    /// The duration of a TCP handshake, with the proxy's part where there is one.
    pub rtt: Option<Duration>,
    /// The answer to the greeting; `None` where none was sent.
    pub greeting: Option<Greeting>,
}

/// The answer to the side protocol's greeting (`docs/protocol.md`, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Greeting {
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
    /// Its text for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Greets => "greets",
            Self::OtherProtocol => "no: another protocol",
            Self::Closes => "no: closes",
            Self::Silent => "no: silent",
        }
    }
}

/// Tries a path. It dials twice: the first dial resolves the name, so the second shows the duration
/// of TCP alone. With a `greeting_timeout` it greets, and waits that long for the answer.
///
/// # Errors
/// That of the first dial.
///
/// # Panics
/// Outside a tokio runtime with its I/O and time drivers.
pub async fn probe(
    path: Path,
    to: Endpoint,
    greeting_timeout: Option<Duration>,
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
    let greeting = match greeting_timeout {
        Some(limit) => Some(greet(dialed.stream, limit).await),
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

async fn greet(mut stream: TcpStream, limit: Duration) -> Greeting {
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
    match timeout(limit, talk).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(_)) => Greeting::Closes,
        Err(_) => Greeting::Silent,
    }
}
