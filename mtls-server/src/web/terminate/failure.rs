//! Responses of this server in place of the target's.

use http_body_util::Either;
use hyper::{Method, Response, StatusCode};
use mtls_core::page::Notice;
use mtls_core::tower::Media;

use super::TerminateBody;
use super::fields::InvalidHost;

/// The reason why this server responds instead of the target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    Host(InvalidHost),
    Connect,
    Busy,
    NoConnectInfo,
    /// The client sent a malformed body, or aborted it.
    Body,
    /// 502 or 504.
    Target(StatusCode),
}

impl Failure {
    pub(super) fn response(self, method: &Method, media: Media) -> Response<TerminateBody> {
        let (status, text) = match self {
            Self::Host(invalid) => (InvalidHost::STATUS, invalid.text()),
            Self::Connect => (
                StatusCode::NOT_IMPLEMENTED,
                "This server forwards requests to one site, and is no proxy for others.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server handles too many requests. Try again in a moment.",
            ),
            Self::NoConnectInfo => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server does not know the connection of the request.",
            ),
            Self::Body => (
                StatusCode::BAD_REQUEST,
                "The body of the request is malformed or incomplete.",
            ),
            Self::Target(StatusCode::GATEWAY_TIMEOUT) => (
                StatusCode::GATEWAY_TIMEOUT,
                "Your connection has reached this server. The site behind it did not answer in \
                 time. Try again later.",
            ),
            Self::Target(status) => (
                status,
                "Your connection has reached this server. The site behind it cannot be reached. \
                 Try again later.",
            ),
        };
        Notice { status, text }
            .response(method, media)
            .map(Either::Left)
    }
}
