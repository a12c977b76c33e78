//! The progress of the checks, on a terminal.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::connect::attempt::Attempt;
use crate::connect::settings::Settings;
use crate::exit::Exit;

/// The interval of the animation.
const TICK: Duration = Duration::from_millis(120);

/// A line on standard error, which is erased at the end.
pub(super) struct Progress {
    line: ProgressBar,
    failed: Cell<usize>,
}

impl Progress {
    pub(super) fn new(targets: usize, settings: &Settings) -> Self {
        let visible = targets > 1 && !settings.output.silent && io::stderr().is_terminal();
        let line = match visible {
            true => ProgressBar::new(targets as u64),
            false => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} checked{msg}") {
            line.set_style(style);
        }
        if visible {
            line.enable_steady_tick(TICK);
        }
        Self {
            line,
            failed: Cell::new(0),
        }
    }

    /// Counts a finished check.
    pub(super) fn advance(&self, attempt: &Attempt) {
        if attempt.exit() != Exit::Success {
            self.failed.set(self.failed.get() + 1);
            let failed = self.failed.get();
            self.line.set_message(format!(", {failed} failed"));
        }
        self.line.inc(1);
    }

    /// Hides the line while `write` runs.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.line.suspend(write)
    }

    pub(super) fn end(&self) {
        self.line.finish_and_clear();
    }
}
