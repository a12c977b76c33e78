//! The stream with the framing of [`crate::proto::carrier`], as TLS uses it during its handshake.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::proto::carrier::{
    CARRIER_GREETING, CHUNK_HEADER, CarrierError, Chunk, Exchange, MAX_SIDE_BYTES, MAX_SIDE_CHUNKS,
    MAX_TLS_CHUNK,
};

/// The most bytes of the TLS connection that wait for the end of the side exchange: a server that
/// refuses the client's certificate sends an alert.
const MAX_TLS_WAITING: usize = 64 * 1024;

/// The most bytes that are read at a time.
const READ_PART: usize = 4096;

/// A connection whose bytes are framed until both ends have switched. It never reads beyond what it
/// hands on, so that the stream can be taken out after the switch.
#[derive(Debug)]
pub(crate) struct Carrier<IO> {
    source: Source<IO>,
    incoming: Incoming,
    /// Framed and not written yet.
    outgoing: Vec<u8>,
    written: usize,
    /// Bytes of the side exchange that have arrived.
    side: Vec<u8>,
    /// The chunks in which they came.
    side_chunks: usize,
    /// Bytes of the TLS connection that have arrived during the exchange.
    tls: Vec<u8>,
    received: Volume,
    sent: Volume,
    switched: bool,
}

/// A connection, of which some bytes have been read already.
#[derive(Debug)]
struct Source<IO> {
    io: IO,
    ahead: Vec<u8>,
    taken: usize,
}

impl<IO: AsyncRead + Unpin> Source<IO> {
    /// Reads at least one byte.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let ahead = &self.ahead[self.taken..];
        if !ahead.is_empty() {
            let len = ahead.len().min(buffer.len());
            buffer[..len].copy_from_slice(&ahead[..len]);
            self.taken += len;
            return Poll::Ready(Ok(len));
        }
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        Poll::Ready(match buffer.filled().len() {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        })
    }
}

/// The bytes of one direction, with their headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Those for the first subflow.
    pub(crate) tls: u64,
    /// Those for the second subflow.
    pub(crate) side: u64,
}

/// The part of the framing that is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    Greeting {
        bytes: [u8; 8],
        len: usize,
    },
    Header {
        bytes: [u8; CHUNK_HEADER],
        len: usize,
    },
    Tls(usize),
    Side(usize),
    Switched(Exchange),
}

const HEADER: Incoming = Incoming::Header {
    bytes: [0; CHUNK_HEADER],
    len: 0,
};

impl<IO: AsyncRead + AsyncWrite + Unpin> Carrier<IO> {
    /// The end of a client, or of a server that has read these first bytes of the client.
    pub(crate) fn new(io: IO, ahead: Vec<u8>) -> Self {
        Self {
            source: Source {
                io,
                ahead,
                taken: 0,
            },
            incoming: Incoming::Greeting {
                bytes: [0; 8],
                len: 0,
            },
            outgoing: CARRIER_GREETING.to_vec(),
            written: 0,
            side: Vec::new(),
            side_chunks: 0,
            tls: Vec::new(),
            received: Volume::default(),
            sent: Volume {
                tls: CARRIER_GREETING.len() as u64,
                side: 0,
            },
            switched: false,
        }
    }

    /// The bytes that have arrived.
    pub(crate) fn received(&self) -> Volume {
        self.received
    }

    /// The bytes that were sent.
    pub(crate) fn sent(&self) -> Volume {
        self.sent
    }

    /// The peer's result, once it has switched.
    pub(crate) fn peer_exchange(&self) -> Option<Exchange> {
        match self.incoming {
            Incoming::Switched(exchange) => Some(exchange),
            _ => None,
        }
    }

