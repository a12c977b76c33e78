//! The body of a request over HTTP/3.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h3::error::Code;
use h3::server::RequestStream;
use hyper::body::{Body, Buf, Bytes, Frame, SizeHint};
use mtls_core::http_io::CheckedRecvStream;

use crate::web::BoxError;

/// Reads data and trailers of a request. Dropped before its end, it asks the client to stop.
pub(in crate::web) struct Http3Body {
    stream: RequestStream<CheckedRecvStream, Bytes>,
    stage: Stage,
    /// The bytes that are still to come, where the request says so.
    left: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Data,
    Trailers,
    End,
}

/// A body that differs from its `content-length` (RFC 9114, section 4.1.2).
#[derive(Debug)]
struct WrongLength;

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body differs in length from its content-length")
    }
}

impl std::error::Error for WrongLength {}

impl Http3Body {
    /// `length` is the `content-length` of the request.
    pub(in crate::web) fn new(
        stream: RequestStream<CheckedRecvStream, Bytes>,
        length: Option<u64>,
    ) -> Self {
        Self {
            stream,
            stage: Stage::Data,
            left: length,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let data = ready!(self.stream.poll_recv_data(cx));
        let data = data.map(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())));
        Poll::Ready(match data {
            Ok(Some(data)) => Some(self.count(data)),
            Ok(None) if self.left.is_some_and(|left| left > 0) => Some(Err(WrongLength.into())),
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        })
    }

    fn count(&mut self, data: Bytes) -> Result<Bytes, BoxError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
        }
        Ok(data)
    }
}

impl Body for Http3Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.stage == Stage::Data {
            match ready!(self.poll_data(cx)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(error)) => {
                    self.stage = Stage::End;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.stage = Stage::Trailers,
            }
        }
        if self.stage == Stage::End {
            return Poll::Ready(None);
        }
        let trailers = ready!(self.stream.poll_recv_trailers(cx));
        self.stage = Stage::End;
        Poll::Ready(match trailers {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stage == Stage::End
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Http3Body {
    fn drop(&mut self) {
        if self.stage != Stage::End {
            self.stream.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

impl fmt::Debug for Http3Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http3Body")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
