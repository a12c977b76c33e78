//! The messages of the proxy on standard error and standard output.
//!
//! A thread writes them, so that a stopped terminal never stops a tunnel.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mtls_core::SecondLook;
use serde::Serialize;

use super::history::ConnectionReport;
use super::summary::Kind;
use crate::args::OutputArgs;
use crate::output::style::{Colour, Style};
use crate::output::text::{milliseconds, printable, wrapped};

/// The maximum number of messages that wait to be written. Further ones are dropped and counted.
const MAX_WAITING: usize = 1024;

/// The maximum time that the proxy waits at its end for the readers of its messages.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest line of an alarm, in characters.
const WIDTH: usize = 88;

/// The version of the JSON lines; a change that could break a reader raises it.
const SCHEMA: u32 = 1;

/// Writes messages for people, and JSON for programs.
pub(crate) struct Console {
    queue: Arc<Queue>,
    json: bool,
    verbose: bool,
    silent: bool,
    style: Style,
}

/// The thread that writes. It drops its end of the channel when it ends.
pub(crate) struct Writer(Receiver<()>);

/// Messages that wait to be written.
struct Queue {
    lines: SyncSender<Line>,
    dropped: AtomicU64,
}

/// Queues log messages while the console exists.
struct Log(Weak<Queue>);

enum Line {
    Out(String),
    Err(String),
}

impl Console {
    pub(crate) fn start(output: &OutputArgs) -> io::Result<(Self, Writer)> {
        let (lines, waiting) = sync_channel(MAX_WAITING);
        let (running, finished) = sync_channel(0);
        let thread = std::thread::Builder::new().name("console".into());
        thread.spawn(move || {
            write(&waiting);
            drop(running);
        })?;
        let queue = Arc::new(Queue {
            lines,
            dropped: AtomicU64::new(0),
        });
        let console = Self {
            queue,
            json: output.json,
            verbose: output.verbose > 0,
            silent: output.silent,
            style: Style::of(&io::stderr()),
        };
        Ok((console, Writer(finished)))
    }

