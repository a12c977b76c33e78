//! A stream whose first bytes were read before.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Gives the bytes out again that were read before, then pauses, then goes on.
///
/// The pause is after the response to the first ClientHello: a server that has asked for
/// another one stalls with that in its hands.
pub(super) struct Rewound {
    again: Vec<u8>,
    pause: Option<Pin<Box<Sleep>>>,
    pause_for: Duration,
    stream: TcpStream,
}

impl Rewound {
    pub(super) fn new(again: Vec<u8>, pause_for: Duration, stream: TcpStream) -> Self {
        Self {
            again,
            pause: None,
            pause_for,
            stream,
        }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let fits = self.again.len().min(buffer.remaining());
            buffer.put_slice(&self.again[..fits]);
            self.again.drain(..fits);
            return Poll::Ready(Ok(()));
        }
        if !self.pause_for.is_zero() {
            let pause_for = self.pause_for;
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(pause_for)));
            ready!(pause.as_mut().poll(cx));
            self.pause_for = Duration::ZERO;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
