//! Noise NN (The Noise Protocol Framework, revision 34, section 7.5) over a stream, by snow: an
//! exchange of two messages, with the length in two bytes before each.

use snow::{Builder, HandshakeState, TransportState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Result;

const PATTERN: &str = "Noise_NN_25519_ChaChaPoly_SHA256";

/// The longest message (section 3 of the framework).
const MAX_MESSAGE: usize = 65_535;

/// A stream on which the exchange is done.
pub(super) struct NoiseStream<S> {
    stream: S,
    transport: TransportState,
    room: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> NoiseStream<S> {
    /// The client's end: it may send when this returns.
    pub(super) async fn initiate(mut stream: S) -> Result<Self> {
        let mut state = Builder::new(PATTERN.parse()?).build_initiator()?;
        let mut room = vec![0; MAX_MESSAGE];
        send_step(&mut stream, &mut state, &mut room).await?;
        receive_step(&mut stream, &mut state, &mut room).await?;
        Self::done(stream, state, room)
    }

    /// The server's end.
    pub(super) async fn respond(mut stream: S) -> Result<Self> {
        let mut state = Builder::new(PATTERN.parse()?).build_responder()?;
        let mut room = vec![0; MAX_MESSAGE];
        receive_step(&mut stream, &mut state, &mut room).await?;
        send_step(&mut stream, &mut state, &mut room).await?;
        Self::done(stream, state, room)
    }

    fn done(stream: S, state: HandshakeState, room: Vec<u8>) -> Result<Self> {
        Ok(Self {
            stream,
            transport: state.into_transport_mode()?,
            room,
        })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result {
        let len = self.transport.write_message(bytes, &mut self.room)?;
        send(&mut self.stream, &self.room[..len]).await
    }

    pub(super) async fn receive(&mut self) -> Result<Vec<u8>> {
        let message = receive(&mut self.stream).await?;
        let len = self.transport.read_message(&message, &mut self.room)?;
        Ok(self.room[..len].to_vec())
    }
}

async fn send_step<S: AsyncWrite + Unpin>(
    stream: &mut S,
    state: &mut HandshakeState,
    room: &mut [u8],
) -> Result {
    let len = state.write_message(&[], room)?;
    send(stream, &room[..len]).await
}

async fn receive_step<S: AsyncRead + Unpin>(
    stream: &mut S,
    state: &mut HandshakeState,
    room: &mut [u8],
) -> Result {
    let message = receive(stream).await?;
    state.read_message(&message, room)?;
    Ok(())
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> Result {
    let mut framed = u16::try_from(message.len())?.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    Ok(stream.flush().await?)
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_share_keys_and_nothing_passes_in_the_clear() -> Result {
        let (near, far) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let mut server = NoiseStream::respond(far).await?;
            let received = server.receive().await?;
            server.send(&received).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(received)
        });
        let mut client = NoiseStream::initiate(near).await?;
        client.send(b"question").await?;
        assert_eq!(client.receive().await?, b"question");
        assert_eq!(server.await??, b"question");
        Ok(())
    }
}
