//! Bodies on their way: frame by frame, at the speed of the slower end.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::fields::{trailers_to_client, trailers_to_target};
use crate::sync::lock;
use crate::web::connection::activity::Activity;
use crate::web::{BoxError, RequestBody};

/// Bytes of a request body that are kept for another attempt.
const REPLAY: usize = 64 * 1024;
/// Frames that are kept, which bounds their memory beside the bytes.
const REPLAY_FRAMES: usize = 1_024;

/// The body of a request. It can be sent again while it is short.
pub(super) struct Upload(Arc<Mutex<Source>>);

/// The body of one attempt to send the request.
pub(super) struct Attempt {
    source: Arc<Mutex<Source>>,
    number: usize,
    /// Frames of [`Source::kept`] that have been sent.
    sent: usize,
}

struct Source {
    body: RequestBody,
    /// The frames that were read; `None` once they are too long.
    kept: Option<Vec<Kept>>,
    length: usize,
    /// The attempt that may read; earlier ones must not.
    attempt: usize,
    is_broken: bool,
    activity: Activity,
}

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// The reason why a body cannot be read.
#[derive(Debug)]
pub(super) enum UploadError {
    /// It is malformed, or the client aborted it.
    Client(BoxError),
    /// A later attempt reads it.
    Replaced,
}

/// The body of a target's response. Its end releases the slot of the request.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    _slot: OwnedSemaphorePermit,
}

impl Upload {
    pub(super) fn new(body: RequestBody, activity: Activity) -> Self {
        Self(Arc::new(Mutex::new(Source {
            body,
            kept: Some(Vec::new()),
            length: 0,
            attempt: 0,
            is_broken: false,
            activity,
        })))
    }

    /// The body from its beginning; after the first time only while it [can be sent
    /// again](Self::is_replayable).
    pub(super) fn attempt(&self) -> Attempt {
        let mut source = lock(&self.0);
        source.attempt += 1;
        Attempt {
            source: Arc::clone(&self.0),
            number: source.attempt,
            sent: 0,
        }
    }

    /// Whether all frames that were read are kept.
    pub(super) fn is_replayable(&self) -> bool {
        lock(&self.0).kept.is_some()
    }

    /// Whether the client sent a malformed body, or aborted it.
    pub(super) fn is_broken(&self) -> bool {
        lock(&self.0).is_broken
    }
}

impl Source {
    fn record(&mut self, frame: &Frame<Bytes>) {
        let Some(kept) = &mut self.kept else {
            return;
        };
        self.length += frame.data_ref().map_or(0, Bytes::len);
        if self.length > REPLAY || kept.len() == REPLAY_FRAMES {
            self.kept = None;
        } else if let Some(data) = frame.data_ref() {
            kept.push(Kept::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            kept.push(Kept::Trailers(trailers.clone()));
        }
    }

    /// The frames that an attempt has still to send after this number of frames.
    fn rest(&self, sent: usize) -> &[Kept] {
        let kept = self.kept.as_deref().unwrap_or_default();
        kept.get(sent..).unwrap_or_default()
    }
}

impl Kept {
    fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }

    fn frame(&self) -> Frame<Bytes> {
        match self.clone() {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => write!(f, "the client aborted the request body: {error}"),
            Self::Replaced => f.write_str("the request is being sent again"),
        }
    }
}

impl Error for UploadError {}

impl Download {
    pub(super) fn new(body: Incoming, slot: OwnedSemaphorePermit) -> Self {
        Self { body, _slot: slot }
    }
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        let mut source = lock(&this.source);
        if source.attempt != this.number {
            return Poll::Ready(Some(Err(UploadError::Replaced)));
        }
        if let Some(kept) = source.rest(this.sent).first() {
            this.sent += 1;
            return Poll::Ready(Some(Ok(kept.frame())));
        }
        let frame = ready!(Pin::new(&mut source.body).poll_frame(cx));
        source.activity.note(true);
        Poll::Ready(match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers_to_target(trailers);
                }
                source.record(&frame);
                this.sent += 1;
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                source.is_broken = true;
                Some(Err(UploadError::Client(error)))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        let source = lock(&self.source);
        source.rest(self.sent).is_empty() && source.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
        let kept: u64 = source.rest(self.sent).iter().map(Kept::length).sum();
        let rest = source.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(kept + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(kept + upper);
        }
        hint
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|frame| {
            frame.map(|frame| {
                frame.map(|mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        trailers_to_client(trailers);
                    }
                    frame
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
