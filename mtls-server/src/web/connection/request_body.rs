//! The body of a request, which is read to the end.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use mtls_core::http_io::{LINGER, LINGER_PAUSE};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::activity::Activity;
use super::http3_body::Http3Body;
use crate::web::BoxError;

/// The body of a request.
///
/// Over HTTP/2, the rest of a dropped body is still read and discarded, for 30 s at most and with
/// pauses of 5 s at most, as nginx does. Otherwise the HTTP library resets the stream (RFC 9113,
/// section 8.1), and clients such as curl 7.88 then drop a response that came before the end of
/// their upload. Over HTTP/1.1 the connection lingers instead, and over HTTP/3 the client is asked to
/// stop (RFC 9114, section 4.1).
#[derive(Debug)]
pub struct RequestBody {
    /// `Some` until it is dropped.
    body: Option<Source>,
    activity: Activity,
}

#[derive(Debug)]
enum Source {
    /// With the number of the request on its connection.
    Http1(Incoming, usize),
    Http2(Incoming),
    Http3(Box<Http3Body>),
}

impl RequestBody {
    pub(in crate::web) fn new(
        body: Incoming,
        version: Version,
        request: usize,
        activity: Activity,
    ) -> Self {
        let body = match version {
            Version::HTTP_2 => Source::Http2(body),
            _ => Source::Http1(body, request),
        };
        Self {
            body: Some(body),
            activity,
        }
    }

    pub(in crate::web) fn http3(body: Http3Body, activity: Activity) -> Self {
        Self {
            body: Some(Source::Http3(Box::new(body))),
            activity,
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        match self.body.take() {
            Some(Source::Http1(_, request)) => self.activity.stop_reading(request),
            Some(Source::Http2(body)) if !body.is_end_stream() => {
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(drain(body));
                }
            }
            _ => {}
        }
    }
}

async fn drain(mut body: Incoming) {
    let draining =
        async { while let Ok(Some(Ok(_))) = timeout(LINGER_PAUSE, body.frame()).await {} };
    // The library resets the stream of a client that goes on for longer.
    let _ = timeout(LINGER, draining).await;
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match &mut this.body {
            None => Poll::Ready(None),
            Some(Source::Http2(body)) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Some(Source::Http3(body)) => {
                let polled = Pin::new(body).poll_frame(cx);
                this.activity.note(polled.is_ready());
                polled
            }
            Some(Source::Http1(body, request)) => {
                let polled = Pin::new(&mut *body).poll_frame(cx);
                let is_last = match &polled {
                    Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || body.is_end_stream(),
                    Poll::Ready(frame) => frame.is_none(),
                    Poll::Pending => false,
                };
                if is_last {
                    this.activity.end_body(*request);
                }
                polled.map_err(Into::into)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            None => true,
            Some(Source::Http1(body, _) | Source::Http2(body)) => body.is_end_stream(),
            Some(Source::Http3(body)) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            None => SizeHint::with_exact(0),
            Some(Source::Http1(body, _) | Source::Http2(body)) => body.size_hint(),
            Some(Source::Http3(body)) => body.size_hint(),
        }
    }
}
