//! Failures, with an exit status, a token for programs, and a message for people.

use std::fmt;

use mtls_core::pem::redact;

use crate::exit::Exit;

/// A failure. Its message has the form `<what failed>: <cause>; <remedy>`.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// For programs: lower-case words joined by `-`.
    pub(crate) token: &'static str,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, token: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit,
            token,
            message: message.into(),
        }
    }

    /// An option that cannot be used. Keys in the reason are removed.
    pub(crate) fn usage(option: &str, reason: impl fmt::Display) -> Self {
        let message = format!("{option}: {reason}");
        Self::new(Exit::Usage, "usage", redact(&message))
    }

    /// The failure with another exit status, where curl has a specific one.
    pub(crate) fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// `--max-time` expired while `activity` was in progress.
    pub(crate) fn max_time(activity: &str) -> Self {
        let message = format!(
            "timed out while {activity}; allow more time with --max-time, or find the cause with -vv"
        );
        Self::new(Exit::TimedOut, "timed-out", message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
