//! The body of a response, and the decoders of `--compressed` (RFC 9110, section 8.4.1).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncBufReadExt, AsyncRead};
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

/// The pieces as received. `is_whole` decides whether a body without a known length is complete.
pub(super) fn pieces(
    body: ResponseBody,
    received: Received,
    is_whole: impl Fn(&ResponseBody) -> bool + Send + Sync + 'static,
) -> Pieces {
    let (expected, is_whole) = (body.size_hint().exact(), Arc::new(is_whole));
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

/// The content codings of a response, in the order in which they were applied.
pub(super) struct Codings(Vec<Coding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Codings {
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn of(fields: &HeaderMap) -> Result<Self, String> {
        let values = fields.get_all(CONTENT_ENCODING).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let mut codings = Vec::new();
        for value in values {
            for name in value.split(',').map(str::trim) {
                codings.extend(Coding::of(name)?);
            }
        }
        match codings.len() > MAX_CODINGS {
            true => Err(format!("more than {MAX_CODINGS} content codings")),
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
            "" | "identity" => return Ok(None),
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            "zstd" => Self::Zstd,
            _ => return Err(format!("unknown content coding `{}`", name.escape_debug())),
        }))
    }

    fn decoded(self, body: Pieces) -> Pieces {
        let reader = async move {
            let mut body = StreamReader::new(body);
            // An empty body is not encoded.
            let first = body.fill_buf().await?.first().copied();
            let decoder = first.map(|first| ReaderStream::new(self.decoder(first, body)));
            Ok::<_, io::Error>(stream::iter(decoder).flatten())
        };
        stream::once(reader).try_flatten().boxed()
    }

    fn decoder(
        self,
        first: u8,
        body: StreamReader<Pieces, Bytes>,
    ) -> Box<dyn AsyncRead + Send + Unpin> {
        match self {
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(body);
                decoder.multiple_members(true);
                Box::new(decoder)
            }
            // Some servers omit zlib's header (RFC 9110, section 8.4.1.2), whose first byte
            // names the method 8 (RFC 1950, section 2.2).
            Self::Deflate if first & 0x0f == 8 => Box::new(ZlibDecoder::new(body)),
            Self::Deflate => Box::new(DeflateDecoder::new(body)),
            Self::Brotli => Box::new(BrotliDecoder::new(body)),
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW);
                Box::new(ZstdDecoder::with_params(body, &[window]))
            }
        }
    }
}

/// The failure for an unknown coding, or content that is not in it.
pub(super) fn undecodable(url: &HttpsUrl, reason: &dyn std::fmt::Display) -> Failure {
    let message = format!(
        "the response from {} cannot be decompressed: {reason}; omit --compressed",
        url.endpoint()
    );
    Failure::new(Exit::ContentCoding, "bad-content-coding", message)
}
