//! Bodies that pass: frame by frame, as fast as the slower end takes them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::fields::remove_own;
use crate::web::idle::Activity;

/// What the client sends. Notes that it does.
pub(super) struct Upload {
    body: Incoming,
    activity: Activity,
}

/// What the target sends. Gives its place up when it is done.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    _place: OwnedSemaphorePermit,
}

impl Upload {
    pub(super) fn new(body: Incoming, activity: Activity) -> Self {
        Self { body, activity }
    }
}

impl Download {
    pub(super) fn new(body: Incoming, place: OwnedSemaphorePermit) -> Self {
        Self {
            body,
            _place: place,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.activity.note(true);
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            remove_own(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
