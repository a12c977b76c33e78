//! The body of a response, and the decoders of `--compressed` (RFC 9110, section 8.4.1).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures_util::future;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderName, TRANSFER_ENCODING};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, ReadBuf};
use tokio_util::io::{ReaderStream, StreamReader};

use super::body::{BodyError, ResponseBody};
use crate::args::target::HttpsUrl;
use crate::exit::Exit;
use crate::failure::Failure;

/// The maximum number of codings of one response, as in curl.
const MAX_CODINGS: usize = 5;

/// The largest window of a Zstandard frame, as a power of two: 8 MiB (RFC 9659, section 3).
const ZSTD_WINDOW: u32 = 23;

/// A body as a stream. An error that holds an [`Incomplete`] is the transfer's, any other the
/// decoder's.
pub(super) type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// The number of bytes received of an encoded body.
#[derive(Clone, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body ended early, which is not always an error for hyper.
#[derive(Debug)]
pub(super) struct Incomplete(pub(super) Option<BodyError>);

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the body ended early")
    }
}

impl std::error::Error for Incomplete {}

/// The pieces as received. `is_whole` decides whether a body without an expected length is complete.
pub(super) fn pieces(
    body: ResponseBody,
    received: Received,
    expected: Option<u64>,
    is_whole: impl Fn(&ResponseBody) -> bool + Send + Sync + 'static,
) -> Pieces {
    let is_whole = Arc::new(is_whole);
    let next = move |mut body: ResponseBody| {
        let received = received.clone();
        let is_whole = Arc::clone(&is_whole);
        async move {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| incomplete(Some(error)))?;
                if let Ok(data) = frame.into_data() {
                    received.0.fetch_add(data.len() as u64, Ordering::Relaxed);
                    return Ok(Some((data, body)));
                }
            }
            let whole = match expected {
                Some(length) => received.count() >= length,
                None => is_whole(&body),
            };
            if whole {
                Ok(None)
            } else {
                Err(incomplete(None))
            }
        }
    };
    stream::try_unfold(body, next).boxed()
}

fn incomplete(error: Option<BodyError>) -> io::Error {
    io::Error::other(Incomplete(error))
}

/// The codings of a response, in the order in which they were applied.
pub(super) struct Codings(Vec<Coding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Codings {
    /// The transfer codings (RFC 9112, section 7), which a server may send without being asked. The
    /// HTTP library has removed `chunked`.
    pub(super) fn of_transfer(fields: &HeaderMap) -> Result<Self, String> {
        Self::of(fields, &TRANSFER_ENCODING)
    }

    /// The content codings, and these transfer codings, which were applied after them.
    pub(super) fn of_content(fields: &HeaderMap, transfer: Self) -> Result<Self, String> {
        let Self(mut codings) = Self::of(fields, &CONTENT_ENCODING)?;
        codings.extend(transfer.0);
        Ok(Self(codings))
    }

    fn of(fields: &HeaderMap, name: &HeaderName) -> Result<Self, String> {
        let values = fields.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let mut codings = Vec::new();
        for value in values {
            for name in value.split(',').map(str::trim) {
                codings.extend(Coding::of(name)?);
            }
        }
        match codings.len() > MAX_CODINGS {
            true => Err(format!("more than {MAX_CODINGS} codings")),
            false => Ok(Self(codings)),
        }
    }

    /// The decoded body.
    pub(super) fn decoded(self, body: Pieces) -> Pieces {
        self.0
            .into_iter()
            .rev()
            .fold(body, |body, coding| coding.decoded(body))
    }
}

impl Coding {
    fn of(name: &str) -> Result<Option<Self>, String> {
        Ok(Some(match name.to_ascii_lowercase().as_str() {
            "" | "identity" | "none" | "chunked" => return Ok(None),
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            "zstd" => Self::Zstd,
            _ => return Err(format!("unknown coding `{}`", name.escape_debug())),
        }))
    }

    fn decoded(self, body: Pieces) -> Pieces {
        let (body, error) = until_error(body);
        let reader = async move {
            let mut body = StreamReader::new(body);
            // An empty body is not encoded.
            let first = body.fill_buf().await?.first().copied();
            if let (None, Some(error)) = (first, error.take()) {
                return Err(error);
            }
            let decoder = first.map(|first| {
                ReaderStream::new(ToEnd {
                    trailer: self.trailer(first),
                    decoder: self.decoder(first, body),
                    error,
                })
            });
            Ok::<_, io::Error>(stream::iter(decoder).flatten())
        };
        stream::once(reader).try_flatten().boxed()
    }

    /// Whether this is deflate without zlib's header, which some servers omit (RFC 9110, section
    /// 8.4.1.2). Its first byte names the method 8 (RFC 1950, section 2.2).
    fn is_raw(self, first: u8) -> bool {
        self == Self::Deflate && first & 0x0f != 8
    }

    /// The number of bytes that may follow: some of these servers send zlib's checksum, which curl
    /// skips too.
    fn trailer(self, first: u8) -> usize {
        if self.is_raw(first) { 4 } else { 0 }
    }

    fn decoder(self, first: u8, body: Input) -> Box<dyn Decoder> {
        match self {
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(body);
                decoder.multiple_members(true);
                Box::new(decoder)
            }
            Self::Deflate if self.is_raw(first) => Box::new(DeflateDecoder::new(body)),
            Self::Deflate => Box::new(ZlibDecoder::new(body)),
            Self::Brotli => Box::new(BrotliDecoder::new(body)),
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW);
                let mut decoder = ZstdDecoder::with_params(body, &[window]);
                // A content is one or more frames (RFC 8878, section 3).
                decoder.multiple_members(true);
                Box::new(decoder)
            }
        }
    }
}

