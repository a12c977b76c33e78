//! The facts about a transfer, for `--write-out`.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::HeaderMap;
use mtls_core::{PathRole, Verdict};

use super::payload::Watch;
use crate::exit::Exit;

/// The facts about one transfer and its redirects. Times are relative to its start, as in curl; a
/// missing fact is zero or empty.
#[derive(Clone)]
pub(super) struct Facts {
    /// The status of the last response, or 0.
    pub(super) status: u16,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) url_effective: String,
    /// The target of the last response if it is a redirect.
    pub(super) redirect_url: String,
    pub(super) redirects: usize,
    pub(super) http_version: &'static str,
    pub(super) fields: HeaderMap,
    pub(super) downloaded: u64,
    pub(super) heads: usize,
    pub(super) upload: Watch,
    pub(super) connected: Duration,
    pub(super) tls: Duration,
    pub(super) verdict_time: Duration,
    pub(super) request_sent: Duration,
    pub(super) first_byte: Duration,
    pub(super) redirected: Duration,
    pub(super) total: Duration,
    pub(super) remote: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) file: String,
    pub(super) exit: Exit,
    pub(super) error: String,
    pub(super) number: usize,
    /// `error` without a verdict, as in the JSON record.
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
    pub(super) binding: &'static str,
    pub(super) verification_method: &'static str,
    /// The age of an inherited verification in seconds; empty otherwise.
    pub(super) verification_age: String,
    pub(super) independence: &'static str,
    pub(super) tls_version: String,
    pub(super) tls_cipher: String,
}

impl Facts {
    /// Records the verdict on a connection that started at `start`.
    pub(super) fn record_verdict(&mut self, start: Duration, verdict: &Verdict) {
        let at = |time: Option<Duration>| time.map_or(Duration::ZERO, |time| start + time);
        self.connected = at(verdict.times.connected);
        self.tls = at(verdict.times.tls);
        self.verdict_time = at(verdict.times.verdict);
        self.verdict = verdict.outcome.as_str();
        self.reason = verdict.outcome.reason().unwrap_or_default();
        self.binding = verdict.binding().map_or("", |binding| binding.as_str());
        self.verification_method = verdict.method.as_str();
        let age = verdict.inheritance().map(|found| found.age().as_secs());
        self.verification_age = age.map_or_else(String::new, |age| age.to_string());
        self.independence = verdict.independence().as_str();
        self.tls_version = verdict.tls.version.clone().unwrap_or_default();
        self.tls_cipher = verdict.tls.cipher_suite.clone().unwrap_or_default();
        let primary = |path: &&mtls_core::PathReport| path.role == PathRole::Primary;
        if let Some(path) = verdict.paths.iter().find(primary) {
            (self.remote, self.local) = (path.peer, path.local);
        }
    }

    /// Resets the facts before a retry, except an interception or a suspicion.
    pub(super) fn reset_for_retry(&mut self) {
        let exit = match self.exit {
            exit @ (Exit::Interception | Exit::Suspicion) => exit,
            _ => Exit::Success,
        };
        *self = Self {
            url: std::mem::take(&mut self.url),
            file: std::mem::take(&mut self.file),
            number: self.number,
            exit,
            ..Self::default()
        };
    }

    /// Resets the facts about the previous response, after a redirect, except the exit status.
    pub(super) fn reset_for_redirect(&mut self, now: Duration) {
        *self = Self {
            method: std::mem::take(&mut self.method),
            url: std::mem::take(&mut self.url),
            file: std::mem::take(&mut self.file),
            redirects: self.redirects + 1,
            heads: self.heads,
            redirected: now,
            number: self.number,
            exit: self.exit,
            ..Self::default()
        };
    }

    pub(super) fn uploaded(&self) -> u64 {
        self.upload.sent()
    }

    /// The value of a field of the last response; several values are joined.
    pub(super) fn field(&self, name: &str) -> String {
        let values = self.fields.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(", ")
    }

    /// The average speed, in bytes per second.
    pub(super) fn speed(&self, bytes: u64) -> String {
        let seconds = self.total.as_secs_f64();
        let speed = if seconds > 0.0 {
            bytes as f64 / seconds
        } else {
            0.0
        };
        format!("{speed:.0}")
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            status: 0,
            method: String::new(),
            url: String::new(),
            url_effective: String::new(),
            redirect_url: String::new(),
            redirects: 0,
            http_version: "0",
            fields: HeaderMap::new(),
            downloaded: 0,
            heads: 0,
            upload: Watch::default(),
            connected: Duration::ZERO,
            tls: Duration::ZERO,
            verdict_time: Duration::ZERO,
            request_sent: Duration::ZERO,
            first_byte: Duration::ZERO,
            redirected: Duration::ZERO,
            total: Duration::ZERO,
            remote: None,
            local: None,
            file: String::new(),
            exit: Exit::Success,
            error: String::new(),
            number: 0,
            verdict: "error",
            reason: "",
            binding: "",
            verification_method: "",
            verification_age: String::new(),
            independence: "unknown",
            tls_version: String::new(),
            tls_cipher: String::new(),
        }
    }
}
