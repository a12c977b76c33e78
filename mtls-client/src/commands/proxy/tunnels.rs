//! Tunnels of the proxy: their admission, their verdicts, and the evidence.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mtls_core::path::{DialError, DialFailure, DialFailureClass, Endpoint, Path};
use mtls_core::relay::{Tunnel, TunnelReport};
use mtls_core::{Error, Evidence, Policy, SecondLook};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinError;

use super::Proxy;
use super::certificates;
use super::console::Console;
use super::history::{ConnectionReport, Entry, Origin};
use super::request::{Protocol, SocksReply};
use super::summary::Kind;

/// A tunnel with its permit, before and after its target is dialed.
pub(super) struct Admitted {
    pub(super) tunnel: Tunnel<Path>,
    pub(super) entry: Entry,
    permit: OwnedSemaphorePermit,
    /// The client.
    peer: SocketAddr,
    /// Whether a `--require` for the address of the target may make the policy stricter.
    may_tighten: bool,
}

/// Admits a tunnel: with a permit, a policy and an entry in the history. `None` at the maximum
/// number of tunnels.
pub(super) fn admit(
    proxy: &Proxy,
    target: Endpoint,
    protocol: Protocol,
    peer: SocketAddr,
) -> Option<Admitted> {
    let permit = Arc::clone(&proxy.tunnels).try_acquire_owned().ok()?;
    let policy = proxy.rules.for_target(&target);
    let by_name = proxy.rules.by_name(target.port);
    let mut tunnel = proxy.relay.tunnel(target).policy(policy.policy);
    if policy.exempt {
        tunnel = tunnel.exempt();
    } else if let Some(by_name) = by_name {
        tunnel = tunnel.policy_by_name(by_name);
    }
    let origin = Origin {
        protocol,
        client: peer,
        rule: policy.rule,
    };
    let entry = proxy.history.begin(origin, tunnel.monitor());
    Some(Admitted {
        tunnel,
        entry,
        permit,
        peer,
        may_tighten: !policy.exempt && policy.policy != Policy::Require,
    })
}

/// Dials the target. A `--require` for its address applies even if the client requested a name.
///
/// # Errors
/// If there is no connection, or a remote client requested the proxy itself: it would get the
/// proxy's page, because the proxy is a loopback client of itself.
pub(super) async fn dial(proxy: &Proxy, admitted: &mut Admitted) -> Result<(), Error> {
    admitted.tunnel.dial().await?;
    let dialed = admitted.tunnel.target_address();
    let is_remote = !admitted.peer.ip().to_canonical().is_loopback();
    if let Some(itself) = dialed.filter(|&address| is_remote && proxy.listens_on(address)) {
        let refusal = refusal_of_itself(proxy, admitted, itself);
        admitted.entry.refuse(refusal.clone());
        return Err(Error::Dial(refusal));
    }
    let dialed = dialed.filter(|_| admitted.may_tighten);
    if let Some(rule) = dialed.and_then(|address| proxy.rules.requirement(address)) {
        admitted.tunnel.restrict_to(Policy::Require);
        admitted.entry.set_rule(rule);
    }
    Ok(())
}

fn refusal_of_itself(proxy: &Proxy, admitted: &Admitted, address: SocketAddr) -> Box<DialError> {
    let reason = io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the proxy itself cannot be a target of other hosts",
    );
    let reason = DialFailure::Connect {
        address,
        error: Arc::new(reason),
    };
    let target = admitted.tunnel.monitor().report().target;
    Box::new(DialError::new(proxy.primary.kind().clone(), target, reason))
}

/// Relays until the tunnel ends, and reports its verdict and its end.
pub(super) async fn relay<C>(proxy: &Proxy, admitted: Admitted, client: C)
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Admitted {
        tunnel,
        entry,
        permit,
        peer: _,
        may_tighten: _,
    } = admitted;
    let monitor = tunnel.monitor();
    let reporting = async {
        monitor.wait_until_resolved().await;
        Box::pin(report_verdict(proxy, &entry)).await;
    };
    let (_report, ()): (TunnelReport, ()) = tokio::join!(tunnel.run(client), reporting);
    report_end(proxy, &entry);
    drop(permit);
}

/// Reports the end of a tunnel.
pub(super) fn report_end(proxy: &Proxy, entry: &Entry) {
    if let Some(report) = entry.report() {
        proxy.console.end(&report);
    }
}

/// Reports the verdict or the failure of a tunnel, and saves evidence.
pub(super) async fn report_verdict(proxy: &Proxy, entry: &Entry) {
    let Some(report) = entry.record_verdict() else {
        return;
    };
    proxy.console.verdict(&report);
    for notice in proxy.known_hosts.notices() {
        proxy.console.note(&format!("known hosts: {notice}\n"));
    }
    if report.summary.kind == Kind::Intercepted {
        save_evidence(proxy, entry, &report).await;
    }
}

async fn save_evidence(proxy: &Proxy, entry: &Entry, report: &ConnectionReport) {
    let Some(evidence) = report.tunnel.evidence.clone() else {
        return;
    };
    let console = &proxy.console;
    let Some(dir) = proxy.evidence_dir.clone() else {
        console.evidence(
            "Evidence not saved; download it from the proxy's page, or use --evidence-dir DIR.",
        );
        fetch_certificates(proxy, entry, report).await;
        return;
    };
    let (evidence_to_save, into) = (Arc::clone(&evidence), dir.clone());
    let saved = tokio::task::spawn_blocking(move || evidence_to_save.save(&into)).await;
    report_saved(console, "Evidence", saved);
    let Some(certificates) = fetch_certificates(proxy, entry, report).await else {
        return;
    };
    let evidence = Evidence::clone(&evidence).with_second_look(certificates);
    let saved = tokio::task::spawn_blocking(move || evidence.save(&dir)).await;
    report_saved(console, "Certificates", saved);
}

fn report_saved<E: Display>(
    console: &Console,
    what: &str,
    saved: Result<Result<PathBuf, E>, JoinError>,
) {
    console.evidence(&match saved {
        Ok(Ok(path)) => format!("{what} saved: {}", path.display()),
        Ok(Err(error)) => format!("{what} NOT saved: {error}"),
        Err(error) => format!("{what} NOT saved: {error}"),
    });
}

/// Fetches the certificates that the peer presents, over a second connection.
async fn fetch_certificates(
    proxy: &Proxy,
    entry: &Entry,
    report: &ConnectionReport,
) -> Option<SecondLook> {
    let _permit = proxy.certificate_fetches.try_acquire().ok()?;
    let tunnel = &report.tunnel;
    let name = tunnel.server_name.as_deref();
    let look = certificates::look_again(&proxy.primary, &tunnel.target, name);
    let certificates = look.await?;
    // First in the history: the printed line invites to its page.
    entry.set_certificates(certificates.clone());
    proxy.console.certificates(report, &certificates);
    Some(certificates)
}

/// The reason why there is no tunnel.
pub(super) enum TunnelError {
    Full,
    Dial(Box<DialError>),
    Other(String),
}

impl TunnelError {
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

    pub(super) fn socks_reply(&self) -> SocksReply {
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

impl std::fmt::Display for TunnelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("too many tunnels; allow more with --max-tunnels"),
            Self::Dial(error) => error.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}
