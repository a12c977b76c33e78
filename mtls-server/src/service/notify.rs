//! Notifications of the service manager, as systemd defines them (sd_notify(3)). Without a service
//! manager they have no effect.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// A thread waits for a service manager that does not read.
static IS_WAITING: AtomicBool = AtomicBool::new(false);

/// The server serves, or has reloaded with any result.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The server reloads its files, until [`ready`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "cannot read the clock for a reload"),
    }
}

/// The server drains.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The interval of the service manager's watchdog, if it has one.
pub(super) fn watchdog() -> Option<Duration> {
    // systemd.exec(5) has no watchdog of zero, which would be due all the time.
    sd_notify::watchdog_enabled().filter(|every| !every.is_zero())
}

/// Notifies the watchdog twice in each interval, while the runtime works. Never ends; cancel safe.
pub(super) async fn stay_alive(watchdog: Duration) {
    let mut ticks = interval((watchdog / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
    let Some(socket) = socket else {
        return;
    };
    let mut message = String::new();
    for state in states {
        // Writing to a String cannot fail.
        let _ = writeln!(message, "{state}");
    }
    if let Err(error) = send(&socket, message) {
        tracing::warn!(%error, "cannot notify the service manager: {states:?}");
    }
}

/// Sends one message, as `sd_notify::notify` does; version 0.5.0 of that cannot send to an abstract
/// socket. Never blocks: the first message that does not fit into the queue of a stalled service
/// manager waits in a thread, and later ones fail.
fn send(socket: &OsStr, message: String) -> io::Result<()> {
    let address = address_of(socket)?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match socket.send_to_addr(message.as_bytes(), &address) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            if IS_WAITING.swap(true, Ordering::Relaxed) {
                return Err(error);
            }
            socket.set_nonblocking(false)?;
            let thread = thread::Builder::new().name("notify".into());
            thread.spawn(move || {
                // A service manager that closes its socket needs no message.
                let _ = socket.send_to_addr(message.as_bytes(), &address);
                IS_WAITING.store(false, Ordering::Relaxed);
            })?;
            Ok(())
        }
        sent => sent.map(drop),
    }
}

/// The address in `NOTIFY_SOCKET`: a path, or an abstract socket as `@NAME`.
fn address_of(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}
