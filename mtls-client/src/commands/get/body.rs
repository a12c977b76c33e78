//! The body of a response, over every version of HTTP.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::client::RequestStream;
use h3::error::StreamError;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use mtls_core::http_io::CheckedRecvStream;

/// The body of a response.
pub(super) enum ResponseBody {
    Hyper(Incoming),
    Http3(Box<Http3Body>),
}

/// The body of a response over HTTP/3.
pub(super) struct Http3Body {
    pub(super) stream: RequestStream<CheckedRecvStream, Bytes>,
    /// The value of `content-length`.
    pub(super) length: Option<u64>,
    pub(super) is_complete: bool,
}

/// The error of a body.
#[derive(Debug)]
pub(super) enum BodyError {
    Hyper(hyper::Error),
    Http3(StreamError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hyper(error) => error.fmt(f),
            Self::Http3(error) => error.fmt(f),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Hyper(error) => error.source(),
            Self::Http3(error) => error.source(),
        }
    }
}

impl Http3Body {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let data = ready!(self.stream.poll_recv_data(cx));
        let data = data.map(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())));
        self.is_complete = matches!(data, Ok(None));
        Poll::Ready(data.transpose())
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Hyper(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Hyper),
            Self::Http3(body) => {
                let data = ready!(body.poll_data(cx));
                Poll::Ready(data.map(|data| data.map(Frame::data).map_err(BodyError::Http3)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Http3(body) => body.is_complete,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Http3(body) => body
                .length
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
