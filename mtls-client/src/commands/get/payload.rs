//! The body of a request, which is read as it is sent.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::content::{Content, Piece};
use crate::args::input_file::InputFile;
use crate::exit::Exit;
use crate::failure::Failure;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// The largest file that is kept in memory because it cannot be streamed.
const MAX_IN_MEMORY: u64 = 16 << 20;

/// The body of requests, with its files open.
pub(super) struct Payload {
    sources: Vec<Source>,
    /// Whether a pipe has been read.
    drained: bool,
}

/// The source of a piece of the body.
#[derive(Clone)]
enum Source {
    Memory(Bytes),
    /// Read at explicit positions, so that several bodies can share the file.
    Regular {
        file: Arc<File>,
        name: Arc<str>,
        start: u64,
        end: u64,
    },
    Pipe {
        file: Arc<File>,
        name: Arc<str>,
    },
}

impl Payload {
    /// Opens the files, so that a missing one is reported before a connection is made.
    pub(super) fn open(content: &Content) -> Result<Self, Failure> {
        let sources = content.pieces.iter().map(open);
        Ok(Self {
            sources: sources.collect::<Result<_, _>>()?,
            drained: false,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The body of one request, from its start.
    ///
    /// # Errors
    /// If it contains a pipe that has been read already.
    pub(super) fn upload(&mut self) -> Result<Upload, Failure> {
        let pipe = self.sources.iter().find_map(|source| match source {
            Source::Pipe { name, .. } => Some(name),
            _ => None,
        });
        if let Some(name) = pipe {
            if self.drained {
                return Err(cannot_rewind(name));
            }
            self.drained = true;
        }
        Ok(Upload::new(self.sources.clone().into()))
    }
}

/// The body of one request.
pub(super) struct Upload {
    sources: VecDeque<Source>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    /// The number of bytes left, if known.
    left: Option<u64>,
    watch: Watch,
}

/// The progress of a body, and its failure.
#[derive(Clone, Default)]
pub(super) struct Watch {
    sent: Arc<AtomicU64>,
    length: Option<u64>,
    error: Arc<OnceLock<String>>,
}

impl Watch {
    /// The number of bytes that were passed to the connection.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The length of the body, if known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether the whole body was passed to the connection.
    pub(super) fn is_complete(&self) -> bool {
        self.length == Some(self.sent())
    }

    /// The failure if the body could not be read.
    pub(super) fn failure(&self) -> Option<Failure> {
        let reason = self.error.get()?;
        let message = format!("could not read the request body: {reason}");
        Some(Failure::new(Exit::Read, "read-error", message))
    }
}

impl Upload {
    pub(super) fn empty() -> Self {
        Self::new(VecDeque::new())
    }

    fn new(sources: VecDeque<Source>) -> Self {
        let length = sources.iter().map(Source::length).sum();
        Self {
            sources,
            reading: None,
            left: length,
            watch: Watch {
                length,
                ..Watch::default()
            },
        }
    }

    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Returns the next bytes, or starts a read to wait for.
    fn advance(&mut self) -> Option<Bytes> {
        while let Some(source) = self.sources.front_mut() {
            match source {
                Source::Memory(bytes) if bytes.is_empty() => {}
                Source::Memory(bytes) => return Some(std::mem::take(bytes)),
                Source::Regular {
                    file, start, end, ..
                } if *start < *end => {
                    let (file, at) = (Arc::clone(file), *start);
                    let most = usize::try_from(*end - at).map_or(CHUNK, |left| left.min(CHUNK));
                    self.reading = Some(spawn_blocking(move || read_at(&file, at, most)));
                    return None;
                }
                Source::Regular { .. } => {}
                Source::Pipe { file, .. } => {
                    let file = Arc::clone(file);
                    self.reading = Some(spawn_blocking(move || read(&file)));
                    return None;
                }
            }
            self.sources.pop_front();
        }
        None
    }

    /// Handles the result of a read from the first source.
    fn take(&mut self, read: io::Result<Vec<u8>>) -> io::Result<Option<Bytes>> {
        let bytes = Bytes::from(read?);
        match self.sources.front_mut() {
            Some(Source::Regular { start, .. }) => {
                if bytes.is_empty() {
                    return Err(io::Error::other(
                        "the file became shorter during the upload",
                    ));
                }
                *start += bytes.len() as u64;
            }
            _ if bytes.is_empty() => {
                self.sources.pop_front();
                return Ok(None);
            }
            _ => {}
        }
        Ok(Some(bytes))
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        let place = self.sources.front().and_then(Source::name);
        let place = place.map_or_else(String::new, |name| format!("{name}: "));
        let _ = self.watch.error.set(format!("{place}{error}"));
        self.sources.clear();
        error
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let bytes = loop {
            if let Some(reading) = &mut this.reading {
                let read = ready!(Pin::new(reading).poll(context));
                this.reading = None;
                let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
                match this.take(read) {
                    Ok(Some(bytes)) => break bytes,
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(this.fail(error)))),
                }
            }
            match this.advance() {
                Some(bytes) => break bytes,
                None if this.reading.is_none() => return Poll::Ready(None),
                None => {}
            }
        };
        let length = bytes.len() as u64;
        this.left = this.left.map(|left| left.saturating_sub(length));
        this.watch.sent.fetch_add(length, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Source {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Memory(bytes) => Some(bytes.len() as u64),
            Self::Regular { start, end, .. } => Some(end - start),
            Self::Pipe { .. } => None,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Memory(_) => None,
            Self::Regular { name, .. } | Self::Pipe { name, .. } => Some(name),
        }
    }
}

fn open(piece: &Piece) -> Result<Source, Failure> {
    let (input, stripped) = match piece {
        Piece::Bytes(bytes) => return Ok(Source::Memory(bytes.clone())),
        Piece::Whole(input) => (input, false),
        Piece::Stripped(input) => (input, true),
    };
    let name = Arc::from(input.to_string());
    source(input, &name, stripped).map_err(|error| {
        let message =
            format!("could not read the request body: {name}: {error}; no connection was made");
        Failure::new(Exit::Read, "read-error", message)
    })
}

fn source(input: &InputFile, name: &Arc<str>, stripped: bool) -> io::Result<Source> {
    let file = match input {
        InputFile::Stdin => stdin()?,
        InputFile::File(path) => File::open(path)?,
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if stripped {
        let mut bytes = in_memory(&file, "use --data-binary to stream it")?;
        bytes.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
        return Ok(Source::Memory(bytes.into()));
    }
    if !metadata.is_file() {
        let (file, name) = (Arc::new(file), Arc::clone(name));
        return Ok(Source::Pipe { file, name });
    }
    // A file that the kernel generates, as in /proc, has the length 0.
    if metadata.len() == 0 {
        let bytes = in_memory(&file, "pass it through a pipe")?;
        return Ok(Source::Memory(bytes.into()));
    }
    let end = metadata.len();
    let start = io::Seek::stream_position(&mut &file)?.min(end);
    let (file, name) = (Arc::new(file), Arc::clone(name));
    Ok(Source::Regular {
        file,
        name,
        start,
        end,
    })
}

/// Duplicates the handle of standard input, without the buffer of the standard library.
fn stdin() -> io::Result<File> {
    let handle = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?;
    Ok(handle.into())
}

fn in_memory(file: &File, remedy: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_IN_MEMORY + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_IN_MEMORY {
        true => Err(io::Error::other(format!(
            "longer than {MAX_IN_MEMORY} bytes; {remedy}"
        ))),
        false => Ok(bytes),
    }
}

fn read(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; CHUNK];
    let length = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    bytes.truncate(length);
    Ok(bytes)
}

fn read_at(file: &File, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let length = std::os::unix::fs::FileExt::read_at(file, &mut bytes, at)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn cannot_rewind(name: &str) -> Failure {
    let message = format!(
        "could not send the request again: {name} can be read only once; save it to a file and \
         send the file"
    );
    Failure::new(Exit::Rewind, "cannot-rewind", message)
}
