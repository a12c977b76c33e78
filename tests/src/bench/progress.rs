//! A line that shows how far the benchmark is, where somebody watches.

use std::io::{IsTerminal, Write, stderr};

const WIDTH: u32 = 40;

/// Shown on standard error, when that is a terminal.
pub(super) struct Progress {
    total: u32,
    done: u32,
    shown: bool,
}

impl Progress {
    pub(super) fn new(total: u32) -> Self {
        let progress = Self {
            total: total.max(1),
            done: 0,
            shown: stderr().is_terminal(),
        };
        progress.show();
        progress
    }

    pub(super) fn step(&mut self) {
        self.done += 1;
        self.show();
    }

    /// Wipes the line.
    pub(super) fn finish(self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    fn show(&self) {
        if self.shown {
            let full = (self.done * WIDTH / self.total).min(WIDTH);
            let bar = "█".repeat(full as usize) + &"·".repeat((WIDTH - full) as usize);
            let (done, total) = (self.done, self.total);
            let _ = write!(stderr(), "\r{bar} round {done}/{total}\x1b[K");
        }
    }
}
