//! The body of a request, as the options describe it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use hyper::header::HeaderValue;

use crate::args::input_file::InputFile;

/// The body of a request: pieces that are sent one after the other.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) pieces: Vec<Piece>,
    /// The media type, unless a header field sets it.
    pub(super) content_type: Option<HeaderValue>,
}

/// A piece of a request's body.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Bytes),
    /// A file, which is streamed.
    Whole(InputFile),
    /// A file without CR, LF and NUL.
    Stripped(InputFile),
}

/// The value of `--data` and `--data-binary`.
#[derive(Clone)]
pub(crate) enum Data {
    Text(String),
    File(InputFile),
}

impl Content {
    /// The content of these pieces.
    ///
    /// # Errors
    /// If standard input would be read twice.
    pub(super) fn new(
        pieces: Vec<Piece>,
        content_type: Option<HeaderValue>,
    ) -> Result<Self, &'static str> {
        let from_stdin = |piece: &&Piece| {
            matches!(
                piece,
                Piece::Whole(InputFile::Stdin) | Piece::Stripped(InputFile::Stdin)
            )
        };
        match pieces.iter().filter(from_stdin).count() {
            0 | 1 => Ok(Self {
                pieces,
                content_type,
            }),
            _ => Err("standard input can be read only once; name it once"),
        }
    }
}

impl Data {
    /// The piece of this value; `file` is the form in which a file is sent.
    pub(super) fn piece(&self, file: impl Fn(InputFile) -> Piece) -> Piece {
        match self {
            Self::Text(text) => Piece::Bytes(text.clone().into()),
            Self::File(name) => file(name.clone()),
        }
    }
}

impl FromStr for Data {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(file) => Self::File(file.into()),
            None => Self::Text(text.to_owned()),
        })
    }
}

/// Without the text, which may be secret.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.piece(Piece::Whole).fmt(f)
    }
}

/// Without the bytes, which may be secret.
impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Whole(file) => f.debug_tuple("Whole").field(file).finish(),
            Self::Stripped(file) => f.debug_tuple("Stripped").field(file).finish(),
        }
    }
}
