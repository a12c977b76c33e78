//! One client of the proxy, from its first byte to the end of its tunnel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::{DialError, DialFailure, DialFailureClass, Endpoint, Path};
use mtls_core::relay::{Tunnel, TunnelReport};
use mtls_core::{Error, Policy};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Proxy;
use super::history::{Account, Entry, Origin};
use super::http;
use super::page;
use super::presented::Presented;
use super::reception::{
    Protocol, Reception, Request, SocksReply, Step, http_refusal, socks_reply, socks4_reply,
};
use super::words::Kind;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes are read at a time before the tunnel.
const READ: usize = 4096;

const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A tunnel that has its place, and whose target may be dialled.
pub(super) struct Admitted {
    pub(super) tunnel: Tunnel<Path>,
    pub(super) entry: Entry,
    pub(super) place: OwnedSemaphorePermit,
    /// Whether a `--require` for the target's address may still make the policy stricter.
    lenient: bool,
}

/// Serves one client to its end.
pub(super) async fn attend(proxy: Arc<Proxy>, mut stream: TcpStream, peer: SocketAddr) {
    // On the heap, and gone before the long part of a tunnel's life.
    let opened = Box::pin(open(&proxy, &mut stream, peer)).await;
    match opened {
        Some(Opened::Tunnel(admitted)) => relay(&proxy, *admitted, stream).await,
        Some(Opened::Http(received)) => {
            Box::pin(http::serve(proxy, stream, peer, received)).await;
        }
        None => {}
    }
}

enum Opened {
    Tunnel(Box<Admitted>),
    /// With what was read already.
    Http(Vec<u8>),
}

async fn open(proxy: &Arc<Proxy>, stream: &mut TcpStream, peer: SocketAddr) -> Option<Opened> {
    match timeout(PATIENCE, receive(proxy, stream, peer)).await {
        Ok(Some(Step::Http(received))) => Some(Opened::Http(received)),
        Ok(Some(Step::Tunnel(request))) => establish(proxy, stream, peer, request).await,
        _ => None,
    }
}

/// Reads until it is clear what the client wants. `None`: there is nothing more to do.
async fn receive(proxy: &Proxy, stream: &mut TcpStream, peer: SocketAddr) -> Option<Step> {
    let mut reception = Reception::default();
    let mut buffer = vec![0; READ];
    let mut step = Ok(Step::More);
    loop {
        step = match step {
            Ok(Step::More) => match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => reception.handle(&buffer[..read]),
            },
            Ok(Step::Answer(answer)) => {
                stream.write_all(&answer).await.ok()?;
                reception.proceed()
            }
            Ok(done) => return Some(done),
            Err(refusal) => {
                proxy.console.puzzled(peer, &refusal.to_string());
                part(stream, &refusal.answer()).await;
                return None;
            }
        };
    }
}

/// Dials the target and tells the client what came of it.
async fn establish(
    proxy: &Arc<Proxy>,
    stream: &mut TcpStream,
    peer: SocketAddr,
    request: Request,
) -> Option<Opened> {
    let Request { target, by, rest } = request;
    if page::is_at(&target.host) {
        answer(stream, by).await?;
        return Some(Opened::Http(rest));
    }
    let Some(mut admitted) = admit(proxy, target, by, peer) else {
        refuse(stream, by, &NoWay::Full).await;
        return None;
    };
    if let Err(error) = dial(proxy, &mut admitted).await {
        settle(proxy, &admitted.entry).await;
        told_over(proxy, &admitted.entry);
        refuse(stream, by, &NoWay::of(&error)).await;
        return None;
    }
    answer(stream, by).await?;
    admitted.tunnel = admitted.tunnel.received(rest);
    Some(Opened::Tunnel(Box::new(admitted)))
}

/// A place, a rule and an entry in the history; `None` where every place is taken.
pub(super) fn admit(
    proxy: &Proxy,
    target: Endpoint,
    by: Protocol,
    peer: SocketAddr,
) -> Option<Admitted> {
    let place = Arc::clone(&proxy.tunnels).try_acquire_owned().ok()?;
    let ruling = proxy.rules.of(&target);
    let by_name = proxy.rules.by_name(target.port);
    let mut tunnel = proxy.relay.tunnel(target).policy(ruling.policy);
    if ruling.exempt {
        tunnel = tunnel.exempt();
    } else if let Some(by_name) = by_name {
        tunnel = tunnel.policy_by_name(by_name);
    }
    let origin = Origin {
        protocol: by,
        client: peer,
        rule: ruling.rule,
    };
    let entry = proxy.history.begin(origin, tunnel.monitor());
    Some(Admitted {
        tunnel,
        entry,
        place,
        lenient: !ruling.exempt && ruling.policy != Policy::Require,
    })
}

/// Dials the target. A `--require` for the address that it has holds too, however the client named
/// the target.
pub(super) async fn dial(proxy: &Proxy, admitted: &mut Admitted) -> Result<(), Error> {
    admitted.tunnel.dial().await?;
    let dialed = admitted.tunnel.target_address();
    let dialed = dialed.filter(|_| admitted.lenient);
    if let Some(rule) = dialed.and_then(|address| proxy.rules.requirement(address)) {
        admitted.tunnel.restrict_to(Policy::Require);
        admitted.entry.ruled_by(rule);
    }
    Ok(())
}

