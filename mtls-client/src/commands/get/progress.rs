//! A progress bar for a transfer that takes long.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::get::settings::Output;
use crate::output::style::Style;

/// A transfer that is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(700);

/// How often the bar moves when no bytes do.
const TICK: Duration = Duration::from_millis(200);

/// The bar of one transfer: for what is sent, then for what comes.
pub(super) struct Progress {
    wanted: bool,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// There is none where nobody sees it, nor where it would run through the page itself.
    pub(super) fn new(wanted: bool, output: &Output) -> Self {
        let beside = *output != Output::Stdout || !io::stdout().is_terminal();
        Self {
            wanted: wanted && beside && io::stderr().is_terminal(),
            since: Instant::now(),
            bar: None,
        }
    }

    /// `done` bytes of `total` have passed.
    pub(super) fn show(&mut self, what: &'static str, done: u64, total: Option<u64>) {
        if !self.wanted || (self.bar.is_none() && self.since.elapsed() < PATIENCE) {
            return;
        }
        let since = self.since;
        let bar = self.bar.get_or_insert_with(|| bar(what, total, since));
        bar.set_position(done);
    }

    /// Leaves the bar as it is, and a new line after it.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.set_style(style(bar.length().is_some(), "in {elapsed}"));
            bar.abandon();
            let _ = io::stderr().write_all(b"\n");
        }
        self.since = Instant::now();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn bar(what: &'static str, total: Option<u64>, since: Instant) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    bar.set_style(style(total.is_some(), "{eta} left"));
    bar.set_prefix(what);
    bar.set_elapsed(since.elapsed());
    bar.enable_steady_tick(TICK);
    bar
}

fn style(has_total: bool, time: &str) -> ProgressStyle {
    let bar = match Style::of(&io::stderr()).is_coloured() {
        true => "{wide_bar:.green/dim}",
        false => "{wide_bar}",
    };
    let form = match has_total {
        true => format!(
            "{{prefix}} {bar} {{percent:>3}}%  {{binary_bytes}} of {{binary_total_bytes}}  \
             {{binary_bytes_per_sec}}  {time} "
        ),
        false => "{prefix} {binary_bytes}  {binary_bytes_per_sec}  {elapsed} ".to_owned(),
    };
    ProgressStyle::with_template(&form)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}
