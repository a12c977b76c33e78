//! Notifications of the service manager, as systemd defines them (sd_notify(3)). Without a service
//! manager they have no effect.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// Sends a state such as `READY=1`. Never blocks: a service manager that does not read misses it.
pub(super) fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = address_of(socket.as_bytes()).and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, state, "could not notify the service manager");
    }
}

/// Notifies the watchdog twice in each interval, if the service manager has one. Never ends.
pub(super) async fn stay_alive() -> std::convert::Infallible {
    let interval_of = env::var("WATCHDOG_USEC").ok();
    let Some(microseconds) = interval_of.and_then(|text| text.parse().ok()) else {
        return std::future::pending().await;
    };
    let half = Duration::from_micros(microseconds) / 2;
    let mut ticks = interval(half.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        notify("WATCHDOG=1");
    }
}

/// A path, or an abstract socket as `@NAME`.
fn address_of(socket: &[u8]) -> io::Result<SocketAddr> {
    match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    }
}
