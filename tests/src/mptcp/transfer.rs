//! One transfer over a verified connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mtls_core::path::Path;
use mtls_core::{
    ClientSettings, ClientStream, Incoming, ListenerLimits, MultipathAcceptor, MultipathListener,
    Policy, ServerStream, SideServiceSettings, Verdict,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::link::{Link, LinkSettings, TwoLinks};
use crate::netns::SERVER;
use crate::sockets::mptcp_listener;
use crate::{Result, Victim, World};

const PORT: u16 = 443;
const CHUNK: usize = 16 * 1024;
/// The limit of a verification, which is not what is measured.
const DEADLINE: Duration = Duration::from_secs(30);

/// The end that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The server.
    Download,
    /// The client.
    Upload,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Download => "download",
            Self::Upload => "upload",
        })
    }
}

/// A transfer between a client with two paths and a server.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The end that sends.
    pub direction: Direction,
    /// The number of bytes.
    pub bytes: usize,
    /// The primary path.
    pub primary: Path,
    /// The side path.
    pub side: Path,
    /// The first link is cut, both ways, when so many bytes have arrived.
    pub cut_after: Option<usize>,
    /// Changes the settings of the client.
    pub tune: fn(ClientSettings) -> ClientSettings,
    /// The time in which the transfer must end.
    pub patience: Duration,
}

/// The result of a transfer, all of whose bytes have arrived.
#[derive(Debug)]
pub struct Transferred {
    /// The client's verdict.
    pub verdict: Verdict,
    /// The time from the verdict until the last byte was acknowledged.
    pub time: Duration,
    /// The number of connections that the server accepted.
    pub connections: usize,
    /// The bytes on each link, in the direction of the transfer.
    pub carried: [u64; 2],
}

impl Transfer {
    /// A transfer over Multipath TCP of 60 s at most, with no cut.
    #[must_use]
    pub fn new(direction: Direction, bytes: usize, side: Path) -> Self {
        Self {
            direction,
            bytes,
            primary: Path::system().mptcp(true),
            side,
            cut_after: None,
            tune: |settings| settings,
            patience: Duration::from_secs(60),
        }
    }

    /// Transfers the bytes.
    ///
    /// # Errors
    /// When the connection is not verified, or a byte does not arrive.
    pub async fn run(self, world: &World, links: &TwoLinks) -> Result<Transferred> {
        let arrived = Arc::new(AtomicUsize::new(0));
        let address = SocketAddr::new(SERVER, PORT);
        let victim = world
            .victim_of(address)?
            .primary_by(self.primary.clone())
            .side_by(self.side.clone(), address);
        let settings = SideServiceSettings::new(Policy::Require).deadline(DEADLINE);
        let acceptor =
            MultipathAcceptor::builder(Arc::new(world.server_config()?), settings).build()?;
        let (up, is_up) = oneshot::channel();
        let (server_job, server_arrived) = (self.clone(), Arc::clone(&arrived));
        let server = links.server.spawn(move || async move {
            let limits = ListenerLimits::default();
            let (tcp, accepted) = Counting::new(mptcp_listener(address)?);
            let mut listener = MultipathListener::new(acceptor, tcp, limits);
            let _ = up.send(());
            let (stream, _) = listener.accept().await;
            let patience = server_job.patience;
            timeout(patience, server_job.serve(stream, &server_arrived)).await??;
            Ok(accepted.load(Ordering::SeqCst))
        })?;
        is_up.await?;
        let (job, counter) = (self.clone(), Arc::clone(&arrived));
        let client = links.client.spawn(move || async move {
            let patience = job.patience;
            timeout(patience, job.request(victim, &counter)).await?
        })?;
        if let Some(after) = self.cut_after {
            crate::eventually("the transfer is under way", || {
                arrived.load(Ordering::SeqCst) >= after
            })
            .await?;
            links.set(0, dead()).await?;
        }
        let (verdict, time) = client.join().await?;
        let connections = server.join().await?;
        let way = match self.direction {
            Direction::Upload => 0,
            Direction::Download => 1,
        };
        Ok(Transferred {
            verdict,
            time,
            connections,
            carried: [0, 1].map(|link| links.carried(link)[way].bytes),
        })
    }

