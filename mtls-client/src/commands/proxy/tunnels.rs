//! Tunnels of the proxy: their admission, their verdicts, and the evidence.

use std::net::SocketAddr;
use std::sync::Arc;

use mtls_core::path::{DialError, DialFailure, DialFailureClass, Endpoint, Path};
use mtls_core::relay::{Tunnel, TunnelReport};
use mtls_core::{Error, Policy};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::Proxy;
use super::certificates::Presented;
use super::explanation::Kind;
use super::history::{Account, Entry, Origin};
use super::request::{Protocol, SocksReply};

/// A tunnel that has its place, and whose target may be dialled.
pub(super) struct Admitted {
    pub(super) tunnel: Tunnel<Path>,
    pub(super) entry: Entry,
    pub(super) place: OwnedSemaphorePermit,
    /// Whether a `--require` for the target's address may still make the policy stricter.
    lenient: bool,
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
        monitor.wait_until_resolved().await;
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

/// Fetches the certificates that the peer of a refused tunnel presents, over a second connection.
async fn look_again(proxy: &Proxy, entry: &Entry, account: &Account) -> Option<Presented> {
    let _turn = proxy.looks.try_acquire().ok()?;
    let tunnel = &account.tunnel;
    let name = tunnel.server_name.as_deref();
    let presented = Presented::look(&proxy.primary, &tunnel.target, name).await?;
    proxy.console.presented(account, &presented);
    entry.presented(presented.clone());
    Some(presented)
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

    pub(super) fn reply(&self) -> SocksReply {
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
