//! What the ends say to one another once they may: a question, and the same back.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::noise::NoiseStream;
use crate::Result;

const QUESTION: [u8; 8] = *b"question";

/// Asks once, and demands the right answer.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result {
    stream.write_all(&QUESTION).await?;
    stream.flush().await?;
    let mut answer = [0; QUESTION.len()];
    stream.read_exact(&mut answer).await?;
    right(&answer)
}

/// Answers until the client closes.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result {
    let mut question = [0; QUESTION.len()];
    while stream.read_exact(&mut question).await.is_ok() {
        stream.write_all(&question).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// [`ask`] over Noise.
pub(super) async fn ask_noise<S>(stream: &mut NoiseStream<S>) -> Result
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.send(&QUESTION).await?;
    right(&stream.receive().await?)
}

/// [`answer`] over Noise.
pub(super) async fn answer_noise<S>(mut stream: NoiseStream<S>) -> Result
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Ok(question) = stream.receive().await {
        stream.send(&question).await?;
    }
    Ok(())
}

fn right(answer: &[u8]) -> Result {
    match answer == QUESTION {
        true => Ok(()),
        false => Err("the server gave another answer than was asked for".into()),
    }
}
