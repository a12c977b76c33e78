//! Two streams connected in both directions, each of which ends independently.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes in transit in each direction, in addition to the buffers of TLS and the system.
const BUFFER: usize = 64 * 1024;

/// The use of standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputMode {
    /// Sends the data and the end.
    Full,
    /// Sends the data, but not the end.
    IgnoreEof,
    /// Sends nothing.
    None,
}

/// The halves of a TLS stream.
pub(super) struct Pipe<R, W> {
    pub(super) from_server: R,
    pub(super) to_server: W,
}

/// The regular end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The server and standard input have both ended.
    BothEnded,
    /// The reader of standard output has closed it: it has read enough.
    ReaderClosed,
}

/// The failure of a pipe.
#[derive(Debug)]
pub(super) enum PipeError {
    Stdin(io::Error),
    Stdout(io::Error),
    /// The server's data ended without close_notify, so data may be missing (RFC 8446, section
    /// 6.1).
    CutShort {
        received: u64,
        /// The server knew that standard input had ended.
        server_knew_end: bool,
        error: io::Error,
    },
    /// The server accepted no more data, after its own data had ended in order.
    NotSent {
        accepted: u64,
        error: io::Error,
    },
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pipe<R, W> {
    pub(super) fn new(from_server: R, to_server: W) -> Self {
        Self {
            from_server,
            to_server,
        }
    }

    /// Copies `stdin` to the server and the server's data to `stdout`. The end of `stdin` ends the
    /// sending half of TLS and TCP, and the end of the server's data drops `stdout` and calls
    /// `at_end`; neither ends the other direction. With [`InputMode::IgnoreEof`] or
    /// [`InputMode::None`] the end of the server's data ends both.
    pub(super) async fn run(
        &mut self,
        stdin: Option<impl AsyncRead + Unpin>,
        mode: InputMode,
        stdout: impl AsyncWrite + Unpin,
        at_end: impl FnOnce(),
    ) -> Result<Ending, PipeError> {
        let mut outward = std::pin::pin!(send(stdin, mode, &mut self.to_server));
        let mut inward = std::pin::pin!(receive(&mut self.from_server, stdout));
        let (sent, received) = tokio::select! {
            received = &mut inward => (None, received),
            sent = &mut outward => match sent {
                Err(SendError::Stdin(error)) => return Err(PipeError::Stdin(error)),
                sent => (Some(sent), inward.await),
            },
        };
        let server_knew_end = mode == InputMode::Full && matches!(sent, Some(Ok(())));
        let received = received.map_err(|error| error.into_pipe_error(server_knew_end))?;
        if received == Ending::ReaderClosed {
            return Ok(Ending::ReaderClosed);
        }
        at_end();
        let sent = match (sent, mode) {
            (Some(sent), _) => sent,
            (None, InputMode::IgnoreEof) => return Ok(Ending::BothEnded),
            (None, _) => outward.await,
        };
        match sent {
            Ok(()) => Ok(Ending::BothEnded),
            Err(SendError::Stdin(error)) => Err(PipeError::Stdin(error)),
            Err(SendError::Server { accepted, error }) => {
                Err(PipeError::NotSent { accepted, error })
            }
        }
    }
}

/// The failure of the sending direction.
enum SendError {
    Stdin(io::Error),
    Server { accepted: u64, error: io::Error },
}

/// Sends `stdin`. If it cannot be read, the sending half does not end in order, so that the server
/// does not take the part for the whole.
async fn send(
    stdin: Option<impl AsyncRead + Unpin>,
    mode: InputMode,
    server: &mut (impl AsyncWrite + Unpin),
) -> Result<(), SendError> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    let mut buffer = vec![0; BUFFER];
    let mut accepted = 0;
    loop {
        let len = match stdin.read(&mut buffer).await {
            Ok(len) => len,
            Err(error) => return Err(SendError::Stdin(error)),
        };
        if len == 0 {
            if mode == InputMode::Full {
                // A server that has closed already loses no data.
                let _ = server.shutdown().await;
            }
            return Ok(());
        }
        if let Err(error) = write(server, &buffer[..len]).await {
            return Err(SendError::Server { accepted, error });
        }
        accepted += len as u64;
    }
}

/// The failure of the receiving direction.
enum ReceiveError {
    Stdout(io::Error),
    CutShort { received: u64, error: io::Error },
}

impl ReceiveError {
    fn into_pipe_error(self, server_knew_end: bool) -> PipeError {
        match self {
            Self::Stdout(error) => PipeError::Stdout(error),
            Self::CutShort { received, error } => PipeError::CutShort {
                received,
                server_knew_end,
                error,
            },
        }
    }
}

async fn receive(
    server: &mut (impl AsyncRead + Unpin),
    mut stdout: impl AsyncWrite + Unpin,
) -> Result<Ending, ReceiveError> {
    let mut buffer = vec![0; BUFFER];
    let mut received = 0;
    loop {
        let len = match server.read(&mut buffer).await {
            Ok(len) => len,
            Err(error) => {
                // The data before the failure is valid.
                let _ = stdout.flush().await;
                return Err(ReceiveError::CutShort { received, error });
            }
        };
        received += len as u64;
        let written = match len {
            0 => stdout.flush().await,
            _ => stdout.write_all(&buffer[..len]).await,
        };
        match written {
            Ok(()) if len == 0 => return Ok(Ending::BothEnded),
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                return Ok(Ending::ReaderClosed);
            }
            Err(error) => return Err(ReceiveError::Stdout(error)),
        }
    }
}

async fn write(server: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    server.write_all(bytes).await?;
    server.flush().await
}