/// The input of a decoder.
type Input = StreamReader<Pieces, Bytes>;

/// The error that ended the input of a decoder.
#[derive(Clone, Default)]
struct InputError(Arc<Mutex<Option<io::Error>>>);

impl InputError {
    fn set(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The pieces up to an error, so that a decoder writes all data before it.
fn until_error(body: Pieces) -> (Pieces, InputError) {
    let error = InputError::default();
    let pieces = body.scan(error.clone(), |error, piece| {
        future::ready(match piece {
            Ok(piece) => Some(Ok(piece)),
            Err(cause) => {
                error.set(cause);
                None
            }
        })
    });
    (pieces.boxed(), error)
}

/// A decoder of one coding.
trait Decoder: AsyncRead + Send + Unpin {
    fn input(&mut self) -> Pin<&mut Input>;
}

macro_rules! decoders {
    ($($name:ident)*) => {
        $(impl Decoder for $name<Input> {
            fn input(&mut self) -> Pin<&mut Input> {
                Pin::new(self.get_mut())
            }
        })*
    };
}

decoders! { BrotliDecoder DeflateDecoder GzipDecoder ZlibDecoder ZstdDecoder }

/// Reads the input to its end: the end of what a decoder understands may come before it.
struct ToEnd {
    decoder: Box<dyn Decoder>,
    /// Bytes that may follow.
    trailer: usize,
    error: InputError,
}

impl ToEnd {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut input = self.decoder.input();
            let length = ready!(input.as_mut().poll_fill_buf(cx))?.len();
            if length == 0 {
                return Poll::Ready(Ok(()));
            }
            let Some(left) = self.trailer.checked_sub(length) else {
                let error = io::Error::other("there are bytes after its end");
                return Poll::Ready(Err(error));
            };
            self.trailer = left;
            input.consume(length);
        }
    }
}

impl AsyncRead for ToEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut end = ready!(Pin::new(&mut self.decoder).poll_read(cx, buffer));
        if end.is_ok() {
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            end = ready!(self.poll_end(cx));
        }
        // An input that ended early is the cause of an error of the decoder.
        Poll::Ready(self.error.take().map_or(end, Err))
    }
}

/// The failure for an unknown coding, or a body that is not in it.
pub(super) fn undecodable(
    url: &HttpsUrl,
    reason: &dyn std::fmt::Display,
    compressed: bool,
) -> Failure {
    let remedy = match compressed {
        true => "omit --compressed",
        false => "ask the server's operator",
    };
    let message = format!(
        "the response from {} cannot be decompressed: {reason}; {remedy}",
        url.endpoint()
    );
    Failure::new(Exit::ContentCoding, "bad-content-coding", message)
}
