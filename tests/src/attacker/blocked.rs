//! Places where no connection comes about.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Result;

/// How long a connection to a black hole may take to come about after all.
const PROBE: Duration = Duration::from_secs(1);
/// How many connections the system may let in although the backlog has no place.
const MAX_FILL: usize = 16;

/// A port that refuses connections. No other program can listen there.
#[derive(Debug)]
pub struct ClosedPort(
    SocketAddr,
    #[expect(dead_code, reason = "keeps the port")] Socket,
);

impl ClosedPort {
    /// Takes the port, and never listens.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn new(address: SocketAddr) -> Result<Self> {
        let (address, socket) = bind(address)?;
        Ok(Self(address, socket))
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.0
    }
}

/// A port that never answers: the kernel drops whatever comes, since the backlog is full.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _filling: Vec<TcpStream>,
}

impl BlackHole {
    /// Makes one, and makes sure that it is one.
    ///
    /// # Errors
    /// When the address is taken, or the system lets connections in for ever.
    pub async fn new(address: SocketAddr) -> Result<Self> {
        let (address, listener) = bind(address)?;
        listener.listen(0)?;
        let mut filling = Vec::new();
        while let Ok(connected) = timeout(PROBE, TcpStream::connect(address)).await {
            filling.push(connected?);
            if filling.len() > MAX_FILL {
                return Err("the system accepts more connections than the backlog holds".into());
            }
        }
        Ok(Self {
            address,
            _listener: listener,
            _filling: filling,
        })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bind(address: SocketAddr) -> Result<(SocketAddr, Socket)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket();
    Ok((address.ok_or("no address of the internet")?, socket))
}
