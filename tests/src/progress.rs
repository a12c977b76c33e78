//! The progress of a long measurement, on standard error: a bar on a terminal, else a line now and
//! then.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines where standard error is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Progress in steps of equal size. Dropping it removes the bar.
pub(crate) struct Progress(Display);

enum Display {
    Bar(ProgressBar),
    Lines {
        label: String,
        total: u64,
        state: Mutex<Lines>,
    },
}

struct Lines {
    done: u64,
    started: Instant,
    printed: Instant,
}

impl Progress {
    /// A measurement of so many steps.
    pub(crate) fn new(label: &str, total: u64) -> Self {
        if io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(label.to_owned());
            return Self(Display::Bar(bar));
        }
        let now = Instant::now();
        print(&format!("{label}: {total} steps"));
        Self(Display::Lines {
            label: label.to_owned(),
            total,
            state: Mutex::new(Lines {
                done: 0,
                started: now,
                printed: now,
            }),
        })
    }

    /// Counts one step.
    pub(crate) fn step(&self) {
        match &self.0 {
            Display::Bar(bar) => bar.inc(1),
            Display::Lines {
                label,
                total,
                state,
            } => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.done += 1;
                if let Some(line) = state.line(Instant::now(), *total) {
                    print(&format!("{label}: {line}"));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    /// The line to print now: every [`INTERVAL`], and at the end.
    fn line(&mut self, now: Instant, total: u64) -> Option<String> {
        if self.done < total && now - self.printed < INTERVAL {
            return None;
        }
        self.printed = now;
        let seconds = (now - self.started).as_secs();
        Some(format!("{} of {total}, {seconds} s", self.done))
    }
}

/// A closed standard error is no reason to stop.
fn print(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_printed_at_intervals_and_at_the_end() {
        let started = Instant::now();
        let mut lines = Lines {
            done: 1,
            started,
            printed: started,
        };
        assert_eq!(lines.line(started, 3), None);
        let later = started + INTERVAL;
        assert_eq!(lines.line(later, 3).as_deref(), Some("1 of 3, 10 s"));
        lines.done = 2;
        assert_eq!(lines.line(later, 3), None);
        lines.done = 3;
        assert_eq!(lines.line(later, 3).as_deref(), Some("3 of 3, 10 s"));
    }
}
