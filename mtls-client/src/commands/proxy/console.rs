//! What the proxy tells on standard error and standard output.
//!
//! A thread writes, so that a terminal that is stopped never stops a tunnel.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;

use super::certificates::Presented;
use super::explanation::Kind;
use super::history::Account;
use crate::connect::settings::Settings;
use crate::output::style::{Colour, Style};

/// How many messages may wait to be written. More are dropped, and counted.
const WAITING: usize = 1024;

/// How long the end of the proxy may wait for the readers of its messages.
const PATIENCE: Duration = Duration::from_secs(1);

/// The version of the JSON lines; a change that could break a reader raises it.
const SCHEMA: u32 = 1;

/// Tells people and programs what happens.
pub(crate) struct Console {
    queue: Arc<Queue>,
    json: bool,
    verbose: bool,
    silent: bool,
    style: Style,
}

/// The thread that writes: it drops its end of the channel when it is done.
pub(crate) struct Writer(Receiver<()>);

/// Messages that wait to be written.
struct Queue {
    lines: SyncSender<Line>,
    dropped: AtomicU64,
}

/// Passes log messages on while the console lives.
struct Log(Weak<Queue>);

enum Line {
    Out(String),
    Err(String),
}

impl Console {
    pub(crate) fn start(settings: &Settings) -> io::Result<(Self, Writer)> {
        let (lines, waiting) = sync_channel(WAITING);
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
            json: settings.json,
            verbose: settings.verbose > 0,
            silent: settings.silent,
            style: Style::of(&io::stderr()),
        };
        Ok((console, Writer(finished)))
    }

    /// A writer of log messages that never blocks.
    pub(crate) fn log(&self) -> impl Fn() -> Box<dyn Write> + Send + Sync + 'static {
        let queue = Arc::downgrade(&self.queue);
        move || Box::new(Log(queue.clone()))
    }

    /// The proxy can be used from now on.
    pub(crate) fn listening(&self, addresses: &[SocketAddr], policy: mtls_core::Policy) {
        if self.json {
            self.json(&Event {
                event: "listening",
                told: serde_json::json!({ "listen": addresses }),
            });
        }
        let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let Some(first) = addresses.first() else {
            return;
        };
        self.say(&format!(
            "verifying proxy on {} (HTTP and SOCKS, policy {policy}). Set \
             HTTPS_PROXY=http://{first} in your program, and watch http://{first}/\n",
            all.join(", ")
        ));
    }

    /// There is a verdict, or a failure.
    pub(crate) fn settled(&self, account: &Account) {
        self.event("verdict", account);
        if account.words.kind == Kind::Intercepted {
            self.put(Line::Err(self.alarm(account)));
        } else if self.verbose {
            self.put(Line::Err(self.line(account)));
        }
    }

    /// A tunnel is over.
    pub(crate) fn over(&self, account: &Account) {
        self.event("end", account);
    }

    /// What came of saving evidence, and of a second look.
    pub(crate) fn evidence(&self, text: &str) {
        self.put(Line::Err(format!("  {text}\n")));
    }

    /// Which certificate was presented at a second look.
    pub(crate) fn presented(&self, account: &Account, presented: &Presented) {
        let Some(leaf) = presented.leaf() else {
            return;
        };
        let unknown = "(unreadable)";
        let text = format!(
            "At a second look {} presented: subject {}, issuer {}, public key (SPKI) sha256 {}",
            account.tunnel.target,
            leaf.subject.as_deref().unwrap_or(unknown),
            leaf.issuer.as_deref().unwrap_or(unknown),
            leaf.spki_sha256.as_deref().unwrap_or(unknown),
        );
        self.evidence(&printable(&text));
    }

    /// Something that is not about one tunnel.
    pub(crate) fn say(&self, text: &str) {
        if !self.silent {
            self.put(Line::Err(format!("mtls-client: {text}")));
        }
    }

    /// A client that made no sense.
    pub(crate) fn puzzled(&self, peer: SocketAddr, what: &str) {
        if self.verbose {
            let what = printable(what);
            self.put(Line::Err(format!("mtls-client: {peer}: {what}\n")));
        }
    }

    fn event(&self, event: &'static str, account: &Account) {
        if self.json {
            self.json(&Event {
                event,
                told: account,
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

    fn line(&self, account: &Account) -> String {
        let (word, colour) = word(account.words.kind);
        let word = self
            .style
            .paint(colour, format_args!("{word:<12}"))
            .to_string();
        let headline = printable(&account.words.headline);
        let times = account.tunnel.verdict.as_ref().map(|verdict| verdict.times);
        let took = times.and_then(|times| times.verdict);
        let took = took.map_or_else(String::new, |took| {
            format!(", {:.1} ms", took.as_secs_f64() * 1e3)
        });
        format!("{word} {}  {headline}{took}\n", account.tunnel.target)
    }

    fn alarm(&self, account: &Account) -> String {
        let mut text = String::new();
        let target = &account.tunnel.target;
        let headline = format!("*** INTERCEPTION DETECTED: {target} ***");
        let _ = writeln!(text, "{}", self.style.paint(Colour::Bad, headline));
        for line in wrapped(&printable(&account.words.explanation)) {
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
            let note = format!("mtls-client: messages that nobody read: {dropped}\n");
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
    /// Waits until everything is written, once every [`Console`] is gone, for 1 s at most.
    pub(crate) fn finish(self) {
        // The thread sends nothing: its end is what counts.
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

#[derive(Serialize)]
struct Event<T> {
    event: &'static str,
    #[serde(flatten)]
    told: T,
}

/// Readers that have left have seen enough.
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

/// What a peer chose may hold what a terminal obeys.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 88;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
