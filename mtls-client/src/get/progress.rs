//! A progress bar for a transfer that takes long.

use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::options::Output;
use crate::style::Style;

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
            bar.abandon();
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
    let (bar, form) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{prefix} {wide_bar} {percent:>3}%  {binary_bytes} of {binary_total_bytes}  \
             {binary_bytes_per_sec}  {eta} left ",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{prefix} {spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed} ",
        ),
    };
    let coloured = Style::of(&io::stderr()).is_coloured();
    let form = match coloured {
        true => Cow::from(form.replace("{wide_bar}", "{wide_bar:.green/dim}")),
        false => Cow::from(form),
    };
    let style = ProgressStyle::with_template(&form)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─");
    bar.set_style(style);
    bar.set_prefix(what);
    bar.set_elapsed(since.elapsed());
    bar.enable_steady_tick(TICK);
    bar
}
