//! The connector's stream for hyper.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;

use crate::http_io::MergeData;
use crate::stream::{ClientStream, VerdictHandle};
use crate::verdict::policy::Policy;

/// The name of HTTP/2 in ALPN (RFC 9113, section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// A stream to an HTTP server: of TLS with its verdict, or plain.
///
/// Over HTTP/2 short DATA frames are [merged](crate::http_io::MergeData); else nothing is done per
/// byte beyond TLS itself.
pub struct MultipathHttpsStream<T> {
    io: MaybeTls<T>,
    about: fn(&T) -> Connected,
}

enum MaybeTls<T> {
    Plain(TokioIo<T>),
    Tls(Box<Tls<T>>),
}

struct Tls<T> {
    stream: TokioIo<MergeData<TlsStream<T>>>,
    verdict: VerdictHandle,
    reusable: bool,
    handover: Option<HandoverSlot>,
}

/// The slot of a connection that is being handed over; it is given up on drop.
#[derive(Debug)]
pub(super) struct HandoverSlot {
    pub(super) _sender: oneshot::Sender<()>,
}

impl<T> MultipathHttpsStream<T> {
    pub(super) fn plain(stream: T, about: fn(&T) -> Connected) -> Self {
        Self {
            io: MaybeTls::Plain(TokioIo::new(stream)),
            about,
        }
    }

    pub(super) fn https(
        stream: ClientStream<T>,
        policy: Policy,
        about: fn(&T) -> Connected,
    ) -> Self {
        let (stream, verdict) = stream.into_parts();
        let stream = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => MergeData::client(stream),
            _ => MergeData::unchanged(stream),
        };
        let reusable = policy != Policy::Prefer || verdict.get().verified().is_some();
        Self {
            io: MaybeTls::Tls(Box::new(Tls {
                stream: TokioIo::new(stream),
                verdict,
                reusable,
                handover: None,
            })),
            about,
        }
    }

    /// The verdict; `None` for plain HTTP.
    pub fn verdict(&self) -> Option<&VerdictHandle> {
        match &self.io {
            MaybeTls::Plain(_) => None,
            MaybeTls::Tls(tls) => Some(&tls.verdict),
        }
    }
}

impl<T> MultipathHttpsStream<T> {
    /// May the connection serve more than the request that it was made for?
    pub(super) fn is_reusable(&self) -> bool {
        match &self.io {
            MaybeTls::Plain(_) => true,
            MaybeTls::Tls(tls) => tls.reusable,
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        match &self.io {
            MaybeTls::Plain(_) => false,
            MaybeTls::Tls(tls) => {
                let (_, session) = tls.stream.inner().get_ref().get_ref();
                session.alpn_protocol() == Some(HTTP_2)
            }
        }
    }

    /// Keeps a slot until the connection's task first reads.
    pub(super) fn keep_until_read(&mut self, slot: HandoverSlot) {
        if let MaybeTls::Tls(tls) = &mut self.io {
            tls.handover = Some(slot);
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for MultipathHttpsStream<T> {
    fn connected(&self) -> Connected {
        let mut connected = match &self.io {
            MaybeTls::Plain(io) => (self.about)(io.inner()),
            MaybeTls::Tls(tls) => {
                let (io, _) = tls.stream.inner().get_ref().get_ref();
                (self.about)(io).extra(tls.verdict.clone())
            }
        };
        if self.is_http2() {
            connected = connected.negotiated_h2();
        }
        if !self.is_reusable() {
            connected.poison();
        }
        connected
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Read for MultipathHttpsStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            MaybeTls::Plain(io) => Pin::new(io).poll_read(cx, buf),
            MaybeTls::Tls(tls) => {
                tls.handover = None;
                Pin::new(&mut tls.stream).poll_read(cx, buf)
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Write for MultipathHttpsStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            MaybeTls::Plain(io) => Pin::new(io).poll_write(cx, buf),
            MaybeTls::Tls(tls) => Pin::new(&mut tls.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            MaybeTls::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            MaybeTls::Tls(tls) => Pin::new(&mut tls.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            MaybeTls::Plain(io) => io.is_write_vectored(),
            MaybeTls::Tls(tls) => tls.stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            MaybeTls::Plain(io) => Pin::new(io).poll_flush(cx),
            MaybeTls::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            MaybeTls::Plain(io) => Pin::new(io).poll_shutdown(cx),
            MaybeTls::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}

impl<T> fmt::Debug for MultipathHttpsStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipathHttpsStream")
            .field("verdict", &self.verdict())
            .finish_non_exhaustive()
    }
}
