//! A client of the side protocol that sends given frames.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use mtls_core::proto::frame::{Frame, FrameReader, GREETING};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::Result;

/// One side connection, driven by hand.
#[derive(Debug)]
pub struct SideClient {
    stream: TcpStream,
    reader: FrameReader,
    frames: VecDeque<Frame>,
}

impl SideClient {
    /// Connects and greets, from this address if one is given.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn connect(to: SocketAddr, from: Option<IpAddr>) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let mut stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&GREETING).await?;
        Ok(Self {
            stream,
            reader: FrameReader::new(),
            frames: VecDeque::new(),
        })
    }

    /// Sends frames in one piece.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn send(&mut self, frames: &[Frame]) -> Result {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The server's next frame; `None` when it has closed.
    ///
    /// # Errors
    /// When the connection broke, or what came is no frame.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        let mut buffer = [0; 1024];
        while self.frames.is_empty() {
            let read = self.stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(None);
            }
            let frames = &mut self.frames;
            self.reader
                .read(&buffer[..read], |frame| frames.push_back(frame))?;
        }
        Ok(self.frames.pop_front())
    }
}
