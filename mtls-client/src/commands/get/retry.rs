//! Retries of requests and transfers.

use std::time::Duration;

use h2::Reason;
use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use mtls_core::http_io::find_cause;

use crate::exit::Exit;

/// The maximum number of times that a request is sent again that the server has not processed.
pub(super) const MAX_RESENDS: usize = 5;
/// The first pause of `--retry`, and the longest; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The way to send a request again that the server has not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resend {
    /// Over another connection.
    Same,
    /// Over HTTP/1.1.
    Http1,
}

impl Resend {
    /// The way to send the request again, if the server has not processed it: it refused the stream,
    /// or the stream is above the last stream ID of a GOAWAY frame (RFC 9113, section 8.7), or it
    /// needs HTTP/1.1.
    pub(super) fn after(error: &hyper::Error) -> Option<Self> {
        let error = find_cause::<h2::Error>(error).filter(|error| error.is_remote())?;
        match error.reason() {
            Some(Reason::HTTP_1_1_REQUIRED) => Some(Self::Http1),
            Some(Reason::REFUSED_STREAM) => Some(Self::Same),
            _ => error.is_go_away().then_some(Self::Same),
        }
    }
}

/// The retries that `--retry` allows.
#[derive(Debug)]
pub(super) struct Retries {
    left: u32,
    pause: Duration,
}

impl Retries {
    pub(super) fn new(left: u32) -> Self {
        Self {
            left,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether there is another retry.
    pub(super) fn are_left(&self) -> bool {
        self.left > 0
    }

    /// The pause before the next attempt: at least the one of `Retry-After`.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        self.left = self.left.saturating_sub(1);
        let pause = self.pause.max(retry_after.unwrap_or_default());
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause.min(LONGEST_PAUSE)
    }
}

/// Whether curl retries a response with this status.
pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 429 | 500 | 502 | 503 | 504 | 522 | 524
    )
}

/// Whether curl retries after this failure.
pub(super) fn is_transient_failure(exit: Exit) -> bool {
    matches!(exit, Exit::TimedOut | Exit::Resolve)
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); a date counts as absent.
pub(super) fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let seconds = fields
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded_by_ten_minutes() {
        let mut retries = Retries::new(12);
        let pauses: Vec<_> = (0..12).map(|_| retries.next(None).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert!(!retries.are_left());
    }

    #[test]
    fn retry_after_makes_a_pause_longer_but_not_shorter() {
        let mut retries = Retries::new(3);
        let after = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(retries.next(after(30)).as_secs(), 30);
        assert_eq!(retries.next(after(0)).as_secs(), 2);
        assert_eq!(retries.next(after(u64::MAX)).as_secs(), 600);
    }

    #[test]
    fn retry_after_is_read_in_seconds_only() {
        let of = |text: &str| {
            let value = text.parse().expect("a value");
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(of("-1"), None);
    }
}
