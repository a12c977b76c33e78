//! Repeated attempts to send a request to the target.

use h2::Reason;
use hyper::Method;
use hyper_util::client::legacy;
use mtls_core::http_io::find_cause;

use super::dial::DialError;

/// Attempts over pooled connections while the target reports that it has not processed the request.
const POOLED: usize = 2;

/// The connection for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// An open one, if there is any.
    Pooled,
    /// A new one.
    Fresh,
    /// A new one over HTTP/1.1.
    Http1,
}

/// The attempts of one request, bounded for each reason.
#[derive(Debug, Default)]
pub(super) struct Retries {
    unprocessed: usize,
    stale: bool,
    http1: bool,
}

impl Retries {
    /// The connection for another attempt after this error before any response. `None` for no other
    /// attempt.
    ///
    /// A request that the target has not processed may always be sent again: a refused stream, one
    /// above the last stream ID of a GOAWAY frame (RFC 9113, section 8.7), and one that needs
    /// HTTP/1.1. If a reused connection turns out to be closed the target may have processed the
    /// request, so only an idempotent one is sent again (RFC 9110, section 9.2.2), once.
    pub(super) fn after(
        &mut self,
        error: &legacy::Error,
        method: &Method,
        reused: bool,
    ) -> Option<Route> {
        match find_cause::<h2::Error>(error).filter(|error| error.is_remote()) {
            Some(error) if error.reason() == Some(Reason::HTTP_1_1_REQUIRED) => {
                (!std::mem::replace(&mut self.http1, true)).then_some(Route::Http1)
            }
            Some(error) if error.is_go_away() || is_refused(error) => {
                self.unprocessed += 1;
                match self.unprocessed {
                    1..=POOLED => Some(Route::Pooled),
                    _ if self.unprocessed == POOLED + 1 => Some(Route::Fresh),
                    _ => None,
                }
            }
            _ if reused && method.is_idempotent() && find_cause::<DialError>(error).is_none() => {
                (!std::mem::replace(&mut self.stale, true)).then_some(Route::Fresh)
            }
            _ => None,
        }
    }
}

fn is_refused(error: &h2::Error) -> bool {
    error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)
}
