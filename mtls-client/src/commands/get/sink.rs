//! Where a body goes, opened no sooner than there is something to write.

use std::io::{self, ErrorKind};

use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::commands::get::settings::Output;
use crate::connect::failure::Failure;
use crate::exit::Exit;
use crate::output::stdout;

/// A file or standard output.
pub(super) struct Sink<'a> {
    output: &'a Output,
    state: State,
}

enum State {
    NotOpen,
    Open(File),
    /// The reader of the pipe has left: it has seen enough, and that is no failure.
    Left,
}

impl<'a> Sink<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            state: State::NotOpen,
        }
    }

    /// Nobody reads any more, so nothing more need be fetched.
    pub(super) fn is_left(&self) -> bool {
        matches!(self.state, State::Left)
    }

    /// Whether something may have been written.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::NotOpen)
    }

    /// Creates the file if it is not open yet; one that is there is emptied.
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
        self.note(written)
    }

    /// Everything has been written.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        let flushed = match self.writer() {
            Some(writer) => writer.flush().await,
            None => Ok(()),
        };
        self.note(flushed)
    }

    fn writer(&mut self) -> Option<&mut File> {
        match &mut self.state {
            State::Open(file) => Some(file),
            State::NotOpen | State::Left => None,
        }
    }

    fn note(&mut self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.state = State::Left;
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
            "could not write the response to {place}: {error}. Choose another file with --output."
        );
        Failure::new(Exit::Write, "write-error", message)
    }
}
