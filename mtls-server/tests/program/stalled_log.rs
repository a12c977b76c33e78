//! Standard error is a pipe that is full, and that no process reads.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::{HUNG, Site, binary, get};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The text before the address in the log of `serve` and `terminate`.
const ON: &str = " on https://";

/// A server whose log fills the pipe after the line with its address. Killed on drop.
struct Stalled {
    child: Child,
    stderr: BufReader<PipeReader>,
    address: SocketAddr,
    status: SocketAddr,
}

impl Stalled {
    /// Runs it with the most that it can log. It says its address after these words.
    fn start(mut command: Command, before: &str) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.args(["--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.env("RUST_LOG", "trace");
        let child = command.stderr(writer.try_clone().expect("another"));
        let child = child.spawn().expect("to start");
        drop(command);
        let mut stderr = BufReader::new(reader);
        let status = address_after(&mut stderr, "status on http://");
        let address = address_after(&mut stderr, before);
        fill(&writer);
        Self {
            child,
            stderr,
            address,
            status,
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a small number");
        kill_process(Pid::from_raw(id).expect("not zero"), signal).expect("to be there");
    }

    /// The exit status.
    fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code();
            }
            assert!(start.elapsed() < HUNG, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A number of the status page.
    async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.status).await.expect("to connect");
        let metrics = timeout(HUNG, get(&mut stream, "/metrics")).await;
        let metrics = metrics.expect("an answer");
        let mut values = metrics.lines().filter_map(|line| line.split_once(' '));
        let value = values.find(|(other, _)| *other == name);
        let (_, value) = value.unwrap_or_else(|| panic!("no {name}: {metrics}"));
        value.parse().expect("a number")
    }

    /// Asks as often as it takes to block all threads that would write to the pipe.
    async fn answers(&self, site: &Site) {
        for _ in 0..20 {
            let mut stream = site.connect(self.address).await;
            let response = timeout(HUNG, get(&mut stream, "/sub/file.txt")).await;
            assert!(response.expect("an answer").ends_with("a file"));
        }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes until the pipe takes no more. A description of its own does not block, and that of the
/// program still does.
fn fill(pipe: &PipeWriter) {
    let mut filler = OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(format!("/proc/self/fd/{}", pipe.as_raw_fd()))
        .expect("the pipe");
    for size in [4096, 1] {
        loop {
            match filler.write(&vec![b'.'; size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("cannot fill the pipe: {error}"),
            }
        }
    }
}

fn address_after(stderr: &mut impl BufRead, before: &str) -> SocketAddr {
    let lines = stderr.lines().map_while(Result::ok);
    let mut rest = lines.filter_map(|line| Some(line.split_once(before)?.1.to_owned()));
    let rest = rest.next().expect("an address");
    let address = rest.split(['/', ' ']).next().unwrap_or(&rest);
    address.parse().expect("an address")
}

#[tokio::test]
async fn requests_are_answered_and_the_reader_gets_the_number_of_dropped_lines() {
    let site = Site::new();
    let mut server = Stalled::start(site.command(&[]), ON);
    let start = Instant::now();
    while server.metric("multipath_tls_log_lines_dropped_total").await == 0 {
        assert!(start.elapsed() < 2 * HUNG, "no line was dropped");
        server.answers(&site).await;
    }
    // The reader is back.
    let mut read = vec![0; 1 << 16];
    let mut seen = Vec::new();
    let report = b"log lines dropped because standard error was not read: ";
    let start = Instant::now();
    while !seen.windows(report.len()).any(|part| part == report) {
        assert!(start.elapsed() < HUNG, "no report");
        let count = server.stderr.read(&mut read).expect("to read");
        assert_ne!(count, 0, "it ended");
        seen.extend_from_slice(&read[..count]);
    }
}

#[tokio::test]
async fn serve_and_terminate_and_passthrough_end_on_a_signal() {
    let site = Site::new();
    let behind = site.serve(&[]);
    let mut terminate = binary();
    terminate
        .args(["terminate", "--target"])
        .arg(behind.url(""));
    terminate.arg("--target-ca").arg(site.pem("ca.pem"));
    terminate.arg("--cert").arg(site.pem("server.pem"));
    terminate.arg("--key").arg(site.pem("server.key"));
    let mut passthrough = binary();
    let target = behind.address.to_string();
    passthrough.args(["passthrough", "--target", &target]);
    let through = format!("passing through to {target} on ");
    for (command, before) in [
        (site.command(&[]), ON),
        (terminate, ON),
        (passthrough, &through),
    ] {
        let mut server = Stalled::start(command, before);
        server.answers(&site).await;
        server.signal(Signal::TERM);
        assert_eq!(server.wait(), Some(0));
    }
}
