//! The log on standard error.
//!
//! A thread writes it, so that a reader which has stopped never blocks a request or a signal.
//! Lines that do not fit into the bounded queue are dropped, counted, and reported once the reader
//! is back.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format;

use crate::printable::{printable, printable_line};

/// Bytes of the log that may wait for the reader of standard error.
const QUEUE: usize = 1 << 20;
/// The longest wait for that reader at the end of the program.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The log of this process; `None` if the system gave it no thread.
static LOG: OnceLock<Option<Log>> = OnceLock::new();

/// Starts the log; `RUST_LOG` takes precedence over `verbose`.
pub(crate) fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "warn,mtls_core=debug,mtls_server=debug",
        _ => "debug,mtls_core=trace,mtls_server=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A program that embeds this one may have a log already, which is used then.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lines)
        // They may quote another program.
        .fmt_fields(fields())
        .with_ansi(io::stderr().is_terminal())
        // They would go to standard error directly, and panic when it is closed.
        .log_internal_errors(false)
        .try_init();
    // The default hook writes to standard error itself, and would block there.
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => print_line(format_args!("{panic}\n{trace}")),
            _ => print_line(format_args!("{panic}")),
        }
    }));
}

/// Writes one line.
pub(crate) fn print_line(message: fmt::Arguments<'_>) {
    let message = printable(&message.to_string());
    push(format!("mtls-server: {message}\n").as_bytes());
}

/// Fields as `tracing_subscriber` formats them, without control characters.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    format::debug_fn(write_field).delimited(" ")
}

fn write_field(
    writer: &mut format::Writer<'_>,
    field: &Field,
    value: &dyn fmt::Debug,
) -> fmt::Result {
    let value = printable_line(&format!("{value:?}"));
    match field.name() {
        "message" => write!(writer, "{value}"),
        name => write!(writer, "{}={value}", name.trim_start_matches("r#")),
    }
}

/// Waits until all lines are written, for 1 s at most.
pub(crate) fn finish_log() {
    if let Some(log) = log() {
        log.finish(FLUSH_TIMEOUT);
    }
}

/// Lines dropped since the start.
pub(super) fn dropped_lines() -> u64 {
    log().map_or(0, |log| log.counts.dropped.load(Ordering::Relaxed))
}

fn log() -> Option<&'static Log> {
    LOG.get_or_init(|| Log::start(io::stderr()).ok()).as_ref()
}

fn push(text: &[u8]) {
    if let Some(log) = log() {
        log.push(text);
    }
}

/// Passes on what `tracing` formats, line by line.
struct Lines;

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue of lines, and a thread that writes them.
struct Log {
    sender: Sender<Message>,
    counts: Arc<Counts>,
}

enum Message {
    Text(Vec<u8>),
    /// Reply when all lines before it are written.
    Finish(SyncSender<()>),
}

#[derive(Default)]
struct Counts {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    dropped: AtomicU64,
    /// Dropped lines that the log has not reported yet.
    unreported: AtomicU64,
}

impl Log {
    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        let thread = thread::Builder::new().name("log".into());
        thread.spawn(move || write(&receiver, out, &shared))?;
        Ok(Self { sender, counts })
    }

    /// Enqueues a line, or drops it if the queue is full. Never blocks.
    fn push(&self, line: &[u8]) {
        let counts = &self.counts;
        let unreported = counts.unreported.swap(0, Ordering::Relaxed);
        let mut text = report(unreported);
        text.extend_from_slice(line);
        let length = text.len();
        let waiting = counts.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting.saturating_add(length) > QUEUE || self.sender.send(Message::Text(text)).is_err()
        {
            counts.waiting.fetch_sub(length, Ordering::Relaxed);
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            counts
                .unreported
                .fetch_add(unreported + 1, Ordering::Relaxed);
        }
    }

    fn finish(&self, limit: Duration) {
        let (done, finished) = sync_channel(1);
        if self.sender.send(Message::Finish(done)).is_ok() {
            let _ = finished.recv_timeout(limit);
        }
    }
}

/// Runs the thread. A closed standard error loses lines, and nothing else.
fn write(queue: &Receiver<Message>, mut out: impl Write, counts: &Counts) {
    while let Ok(message) = queue.recv() {
        match message {
            Message::Text(text) => {
                let _ = out.write_all(&text);
                let was_last =
                    counts.waiting.fetch_sub(text.len(), Ordering::Relaxed) == text.len();
                // The next line would include the report, but may come much later.
                if was_last {
                    let unreported = counts.unreported.swap(0, Ordering::Relaxed);
                    let _ = out.write_all(&report(unreported));
                }
            }
            Message::Finish(done) => drop(done.send(())),
        }
    }
}

/// The line about dropped lines; empty if there are none.
fn report(dropped: u64) -> Vec<u8> {
    match dropped {
        0 => Vec::new(),
        _ => format!(
            "mtls-server: log lines dropped because standard error was not read: {dropped}\n"
        )
        .into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Writes once it gets a permit for it; keeps what was written.
    struct Slow {
        permits: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // Without a sender there is no limit any more.
            let _ = self.permits.recv();
            self.written.lock().expect("a lock").extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_loses_lines_and_learns_how_many_when_it_is_back() {
        let (permit, permits) = channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let slow = Slow {
            permits,
            written: Arc::clone(&written),
        };
        let log = Log::start(slow).expect("a thread");
        let line = [vec![b'x'; (QUEUE / 4) - 1], b"\n".to_vec()].concat();
        for _ in 0..7 {
            log.push(&line);
        }
        // Four wait, of which the first is about to be written.
        assert_eq!(log.counts.dropped.load(Ordering::Relaxed), 3);
        log.finish(Duration::from_millis(1));
        assert!(
            written.lock().expect("a lock").is_empty(),
            "it did not wait"
        );

        drop(permit);
        log.finish(Duration::from_secs(60));
        log.push(b"after\n");
        log.finish(Duration::from_secs(60));
        let written = String::from_utf8(written.lock().expect("a lock").clone()).expect("text");
        let short: Vec<&str> = written
            .lines()
            .map(|line| &line[..line.len().min(80)])
            .collect();
        let report = "mtls-server: log lines dropped because standard error was not read: 3";
        let long = &"x".repeat(80)[..];
        assert_eq!(short, [long, long, long, long, report, "after"]);
        assert_eq!(log.counts.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(log.counts.waiting.load(Ordering::Relaxed), 0);
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .fmt_fields(fields())
            .finish();
        let forged = "red \u{1b}[31m\nINFO forged\r\u{9b}2J";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(shown = %forged, quoted = "a b", number = 7, "said {forged}");
        });
        let written = String::from_utf8(kept.0.lock().expect("a lock").clone()).expect("text");
        let clean = "red \u{fffd}[31m\u{fffd}INFO forged\u{fffd}\u{fffd}2J";
        assert_eq!(
            written,
            format!(
                " INFO {}: said {clean} shown={clean} quoted=\"a b\" number=7\n",
                module_path!()
            )
        );
    }

    #[test]
    fn a_line_after_a_loss_brings_the_number_with_it() {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (_, permits) = channel();
        let slow = Slow {
            permits,
            written: Arc::clone(&written),
        };
        let log = Log::start(slow).expect("a thread");
        log.push(&vec![b'x'; QUEUE + 1]);
        log.push(b"after\n");
        log.finish(Duration::from_secs(60));
        let written = String::from_utf8(written.lock().expect("a lock").clone()).expect("text");
        let report = "mtls-server: log lines dropped because standard error was not read: 1";
        assert_eq!(written, format!("{report}\nafter\n"));
    }
}
