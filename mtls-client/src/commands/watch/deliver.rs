//! Notifications: every change is delivered in order, and again until its receiver takes it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::lines::Lines;
use super::webhook::Webhook;

/// The maximum number of changes that wait for one receiver. Then the oldest is dropped.
pub(super) const MAX_PENDING: usize = 1024;
/// The maximum time of one delivery.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The pauses after failed deliveries: doubled from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// A receiver and the changes that it has not taken.
pub(super) struct Receiver {
    sink: Sink,
    pending: Mutex<VecDeque<Value>>,
    dropped: AtomicU64,
    added: Notify,
}

pub(super) enum Sink {
    /// A shell command.
    Exec(String),
    Webhook(Box<Webhook>),
}

impl Sink {
    /// The option that names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Webhook(_) => "webhook",
        }
    }
}

impl Receiver {
    /// A receiver with the changes of an earlier run.
    pub(super) fn new(sink: Sink, pending: VecDeque<Value>) -> Self {
        Self {
            sink,
            pending: Mutex::new(pending),
            dropped: AtomicU64::new(0),
            added: Notify::new(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.sink.name()
    }

    pub(super) fn push(&self, change: Value) {
        let mut pending = self.lock();
        if pending.len() >= MAX_PENDING {
            pending.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        pending.push_back(change);
        self.added.notify_one();
    }

    pub(super) fn pending(&self) -> VecDeque<Value> {
        self.lock().clone()
    }

    pub(super) fn pending_count(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Value>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers all changes, and reports each delivery by `delivered`.
    pub(super) async fn run(&self, delivered: &Notify, lines: &Lines) -> Infallible {
        let mut pause = PAUSES.0;
        loop {
            let Some(change) = self.lock().front().cloned() else {
                self.added.notified().await;
                continue;
            };
            match self.deliver(&change).await {
                Ok(()) => {
                    pause = PAUSES.0;
                    self.remove(&change);
                    delivered.notify_one();
                }
                Err(reason) => {
                    let name = self.name();
                    lines.warn(format!(
                        "--{name}: a notification was not delivered: {reason}; trying again in \
                         {} s",
                        pause.as_secs_f64()
                    ));
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Removes a delivered change, unless a full queue has dropped it meanwhile.
    fn remove(&self, change: &Value) {
        let mut pending = self.lock();
        if pending.front() == Some(change) {
            pending.pop_front();
        }
    }

    async fn deliver(&self, change: &Value) -> Result<(), String> {
        let delivery = async {
            match &self.sink {
                Sink::Exec(command) => exec(command, change).await,
                Sink::Webhook(webhook) => webhook.send(change.to_string()).await,
            }
        };
        let delivered = timeout(ATTEMPT_TIMEOUT, delivery).await;
        delivered.unwrap_or_else(|_| Err(format!("timed out after {ATTEMPT_TIMEOUT:?}")))
    }
}

async fn exec(command: &str, change: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // Its own process group, so that no process of a command that hangs remains.
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("WATCH_EVENT", change["event"].to_string())
        .env("WATCH_TARGET", text(&change["target"]))
        .env("WATCH_FROM", text(&change["from"]["verdict"]))
        .env("WATCH_TO", text(&change["to"]["verdict"]))
        .env("WATCH_REASON", text(&change["to"]["reason"]))
        // Standard output has the changes.
        .stdout(Stdio::null())
        .stdin(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("could not run sh: {error}"))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(Pid::from_raw));
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read it.
        let _ = stdin.write_all(format!("{change}\n").as_bytes()).await;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    group.0 = None;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the command ended with {status}")),
    }
}

/// The processes of a command, which are killed unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_change_and_counts_it() {
        let receiver = Receiver::new(Sink::Exec("true".into()), VecDeque::new());
        for event in 0..MAX_PENDING + 3 {
            receiver.push(serde_json::json!({ "event": event }));
        }
        let pending = receiver.pending();
        assert_eq!(pending.len(), MAX_PENDING);
        assert_eq!(pending[0]["event"], 3);
        assert_eq!(receiver.dropped(), 3);
    }
}
