//! The body of a request: sent as it is read, and never sooner than somebody asks for it.

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

use crate::commands::get::settings::{Piece, Place};
use crate::connect::failure::Failure;
use crate::exit::Exit;

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// How much is kept in memory where a file cannot be sent as it is read.
const MOST_IN_MEMORY: u64 = 16 << 20;

/// What a request carries, with its files open.
pub(super) struct Payload {
    sources: Vec<Source>,
    /// Standard input, or another pipe, has been read.
    drained: bool,
}

/// Where a piece of the body comes from.
#[derive(Clone)]
enum Source {
    Memory(Bytes),
    /// Positions are given with every read, so several bodies can be made of it.
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
    /// Opens the files, so that one that is missing is told before anything is connected.
    pub(super) fn open(payload: &super::settings::Payload) -> Result<Self, Failure> {
        let sources = payload.pieces.iter().map(open);
        Ok(Self {
            sources: sources.collect::<Result<_, _>>()?,
            drained: false,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The body for one request, from its beginning.
    ///
    /// # Errors
    /// A pipe has been read already, so there is no beginning any more.
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

/// A body under way.
pub(super) struct Upload {
    sources: VecDeque<Source>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
    watch: Watch,
}

/// What can be seen of a body while it is sent.
#[derive(Clone, Default)]
pub(super) struct Watch {
    sent: Arc<AtomicU64>,
    length: Option<u64>,
    error: Arc<OnceLock<String>>,
}

impl Watch {
    /// How many bytes have been handed over to be sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many there are, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether all of it has been handed over.
    pub(super) fn is_complete(&self) -> bool {
        self.length == Some(self.sent())
    }

    /// Why it could not be read to its end.
    pub(super) fn failure(&self) -> Option<Failure> {
        let reason = self.error.get()?;
        let message = format!("could not read what is to be sent: {reason}.");
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

    /// What can be had without waiting, or a reading to wait for.
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

    /// Takes what was read of the first source.
    fn take(&mut self, read: io::Result<Vec<u8>>) -> io::Result<Option<Bytes>> {
        let bytes = Bytes::from(read?);
        match self.sources.front_mut() {
            Some(Source::Regular { start, .. }) => {
                if bytes.is_empty() {
                    return Err(io::Error::other("it got shorter while it was sent"));
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
    let (place, stripped) = match piece {
        Piece::Bytes(bytes) => return Ok(Source::Memory(bytes.clone())),
        Piece::Whole(place) => (place, false),
        Piece::Stripped(place) => (place, true),
    };
    let name: Arc<str> = match place {
        Place::Stdin => "standard input".into(),
        Place::File(path) => format!("`{}`", path.display()).into(),
    };
    source(place, &name, stripped).map_err(|error| {
        let message = format!(
            "could not read what is to be sent: {name}: {error}. Nothing was connected; check \
             the file's name."
        );
        Failure::new(Exit::Read, "read-error", message)
    })
}

fn source(place: &Place, name: &Arc<str>, stripped: bool) -> io::Result<Source> {
    let file = match place {
        Place::Stdin => stdin()?,
        Place::File(path) => File::open(path)?,
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    if stripped {
        let mut bytes = in_memory(&file, "--data-binary sends it as it is")?;
        bytes.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
        return Ok(Source::Memory(bytes.into()));
    }
    if !metadata.is_file() {
        let (file, name) = (Arc::new(file), Arc::clone(name));
        return Ok(Source::Pipe { file, name });
    }
    // What the kernel makes up as it is read, as in /proc, has no length.
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

/// Another handle on standard input, without the buffer of the standard library's own.
fn stdin() -> io::Result<File> {
    let handle = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?;
    Ok(handle.into())
}

fn in_memory(file: &File, otherwise: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MOST_IN_MEMORY + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST_IN_MEMORY {
        true => Err(io::Error::other(format!(
            "it is longer than {MOST_IN_MEMORY} bytes; {otherwise}"
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
        "the request would have to be sent again, and {name} can be read only once. Save it to a \
         file, and send that."
    );
    Failure::new(Exit::Rewind, "cannot-rewind", message)
}
