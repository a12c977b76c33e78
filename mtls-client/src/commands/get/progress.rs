//! The progress bar of a transfer.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::payload::Watch;
use super::sink::Output;
use crate::output::style::Style;

/// The delay before a bar appears.
const DELAY: Duration = Duration::from_millis(700);

/// The interval of the animation.
const TICK: Duration = Duration::from_millis(200);

/// The interval at which the progress of an upload is read.
const UPLOAD_INTERVAL: Duration = Duration::from_millis(100);

/// The bar of one transfer: first for the upload, then for the download.
pub(super) struct Progress {
    wanted: bool,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows no bar without a terminal, nor if the page itself goes to the terminal.
    pub(super) fn new(wanted: bool, output: &Output) -> Self {
        let separate = *output != Output::Stdout || !io::stdout().is_terminal();
        Self {
            wanted: wanted && separate && io::stderr().is_terminal(),
            since: Instant::now(),
            bar: None,
        }
    }

    /// Shows that `done` bytes of `total` have been transferred.
    pub(super) fn show(&mut self, what: &'static str, done: u64, total: Option<u64>) {
        if !self.wanted || (self.bar.is_none() && self.since.elapsed() < DELAY) {
            return;
        }
        let since = self.since;
        let bar = self.bar.get_or_insert_with(|| bar(what, total, since));
        bar.set_position(done);
    }

    /// Shows the progress of an upload until `exchange` is complete.
    pub(super) async fn during_upload<T>(
        &mut self,
        exchange: impl Future<Output = T>,
        upload: &Watch,
    ) -> T {
        tokio::pin!(exchange);
        loop {
            tokio::select! {
                result = &mut exchange => return result,
                () = sleep(UPLOAD_INTERVAL), if upload.length() != Some(0) => {
                    self.show("sent", upload.sent(), upload.length());
                }
            }
        }
    }

    /// Leaves the finished bar on its line.
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
