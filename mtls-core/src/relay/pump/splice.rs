//! Bytes that never leave the kernel: from one socket into a pipe, from the pipe into another
//! socket (`splice(2)`).
//!
//! A direction has a pipe only while there are bytes in it. So the number of pipes is that of the
//! directions whose receivers are slow, and not that of the tunnels.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::sync::lock;

/// The capacity of a pipe in bytes, if the system allows it; otherwise it is the system's
/// 64 KiB or less.
pub(super) const PIPE: usize = 256 * 1024;

/// The number of empty pipes that are kept for later.
const SPARE: usize = 16;

/// SPLICE_F_NONBLOCK is for the pipe; the sockets are non-blocking by themselves.
const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// The pipes of all tunnels of a relay, limited in number.
pub(in crate::relay) struct Pipes {
    limit: usize,
    open: Arc<AtomicUsize>,
    spare: Mutex<Vec<Pipe>>,
}

/// A pipe; its place is free again when it is dropped.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    _permit: PipePermit,
}

struct PipePermit(Arc<AtomicUsize>);

/// The result of filling a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refill {
    /// So many bytes are in it.
    Bytes(usize),
    /// The sender has closed.
    End,
    /// This socket cannot be spliced, or this process must not.
    Impossible,
}

impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipes")
            .field("limit", &self.limit)
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

impl Pipes {
    pub(in crate::relay) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Arc::default(),
            spare: Mutex::default(),
        }
    }

    /// The number of pipes, spare ones included.
    pub(in crate::relay) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// An empty pipe, unless there are too many or the system has none.
    pub(super) fn acquire(&self) -> Option<Pipe> {
        let spare = lock(&self.spare).pop();
        spare.or_else(|| Pipe::new(self.permit()?))
    }

    /// Takes an empty pipe back.
    pub(super) fn recycle(&self, pipe: Pipe) {
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE {
            spare.push(pipe);
        }
    }

    fn permit(&self) -> Option<PipePermit> {
        let more = |open| (open < self.limit).then_some(open + 1);
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| PipePermit(Arc::clone(&self.open)))
    }
}

impl Drop for PipePermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pipe {
    fn new(permit: PipePermit) -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Refused to a user with many pipes: it stays as small as it is.
        let _ = fcntl_setpipe_size(&write, PIPE);
        Some(Self {
            read,
            write,
            _permit: permit,
        })
    }

    /// Moves what the socket has into the pipe, which must be empty: only then does EAGAIN mean
    /// that the socket is empty.
    pub(super) fn poll_refill(
        &self,
        cx: &mut Context<'_>,
        from: &TcpStream,
    ) -> Poll<io::Result<Refill>> {
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, &self.write, None, PIPE, FLAGS)?)
            });
            return Poll::Ready(match moved {
                Ok(0) => Ok(Refill::End),
                Ok(moved) => Ok(Refill::Bytes(moved)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if is_impossible(&error) => Ok(Refill::Impossible),
                Err(error) => Err(error),
            });
        }
    }

    /// Moves up to `left` bytes, which must be in the pipe, to the socket.
    pub(super) fn poll_empty(
        &self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        left: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.read, None, to, None, left, FLAGS)?)
            });
            return Poll::Ready(match moved {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                moved => moved,
            });
        }
    }
}

fn is_impossible(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::PERM)
    )
}
