//! Messages to the service manager.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use crate::common::{HUNG, Running, Site};
use rustix::process::Signal;

/// A service manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    fn start(site: &Site, watchdog_us: Option<&str>) -> (Self, Running) {
        let path = site.root.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self::start_on(socket, path.as_os_str(), site, watchdog_us)
    }

    fn start_on(
        socket: UnixDatagram,
        name: &OsStr,
        site: &Site,
        watchdog_us: Option<&str>,
    ) -> (Self, Running) {
        socket.set_read_timeout(Some(HUNG)).expect("a timeout");
        let mut command = site.command(&["--listen", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", name);
        command
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC");
        if let Some(watchdog) = watchdog_us {
            command.env("WATCHDOG_USEC", watchdog);
        }
        (Self(socket), Running::start(command))
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 512];
        let length = self.0.recv(&mut buffer).expect("a message");
        crate::common::text(&buffer[..length])
    }
}

/// Fills the queue of a socket, so that a further message would block.
fn fill(path: &Path) {
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("an option");
    let filled = std::iter::repeat_with(|| filler.send_to(b"full", path));
    let filled = filled.take_while(Result::is_ok).count();
    assert!(filled > 0, "the queue takes no message");
}

#[test]
fn the_service_manager_is_notified_of_the_start_of_reloads_and_of_the_end() {
    let site = Site::new();
    let (manager, mut server) = Manager::start(&site, None);
    assert_eq!(manager.receive(), "READY=1\n");
    for content in [None, Some("nonsense")] {
        if let Some(content) = content {
            std::fs::write(site.pem("server.pem"), content).expect("to write");
        }
        server.signal(Signal::HUP);
        let message = manager.receive();
        assert!(
            message.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{message}"
        );
        assert_eq!(manager.receive(), "READY=1\n");
        server.wait_for("SIGHUP: ");
    }
    server.signal(Signal::TERM);
    assert_eq!(manager.receive(), "STOPPING=1\n");
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn the_service_manager_gets_watchdog_messages_if_it_requests_them() {
    let site = Site::new();
    let (manager, server) = Manager::start(&site, Some("20000"));
    let messages: Vec<String> = (0..4).map(|_| manager.receive()).collect();
    let beats = messages.iter().filter(|message| *message == "WATCHDOG=1\n");
    assert_eq!(beats.count(), 3, "{messages:?}");
    assert!(messages.contains(&"READY=1\n".to_owned()), "{messages:?}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_watchdog_of_zero_is_none() {
    let site = Site::new();
    let (manager, mut server) = Manager::start(&site, Some("0"));
    assert_eq!(manager.receive(), "READY=1\n");
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: ");
    let message = manager.receive();
    assert!(message.starts_with("RELOADING=1\n"), "{message}");
    assert_eq!(manager.receive(), "READY=1\n");
}

#[test]
fn an_empty_variable_names_no_service_manager() {
    let site = Site::new();
    let mut command = site.command(&["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", "");
    let server = Running::start(command);
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(!log.join("\n").contains("service manager"), "{log:#?}");
}

#[test]
fn the_service_manager_is_notified_through_an_abstract_socket() {
    let site = Site::new();
    let name = format!("mtls-server-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    let name = format!("@{name}");
    let (manager, server) = Manager::start_on(socket, OsStr::new(&name), &site, None);
    assert_eq!(manager.receive(), "READY=1\n");
    server.signal(Signal::TERM);
    assert_eq!(manager.receive(), "STOPPING=1\n");
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_missing_service_manager_does_not_stop_the_server() {
    let site = Site::new();
    let mut command = site.command(&["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", site.root.path().join("missing"));
    let server = Running::start(command);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_service_manager_that_does_not_read_delays_neither_the_start_nor_the_end() {
    let site = Site::new();
    let path = site.root.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    fill(&path);
    let (_manager, server) = Manager::start_on(socket, path.as_os_str(), &site, None);
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}

#[test]
fn a_service_manager_that_reads_late_still_gets_the_first_message() {
    let site = Site::new();
    let path = site.root.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    fill(&path);
    let (manager, _server) = Manager::start_on(socket, path.as_os_str(), &site, None);
    let first = std::iter::repeat_with(|| manager.receive()).find(|message| message != "full");
    assert_eq!(first.as_deref(), Some("READY=1\n"));
}