/// Relays to the end, and tells what came of it.
pub(super) async fn relay<C>(proxy: &Proxy, admitted: Admitted, client: C)
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Admitted {
        tunnel,
        entry,
        place,
        lenient: _,
    } = admitted;
    let monitor = tunnel.monitor();
    let telling = async {
        monitor.settled().await;
        Box::pin(settle(proxy, &entry)).await;
    };
    let (_report, ()): (TunnelReport, ()) = tokio::join!(tunnel.run(client), telling);
    told_over(proxy, &entry);
    drop(place);
}

pub(super) fn told_over(proxy: &Proxy, entry: &Entry) {
    if let Some(account) = entry.account() {
        proxy.console.over(&account);
    }
}

/// There is a verdict, or a failure.
pub(super) async fn settle(proxy: &Proxy, entry: &Entry) {
    let Some(account) = entry.settled() else {
        return;
    };
    proxy.console.settled(&account);
    if account.words.kind == Kind::Intercepted {
        keep_evidence(proxy, entry, &account).await;
    }
}

async fn keep_evidence(proxy: &Proxy, entry: &Entry, account: &Account) {
    let Some(evidence) = account.tunnel.evidence.clone() else {
        return;
    };
    let console = &proxy.console;
    let Some(dir) = proxy.evidence_dir.clone() else {
        console.evidence("Evidence not saved: the proxy's page has it; --evidence-dir keeps it.");
        look_again(proxy, entry, account).await;
        return;
    };
    let (kept, into) = (Arc::clone(&evidence), dir.clone());
    let saved = tokio::task::spawn_blocking(move || kept.save(&into)).await;
    match saved {
        Ok(Ok(path)) => console.evidence(&format!("Evidence saved: {}", path.display())),
        Ok(Err(error)) => console.evidence(&format!("The evidence was NOT saved: {error}")),
        Err(error) => console.evidence(&format!("The evidence was NOT saved: {error}")),
    }
    let Some(presented) = look_again(proxy, entry, account).await else {
        return;
    };
    let saved = tokio::task::spawn_blocking(move || presented.save(&dir, &evidence)).await;
    if let Ok(Ok(path)) = saved {
        console.evidence(&format!("Certificates saved: {}", path.display()));
    }
}

/// Which certificates whoever is there presents.
async fn look_again(proxy: &Proxy, entry: &Entry, account: &Account) -> Option<Presented> {
    let _turn = proxy.looks.try_acquire().ok()?;
    let tunnel = &account.tunnel;
    let name = tunnel.server_name.as_deref();
    let presented = Presented::look(&proxy.primary, &tunnel.target, name).await?;
    proxy.console.presented(account, &presented);
    entry.presented(presented.clone());
    Some(presented)
}

/// The tunnel is there.
async fn answer(stream: &mut TcpStream, by: Protocol) -> Option<()> {
    let written = match by {
        Protocol::Connect => stream.write_all(CONNECTED).await,
        Protocol::Socks4 => stream.write_all(&socks4_reply(true)).await,
        Protocol::Socks5 => stream.write_all(&socks_reply(SocksReply::Succeeded)).await,
        Protocol::PlainHttp => Ok(()),
    };
    written.ok()
}

/// Why there is no tunnel.
pub(super) enum NoWay {
    Full,
    Dial(Box<DialError>),
    Other(String),
}

impl NoWay {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Dial(dial) => Self::Dial(dial.clone()),
            other => Self::Other(other.to_string()),
        }
    }

    pub(super) fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Full => (503, "Service Unavailable"),
            Self::Dial(error) if error.class() == DialFailureClass::TimedOut => {
                (504, "Gateway Timeout")
            }
            Self::Dial(_) | Self::Other(_) => (502, "Bad Gateway"),
        }
    }

    fn reply(&self) -> SocksReply {
        match self {
            Self::Full | Self::Other(_) => SocksReply::Failure,
            Self::Dial(error) => match (&error.reason, error.class()) {
                (_, DialFailureClass::TimedOut) => SocksReply::TtlExpired,
                (_, DialFailureClass::Resolve) => SocksReply::HostUnreachable,
                (DialFailure::Connect { error, .. }, _) => match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => SocksReply::ConnectionRefused,
                    std::io::ErrorKind::NetworkUnreachable => SocksReply::NetworkUnreachable,
                    std::io::ErrorKind::HostUnreachable => SocksReply::HostUnreachable,
                    _ => SocksReply::Failure,
                },
                _ => SocksReply::Failure,
            },
        }
    }
}

impl std::fmt::Display for NoWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("every place is taken; allow more with --max-tunnels"),
            Self::Dial(error) => error.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

async fn refuse(stream: &mut TcpStream, by: Protocol, why: &NoWay) {
    let answer = match by {
        Protocol::Socks4 => socks4_reply(false).to_vec(),
        Protocol::Socks5 => socks_reply(why.reply()).to_vec(),
        Protocol::Connect | Protocol::PlainHttp => {
            let (status, phrase) = why.status();
            http_refusal(status, phrase, &why.to_string())
        }
    };
    part(stream, &answer).await;
}

/// Says the last word and waits a little for the client to have read it: a close with unread
/// bytes would reset the connection, and the word would be lost.
async fn part(stream: &mut TcpStream, last: &[u8]) {
    const FAREWELL: Duration = Duration::from_millis(500);
    const MOST: usize = 64 * 1024;
    let saying = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut nothing = [0; 1024];
        let mut read = 0;
        while read < MOST {
            match stream.read(&mut nothing).await? {
                0 => break,
                count => read += count,
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let _ = timeout(FAREWELL, saying).await;
}
