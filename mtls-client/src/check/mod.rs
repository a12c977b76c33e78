//! The command `check`.

use std::time::Duration;

use mtls_core::ClientStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Client, Whose};
use crate::exit::Exit;
use crate::messages::{self, Messages, Reports};
use crate::options::{Check, Settings, UsageError};

/// How long a server has to end a connection that was ended here.
const FAREWELL: Duration = Duration::from_millis(500);

/// Verifies one target after the other.
pub(crate) async fn check(command: &Check, settings: &Settings) -> Result<Exit, UsageError> {
    let targets = &command.targets;
    let client = Client::new(settings)?;
    let messages = Messages::new(settings, Reports::Stdout);
    let mut worst = Exit::Success;
    for target in targets {
        let until = settings.max_time.map(|limit| Instant::now() + limit);
        let whose = match targets.first() {
            Some(first) if first == target => Whose::First,
            _ => Whose::Another,
        };
        let (attempt, stream) = client.connect(target, whose, until).await;
        worst = worst.or_worse(attempt.exit());
        if let Err(failure) = messages.tell(&attempt) {
            messages::error(&failure);
            worst = worst.or_worse(failure.exit);
        }
        if let Some(stream) = stream {
            let _ = timeout(FAREWELL, part(stream)).await;
        }
    }
    Ok(worst)
}

/// Ends the connection in order: a server that requires verification sees a client that confirms
/// and then goes, not one that vanishes. What it still sends is thrown away.
async fn part(mut stream: ClientStream<TcpStream>) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut nothing = [0; 1024];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}