    /// Takes the bytes of the side exchange that have arrived.
    pub(crate) fn take_side(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.side)
    }

    /// Reads until bytes of the side exchange are there, or the peer has switched. Safe to drop.
    ///
    /// # Errors
    /// If the connection breaks, ends, or is framed wrongly.
    pub(crate) async fn read_side(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while self.side.is_empty() && self.peer_exchange().is_none() {
                ready!(self.poll_step(cx))?;
                if let Incoming::Tls(left) = self.incoming {
                    ready!(self.poll_keep_tls(cx, left))?;
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Reads what has arrived, and waits for nothing.
    ///
    /// # Errors
    /// As [`read_side`](Self::read_side).
    pub(crate) async fn read_arrived(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while self.peer_exchange().is_none() {
                let read = match self.incoming {
                    Incoming::Tls(left) => self.poll_keep_tls(cx, left),
                    _ => self.poll_step(cx),
                };
                match read {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Sends bytes of the side exchange, in one chunk.
    pub(crate) async fn send_side(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent.side += (CHUNK_HEADER + bytes.len()) as u64;
        self.send(Chunk::Side(bytes.len()), bytes).await
    }

    /// Ends the framing in this direction.
    pub(crate) async fn switch(&mut self, exchange: Exchange) -> io::Result<()> {
        self.send(Chunk::Switch(exchange), &[]).await?;
        self.switched = true;
        Ok(())
    }

    async fn send(&mut self, chunk: Chunk, body: &[u8]) -> io::Result<()> {
        self.outgoing.extend_from_slice(&chunk.header());
        self.outgoing.extend_from_slice(body);
        self.flush().await
    }

    /// The stream, whose further bytes are those of the TLS connection, and such bytes that are
    /// already here. Both ends have switched.
    pub(crate) fn into_parts(self) -> (IO, Vec<u8>) {
        (self.source.io, self.tls)
    }

    /// Reads on to the next byte of the TLS connection, or the switch.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.incoming {
            Incoming::Greeting { mut bytes, mut len } => {
                let read = ready!(self.source.poll_read(cx, &mut bytes[len..]));
                let read = read.map_err(without_greeting)?;
                len += read;
                self.received.tls += read as u64;
                self.incoming = match len == bytes.len() {
                    true => HEADER,
                    false => Incoming::Greeting { bytes, len },
                };
                if !CARRIER_GREETING.starts_with(&bytes[..len]) {
                    return Poll::Ready(Err(invalid(CarrierError::NotTheGreeting)));
                }
            }
            Incoming::Header { mut bytes, mut len } => {
                len += ready!(self.source.poll_read(cx, &mut bytes[len..]))?;
                self.incoming = match len == bytes.len() {
                    true => self.chunk(bytes).map_err(invalid)?,
                    false => Incoming::Header { bytes, len },
                };
            }
            Incoming::Side(left) => {
                let start = self.side.len();
                self.side.resize(start + left, 0);
                let read = self.source.poll_read(cx, &mut self.side[start..]);
                let len = match &read {
                    Poll::Ready(Ok(len)) => *len,
                    _ => 0,
                };
                self.side.truncate(start + len);
                ready!(read)?;
                self.received.side += len as u64;
                self.incoming = rest(left - len, Incoming::Side);
            }
            Incoming::Tls(_) | Incoming::Switched(_) => {}
        }
        Poll::Ready(Ok(()))
    }

    fn chunk(&mut self, header: [u8; CHUNK_HEADER]) -> Result<Incoming, CarrierError> {
        let chunk = Chunk::parse(header)?;
        Ok(match chunk {
            Chunk::Tls(len) => {
                self.received.tls += CHUNK_HEADER as u64;
                Incoming::Tls(len)
            }
            Chunk::Side(len) => {
                self.received.side += CHUNK_HEADER as u64;
                self.side_chunks += 1;
                let total = self.received.side + len as u64;
                if total > MAX_SIDE_BYTES as u64 || self.side_chunks > MAX_SIDE_CHUNKS {
                    return Err(CarrierError::TooMuch);
                }
                Incoming::Side(len)
            }
            Chunk::Switch(exchange) => Incoming::Switched(exchange),
        })
    }

    /// Keeps bytes of the TLS connection until the end of the side exchange.
    fn poll_keep_tls(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        let mut buffer = [0; READ_PART];
        let len = left.min(buffer.len());
        let read = ready!(self.source.poll_read(cx, &mut buffer[..len]))?;
        if self.tls.len() + read > MAX_TLS_WAITING {
            return Poll::Ready(Err(invalid(CarrierError::TooMuch)));
        }
        self.tls.extend_from_slice(&buffer[..read]);
        self.received.tls += read as u64;
        self.incoming = rest(left - read, Incoming::Tls);
        Poll::Ready(Ok(()))
    }

    fn poll_write_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            let bytes = &self.outgoing[self.written..];
            let written = ready!(Pin::new(&mut self.source.io).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.outgoing.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

fn rest(left: usize, more: fn(usize) -> Incoming) -> Incoming {
    match left {
        0 => HEADER,
        left => more(left),
    }
}

/// The reason of a peer that closes before it has greeted.
fn without_greeting(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid(CarrierError::NotTheGreeting),
        _ => error,
    }
}

fn invalid(error: CarrierError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The bytes of the TLS connection.
impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Carrier<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.incoming {
                Incoming::Switched(_) => return Pin::new(&mut self.source.io).poll_read(cx, buf),
                Incoming::Tls(left) => {
                    let mut part = [0; READ_PART];
                    let len = left.min(buf.remaining()).min(part.len());
                    let read = ready!(self.source.poll_read(cx, &mut part[..len]))?;
                    buf.put_slice(&part[..read]);
                    self.received.tls += read as u64;
                    self.incoming = rest(left - read, Incoming::Tls);
                    return Poll::Ready(Ok(()));
                }
                _ => ready!(self.poll_step(cx))?,
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Carrier<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_outgoing(cx))?;
        if self.switched {
            return Pin::new(&mut self.source.io).poll_write(cx, buf);
        }
        let len = buf.len().min(MAX_TLS_CHUNK);
        if len > 0 {
            self.outgoing.extend_from_slice(&Chunk::Tls(len).header());
            self.outgoing.extend_from_slice(&buf[..len]);
            self.sent.tls += (CHUNK_HEADER + len) as u64;
        }
        // The rest is written with the next bytes, or by a flush.
        let _ = self.poll_write_outgoing(cx)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_outgoing(cx))?;
        Pin::new(&mut self.source.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_outgoing(cx))?;
        Pin::new(&mut self.source.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::carrier::MAX_SIDE_CHUNKS;

    /// Reads Side chunks of these lengths; the error of the last one.
    async fn read(lengths: &[usize]) -> io::Result<()> {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut carrier = Carrier::new(near, Vec::new());
        far.write_all(&CARRIER_GREETING).await?;
        for &len in lengths {
            far.write_all(&Chunk::Side(len).header()).await?;
            far.write_all(&vec![7; len]).await?;
            carrier.read_side().await?;
            assert_eq!(carrier.take_side().len(), len);
        }
        Ok(())
    }

    async fn refusal(lengths: &[usize]) -> Option<CarrierError> {
        let error = read(lengths).await.err()?;
        error.get_ref()?.downcast_ref().copied()
    }

    #[tokio::test]
    async fn the_chunks_of_an_exchange_are_bounded_in_number() {
        assert_eq!(refusal(&[1; MAX_SIDE_CHUNKS]).await, None);
        let more = [1; MAX_SIDE_CHUNKS + 1];
        assert_eq!(refusal(&more).await, Some(CarrierError::TooMuch));
    }

    #[tokio::test]
    async fn the_bytes_of_an_exchange_are_bounded() {
        let fits = MAX_SIDE_BYTES / 8 - CHUNK_HEADER;
        assert_eq!(refusal(&[fits; 8]).await, None);
        assert_eq!(
            refusal(&[fits, fits, fits, fits, fits, fits, fits, fits + 1]).await,
            Some(CarrierError::TooMuch)
        );
    }
}