    async fn request(self, victim: Victim, arrived: &AtomicUsize) -> Result<(Verdict, Duration)> {
        let settings = victim.settings(Policy::Require).deadline(DEADLINE);
        let settings = (self.tune)(settings);
        let connector = victim.connector_with(settings)?.build()?;
        let mut stream: ClientStream<TcpStream> = connector.connect(&victim.target()).await?;
        // Looks the routes up, which are those of this thread's namespace.
        stream.verdict().independence();
        let (verdict, started) = (stream.verdict(), Instant::now());
        match self.direction {
            Direction::Upload => send(&mut stream, self.bytes).await?,
            Direction::Download => stream.write_all(&[0]).await?,
        }
        stream.flush().await?;
        match self.direction {
            Direction::Upload => receive(&mut stream, 1, &AtomicUsize::new(0)).await?,
            Direction::Download => receive(&mut stream, self.bytes, arrived).await?,
        }
        Ok((verdict, started.elapsed()))
    }

    async fn serve(self, mut stream: ServerStream<TcpStream>, arrived: &AtomicUsize) -> Result {
        match self.direction {
            Direction::Upload => {
                receive(&mut stream, self.bytes, arrived).await?;
                stream.write_all(&[0]).await?;
            }
            Direction::Download => {
                receive(&mut stream, 1, &AtomicUsize::new(0)).await?;
                send(&mut stream, self.bytes).await?;
            }
        }
        stream.flush().await?;
        // The peer closes when it has everything.
        let _ = stream.read(&mut [0]).await;
        Ok(())
    }
}

/// A listener that counts its connections.
struct Counting {
    listener: TcpListener,
    accepted: Arc<AtomicUsize>,
}

impl Counting {
    fn new(listener: TcpListener) -> (Self, Arc<AtomicUsize>) {
        let accepted = Arc::new(AtomicUsize::new(0));
        let counting = Self {
            listener,
            accepted: Arc::clone(&accepted),
        };
        (counting, accepted)
    }
}

impl Incoming for Counting {
    type Stream = TcpStream;

    async fn accept(&mut self) -> std::io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.listener.accept().await?;
        accepted.0.set_nodelay(true)?;
        self.accepted.fetch_add(1, Ordering::SeqCst);
        Ok(accepted)
    }
}

/// Bytes that depend on their position, so that no lost or repeated one goes unnoticed.
fn pattern(position: usize) -> u8 {
    (position % 251) as u8
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: usize) -> Result {
    let mut sent = 0;
    while sent < bytes {
        let len = CHUNK.min(bytes - sent);
        let chunk: Vec<_> = (sent..sent + len).map(pattern).collect();
        stream.write_all(&chunk).await?;
        sent += len;
    }
    Ok(())
}

/// Receives so many bytes; of more than one, each must be the right one.
async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: usize,
    arrived: &AtomicUsize,
) -> Result {
    let mut buffer = vec![0; CHUNK];
    let mut position = 0;
    while position < bytes {
        let len = CHUNK.min(bytes - position);
        let read = stream.read(&mut buffer[..len]).await?;
        if read == 0 {
            return Err(format!("the connection ended after {position} bytes").into());
        }
        let expected = (position..position + read).map(pattern);
        if !buffer[..read].iter().copied().eq(expected) {
            return Err(format!("other bytes than those that were sent, after {position}").into());
        }
        position += read;
        arrived.store(position, Ordering::SeqCst);
    }
    Ok(())
}

/// A link that loses everything.
fn dead() -> Link {
    Link::both(LinkSettings {
        loss: 1.0,
        ..LinkSettings::default()
    })
}
