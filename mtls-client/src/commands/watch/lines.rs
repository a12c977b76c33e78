//! Lines on standard output and standard error, which never delay a check.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use crate::output::messages;

/// The maximum number of lines that wait for a reader.
const MAX_LINES: usize = 1024;
/// The time that the reader has for the last lines at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The sending end of the writer's queue.
pub(super) struct Lines {
    queue: SyncSender<Line>,
    dropped: AtomicU64,
}

enum Line {
    Change(String),
    Warning(String),
}

/// The end of the writer.
pub(super) struct Writer(Receiver<()>);

/// Starts the writer.
///
/// # Errors
/// If there is no thread for it.
pub(super) fn start() -> io::Result<(Lines, Writer)> {
    let (queue, lines) = sync_channel::<Line>(MAX_LINES);
    let (end, ended) = sync_channel(1);
    thread::Builder::new().name("lines".into()).spawn(move || {
        lines.into_iter().for_each(|line| line.write());
        let _ = end.send(());
    })?;
    let dropped = AtomicU64::new(0);
    Ok((Lines { queue, dropped }, Writer(ended)))
}

impl Lines {
    /// Writes a change to standard output.
    pub(super) fn change(&self, line: String) {
        self.send(Line::Change(line));
    }

    /// Writes a warning to standard error.
    pub(super) fn warn(&self, text: String) {
        self.send(Line::Warning(text));
    }

    /// A line that does not fit is counted, and the metrics show the number.
    fn send(&self, line: Line) {
        if self.queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Line {
    fn write(self) {
        match self {
            Self::Warning(text) => messages::warn(&text),
            Self::Change(line) => {
                if let Err(error) = messages::print(&line) {
                    messages::warn(&format!("could not write to standard output: {error}"));
                }
            }
        }
    }
}

impl Writer {
    /// Waits for the last lines, after [`Lines`] is dropped.
    pub(super) fn finish(self) {
        let _ = self.0.recv_timeout(FLUSH_TIMEOUT);
    }
}
