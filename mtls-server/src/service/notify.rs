//! Word to the service manager, as systemd takes it (sd_notify(3)). Without one nothing happens.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// It serves; or it has reloaded, whatever came of that.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its files again, until it is [`ready`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "cannot tell the time for a reload"),
    }
}

/// It drains.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often the service manager wants a sign of life, where it wants one.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Gives a sign of life twice as often as it is wanted; never ends, safe to drop. It stops when
/// the runtime does.
pub(super) async fn stay_alive(wanted_every: Duration) {
    let mut beat = interval((wanted_every / 2).max(Duration::from_millis(1)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, states) {
        tracing::warn!(%error, "could not tell the service manager: {states:?}");
    }
}

/// Sends one message, as `sd_notify::notify` does; version 0.5.0 of that cannot send to an abstract
/// socket.
fn send(socket: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let address = address_of(socket)?;
    let mut message = String::new();
    for state in states {
        // A String takes everything.
        let _ = writeln!(message, "{state}");
    }
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

/// The address that `NOTIFY_SOCKET` names: a path, or an abstract socket as `@NAME`.
fn address_of(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}
