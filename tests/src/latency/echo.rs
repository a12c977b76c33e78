//! One request and its response, which echoes it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::noise::NoiseStream;
use crate::Result;

const REQUEST: [u8; 8] = *b"request!";

/// Sends a request, and checks the response.
pub(super) async fn request<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result {
    stream.write_all(&REQUEST).await?;
    stream.flush().await?;
    let mut response = [0; REQUEST.len()];
    stream.read_exact(&mut response).await?;
    check(&response)
}

/// Responds until the client closes.
pub(super) async fn respond<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result {
    let mut request = [0; REQUEST.len()];
    while stream.read_exact(&mut request).await.is_ok() {
        stream.write_all(&request).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// [`request`] over Noise.
pub(super) async fn request_noise<S>(stream: &mut NoiseStream<S>) -> Result
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.send(&REQUEST).await?;
    check(&stream.receive().await?)
}

/// [`respond`] over Noise.
pub(super) async fn respond_noise<S>(mut stream: NoiseStream<S>) -> Result
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Ok(request) = stream.receive().await {
        stream.send(&request).await?;
    }
    Ok(())
}

fn check(response: &[u8]) -> Result {
    match response == REQUEST {
        true => Ok(()),
        false => Err("the server sent another response than expected".into()),
    }
}
