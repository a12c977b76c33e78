//! An attacker next to the server, where all paths meet.

use std::net::SocketAddr;

use mtls_core::proto::frame::GREETING;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::Result;
use crate::tasks::Listening;

/// Forwards TLS connections to one attacker and side connections to another.
#[derive(Debug)]
pub struct Dispatcher(Listening);

impl Dispatcher {
    /// Listens at `address`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn start(address: SocketAddr, tls: SocketAddr, side: SocketAddr) -> Result<Self> {
        let listening = Listening::start(address, move |client, _| async move {
            let _ = lead(client, tls, side).await;
        })
        .await?;
        Ok(Self(listening))
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

async fn lead(mut client: TcpStream, tls: SocketAddr, side: SocketAddr) -> Result {
    let mut first = [0];
    client.peek(&mut first).await?;
    let to = match first[0] == GREETING[0] {
        true => side,
        false => tls,
    };
    let mut attacker = TcpStream::connect(to).await?;
    attacker.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut attacker).await?;
    Ok(())
}
