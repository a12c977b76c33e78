//! Two streams joined, each direction ending by itself.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::commands::connect::settings::Sending;

/// How much is under way in each direction, beside what TLS and the system hold.
const BUFFER: usize = 64 * 1024;

/// The halves of a TLS stream.
pub(super) struct Pipe<R, W> {
    from_server: R,
    /// To end it in order, once a run has ended.
    pub(super) to_server: W,
}

/// How a pipe ended that did not break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The server and standard input have both ended.
    BothEnded,
    /// The reader of standard output has left: it has seen enough.
    NobodyReads,
}

/// What broke.
#[derive(Debug)]
pub(super) enum Broken {
    Stdin(io::Error),
    Stdout(io::Error),
    /// The server's data ended without TLS's closing message, so some may be missing
    /// (RFC 8446, section 6.1).
    CutShort {
        received: u64,
        /// The server knew that standard input had ended.
        told_end: bool,
        error: io::Error,
    },
    /// The server took no more, after its own data had come to a proper end.
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

    /// Carries `stdin` to the server, and what the server sends to `stdout`. The end of `stdin`
    /// is told to the server, by TLS and by TCP, and the end of the server's data drops `stdout`
    /// and calls `at_end`; neither ends the other direction. Without `stdin` nothing is sent.
    /// Where the end of `stdin` is not to be told, or there is none, the end of the server's data
    /// ends it all.
    pub(super) async fn run(
        &mut self,
        stdin: Option<impl AsyncRead + Unpin>,
        sending: Sending,
        stdout: impl AsyncWrite + Unpin,
        at_end: impl FnOnce(),
    ) -> Result<Ending, Broken> {
        let mut outward = std::pin::pin!(send(stdin, sending, &mut self.to_server));
        let mut inward = std::pin::pin!(receive(&mut self.from_server, stdout));
        let (sent, received) = tokio::select! {
            received = &mut inward => (None, received),
            sent = &mut outward => match sent {
                Err(Unsent::Stdin(error)) => return Err(Broken::Stdin(error)),
                sent => (Some(sent), inward.await),
            },
        };
        let told_end = sending == Sending::All && matches!(sent, Some(Ok(())));
        let received = received.map_err(|undelivered| undelivered.because(told_end))?;
        if received == Ending::NobodyReads {
            return Ok(Ending::NobodyReads);
        }
        at_end();
        let sent = match (sent, sending) {
            (Some(sent), _) => sent,
            // The server has ended, and that ends it.
            (None, Sending::WithoutEnd) => return Ok(Ending::BothEnded),
            (None, _) => outward.await,
        };
        match sent {
            Ok(()) => Ok(Ending::BothEnded),
            Err(Unsent::Stdin(error)) => Err(Broken::Stdin(error)),
            Err(Unsent::Server { accepted, error }) => Err(Broken::NotSent { accepted, error }),
        }
    }
}

/// Why something was not sent.
enum Unsent {
    Stdin(io::Error),
    Server { accepted: u64, error: io::Error },
}

/// A `stdin` that breaks is not ended in order: the server must not take a part for the whole.
async fn send(
    stdin: Option<impl AsyncRead + Unpin>,
    sending: Sending,
    server: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Unsent> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    let mut buffer = vec![0; BUFFER];
    let mut accepted = 0;
    loop {
        let len = match stdin.read(&mut buffer).await {
            Ok(len) => len,
            Err(error) => return Err(Unsent::Stdin(error)),
        };
        if len == 0 {
            if sending == Sending::All {
                // Who does not take the end alone has lost nothing.
                let _ = server.shutdown().await;
            }
            return Ok(());
        }
        if let Err(error) = write(server, &buffer[..len]).await {
            return Err(Unsent::Server { accepted, error });
        }
        accepted += len as u64;
    }
}

/// Why something did not come through.
enum Undelivered {
    Stdout(io::Error),
    CutShort { received: u64, error: io::Error },
}

impl Undelivered {
    fn because(self, told_end: bool) -> Broken {
        match self {
            Self::Stdout(error) => Broken::Stdout(error),
            Self::CutShort { received, error } => Broken::CutShort {
                received,
                told_end,
                error,
            },
        }
    }
}

async fn receive(
    server: &mut (impl AsyncRead + Unpin),
    mut stdout: impl AsyncWrite + Unpin,
) -> Result<Ending, Undelivered> {
    let mut buffer = vec![0; BUFFER];
    let mut received = 0;
    loop {
        let len = match server.read(&mut buffer).await {
            Ok(len) => len,
            Err(error) => {
                // What came before is good.
                let _ = stdout.flush().await;
                return Err(Undelivered::CutShort { received, error });
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
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Ending::NobodyReads),
            Err(error) => return Err(Undelivered::Stdout(error)),
        }
    }
}

async fn write(server: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    server.write_all(bytes).await?;
    server.flush().await
}
