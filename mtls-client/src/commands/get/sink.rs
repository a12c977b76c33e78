//! The output of a body, opened when there is something to write.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::stdout;

/// The destination of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    File(PathBuf),
}

/// A file or standard output, opened on the first write.
pub(super) struct Sink<'a> {
    output: &'a Output,
    state: State,
}

enum State {
    NotOpen,
    Open(File),
    /// The reader has closed the pipe: it has read enough, which is not a failure.
    Closed,
}

impl<'a> Sink<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            state: State::NotOpen,
        }
    }

    /// Whether the reader has closed the pipe, so that no more data is needed.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether something may have been written.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::NotOpen)
    }

    /// Opens the output if it is not open yet; an existing file is truncated.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        if !matches!(self.state, State::NotOpen) {
            return Ok(());
        }
        self.state = match self.output {
            Output::Stdout => stdout::file().map(File::from_std),
            Output::File(path) => File::create(path).await,
        }
        .map(State::Open)
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.open().await?;
        let written = match self.writer() {
            Some(writer) => writer.write_all(bytes).await,
            None => Ok(()),
        };
        self.check(written)
    }

    /// Flushes the output.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        let flushed = match self.writer() {
            Some(writer) => writer.flush().await,
            None => Ok(()),
        };
        self.check(flushed)
    }

    fn writer(&mut self) -> Option<&mut File> {
        match &mut self.state {
            State::Open(file) => Some(file),
            State::NotOpen | State::Closed => None,
        }
    }

    fn check(&mut self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.state = State::Closed;
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let place = match self.output {
            Output::Stdout => "standard output".into(),
            Output::File(path) => format!("`{}`", path.display()),
        };
        let message = format!(
            "could not write the response to {place}: {error}; choose another file with --output"
        );
        Failure::new(Exit::Write, "write-error", message)
    }
}

/// `-` is standard output.
impl From<PathBuf> for Output {
    fn from(path: PathBuf) -> Self {
        match path.as_os_str() == "-" {
            true => Self::Stdout,
            false => Self::File(path),
        }
    }
}