    /// A writer of log messages that never blocks.
    pub(crate) fn log(&self) -> impl Fn() -> Box<dyn Write> + Send + Sync + 'static {
        let queue = Arc::downgrade(&self.queue);
        move || Box::new(Log(queue.clone()))
    }

    /// Reports the addresses of the proxy.
    pub(crate) fn listening(&self, addresses: &[SocketAddr], policy: mtls_core::Policy) {
        if self.json {
            self.json(&Event {
                event: "listening",
                data: serde_json::json!({ "listen": addresses }),
            });
        }
        let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let Some(first) = addresses.first() else {
            return;
        };
        self.note(&format!(
            "verifying proxy on {} (HTTP and SOCKS, policy {policy}); set \
             HTTPS_PROXY=http://{first} in your program, and open http://{first}/\n",
            all.join(", ")
        ));
    }

    /// Reports a verdict or a failure.
    pub(crate) fn verdict(&self, report: &ConnectionReport) {
        self.event("verdict", report);
        if report.summary.kind == Kind::Intercepted {
            self.put(Line::Err(self.alarm(report)));
        } else if self.verbose {
            self.put(Line::Err(self.line(report)));
        }
    }

    /// Reports the end of a tunnel.
    pub(crate) fn end(&self, report: &ConnectionReport) {
        self.event("end", report);
    }

    /// Reports on the evidence of an interception.
    pub(crate) fn evidence(&self, text: &str) {
        self.put(Line::Err(format!("  {text}\n")));
    }

    /// Reports the certificate of a second connection.
    pub(crate) fn certificates(&self, report: &ConnectionReport, certificates: &SecondLook) {
        let Some(leaf) = certificates.chain.first() else {
            return;
        };
        let unknown = "(unreadable)";
        let text = format!(
            "A second connection to {} received: subject {}, issuer {}, public key (SPKI) sha256 {}",
            report.tunnel.target,
            leaf.subject.as_deref().unwrap_or(unknown),
            leaf.issuer.as_deref().unwrap_or(unknown),
            leaf.spki_sha256.as_deref().unwrap_or(unknown),
        );
        self.evidence(&printable(&text));
    }

    /// Writes a message about the proxy, unless `--silent`.
    pub(crate) fn note(&self, text: &str) {
        if !self.silent {
            self.put(Line::Err(format!("mtls-client: {text}")));
        }
    }

    /// Reports a request that the proxy refuses.
    pub(crate) fn bad_request(&self, peer: SocketAddr, reason: &str) {
        if self.verbose {
            let reason = printable(reason);
            self.put(Line::Err(format!("mtls-client: {peer}: {reason}\n")));
        }
    }

    fn event(&self, event: &'static str, report: &ConnectionReport) {
        if self.json {
            self.json(&Event {
                event,
                data: report,
            });
        }
    }

    fn json<T: Serialize>(&self, event: &Event<T>) {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            schema: u32,
            #[serde(flatten)]
            event: &'a Event<T>,
        }
        let versioned = Versioned {
            schema: SCHEMA,
            event,
        };
        if let Ok(line) = serde_json::to_string(&versioned) {
            self.put(Line::Out(line + "\n"));
        }
    }

    fn line(&self, report: &ConnectionReport) -> String {
        let (word, colour) = word(report.summary.kind);
        let word = self
            .style
            .paint(colour, format_args!("{word:<12}"))
            .to_string();
        let headline = printable(&report.summary.headline);
        let times = report.tunnel.verdict.as_ref().map(|verdict| verdict.times);
        let time = times.and_then(|times| times.verdict);
        let time = time.map_or_else(String::new, |time| format!(", {}", milliseconds(time)));
        format!("{word} {}  {headline}{time}\n", report.tunnel.target)
    }

    fn alarm(&self, report: &ConnectionReport) -> String {
        let mut text = String::new();
        let target = &report.tunnel.target;
        let headline = format!("*** INTERCEPTION DETECTED: {target} ***");
        let _ = writeln!(text, "{}", self.style.paint(Colour::Bad, headline));
        for line in wrapped(&printable(&report.summary.explanation), WIDTH) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    fn put(&self, line: Line) {
        self.queue.put(line);
    }
}

impl Queue {
    fn put(&self, line: Line) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let note = format!(
                "mtls-client: {dropped} messages dropped, because standard output or standard \
                 error was blocked\n"
            );
            if self.lines.try_send(Line::Err(note)).is_err() {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(queue) = self.0.upgrade() {
            queue.put(Line::Err(String::from_utf8_lossy(text).into_owned()));
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Waits until all messages are written, at most 1 s. Drop every [`Console`] before.
    pub(crate) fn finish(self) {
        // The thread sends nothing; its end closes the channel.
        let _ = self.0.recv_timeout(FLUSH_TIMEOUT);
    }
}

#[derive(Serialize)]
struct Event<T> {
    event: &'static str,
    #[serde(flatten)]
    data: T,
}

/// Writes messages until the channel closes. Readers that have closed a pipe have read enough.
fn write(lines: &Receiver<Line>) {
    while let Ok(line) = lines.recv() {
        let _ = match line {
            Line::Out(text) => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(text.as_bytes())
                    .and_then(|()| stdout.flush())
            }
            Line::Err(text) => io::stderr().lock().write_all(text.as_bytes()),
        };
    }
}

fn word(kind: Kind) -> (&'static str, Colour) {
    match kind {
        Kind::Verified => ("VERIFIED", Colour::Good),
        Kind::Unverified => ("UNVERIFIED", Colour::Doubtful),
        Kind::Exempt => ("EXEMPT", Colour::Faint),
        Kind::Refused => ("REFUSED", Colour::Bad),
        Kind::Intercepted => ("INTERCEPTED", Colour::Bad),
        Kind::Failed => ("FAILED", Colour::Doubtful),
        Kind::Opening => ("OPENING", Colour::Faint),
        Kind::Unused => ("UNUSED", Colour::Faint),
    }
}
