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

/// The body of a request.
///
/// Over HTTP/2, the rest of a dropped body is still read and discarded, for 30 s at most and with
/// pauses of 5 s at most, as nginx does. Otherwise the HTTP library resets the stream (RFC 9113,
/// section 8.1), and clients such as curl 7.88 then drop a response that came before the end of
/// their upload. Over HTTP/1.1 the connection lingers instead.
#[derive(Debug)]
pub struct RequestBody {
    /// `Some` until it is dropped.
    body: Option<Incoming>,
    version: Version,
    /// The number of the request on its connection.
    request: usize,
    activity: Activity,
}

impl RequestBody {
    pub(in crate::web) fn new(
        body: Incoming,
        version: Version,
        request: usize,
        activity: Activity,
    ) -> Self {
        Self {
            body: Some(body),
            version,
            request,
            activity,
        }
    }

    fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_http2() {
            self.activity.stop_reading(self.request);
            return;
        }
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(drain(body));
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
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let is_last = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || body.is_end_stream(),
            Poll::Ready(frame) => frame.is_none(),
            Poll::Pending => false,
        };
        if is_last && !self.is_http2() {
            self.activity.end_body(self.request);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
