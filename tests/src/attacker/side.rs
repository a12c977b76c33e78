//! The attacker on a side path.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mtls_core::MultipathAcceptor;
use mtls_core::proto::frame::{Frame, FrameReader, GREETING};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::eavesdropper::Notes;
use super::forger::forge;
use crate::Result;
use crate::tasks::Listening;

/// The behaviour of a [`SideAttacker`] on each side connection.
#[derive(Clone)]
pub enum SideAttack {
    /// Relays it, and looks on.
    Watch,
    /// Resets it at once.
    Reset,
    /// Accepts it and never sends anything.
    Swallow,
    /// Sends these bytes, whatever the client sends, and then nothing.
    Send(Vec<u8>),
    /// Sends these bytes and closes.
    SendAndClose(Vec<u8>),
    /// Relays it byte by byte, with a pause before each.
    Slow(Duration),
    /// Relays it, and changes the server's bytes.
    Bytes(Tamper),
    /// Relays it, and does this with each frame.
    Frames(Arc<FrameAttack>),
    /// Answers for the man in the middle, with its secrets.
    AnswerForMitm(MultipathAcceptor),
    /// Answers for the server by the hello binding, with the hellos from an eavesdropper on the
    /// primary path.
    Forge(Notes),
}

/// Handles each frame of a side connection and its sender.
pub type FrameAttack = dyn Fn(End, Frame) -> Step + Send + Sync;

/// A change to the bytes that the server sends; places are counted from the first byte of its
/// greeting.
#[derive(Clone, Debug)]
pub enum Tamper {
    /// This bit is the other way round.
    Flip {
        /// From 0: the highest bit of the first byte.
        bit: usize,
    },
    /// After so many bytes the connection is closed.
    Truncate {
        /// How many pass.
        at: usize,
    },
    /// These bytes are added.
    Insert {
        /// How many pass before.
        at: usize,
        /// The inserted bytes.
        bytes: Vec<u8>,
    },
}

/// One end of a side connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that dialled.
    Client,
    /// The one that accepted.
    Server,
}

/// The result of handling one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Frames to send to the client.
    pub to_client: Vec<Frame>,
    /// Frames to send to the server.
    pub to_server: Vec<Frame>,
    /// Whether to close the connection then.
    pub close: bool,
}

impl Step {
    /// The frame goes on to where it was meant to go.
    pub fn pass(from: End, frame: Frame) -> Self {
        Self::send(from, vec![frame])
    }

    /// These go on in its place.
    pub fn send(from: End, frames: Vec<Frame>) -> Self {
        match from {
            End::Client => Self {
                to_server: frames,
                ..Self::default()
            },
            End::Server => Self {
                to_client: frames,
                ..Self::default()
            },
        }
    }

    /// Nothing goes on.
    pub fn keep() -> Self {
        Self::default()
    }

    /// The connection is closed.
    pub fn close() -> Self {
        Self {
            close: true,
            ..Self::default()
        }
    }
}

/// The frames that an attacker has seen, in their order.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Vec<(End, Frame)>>>);

impl Record {
    /// All so far.
    pub fn frames(&self) -> Vec<(End, Frame)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, from: End, frame: Frame) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((from, frame));
    }
}

/// An attacker on a side path.
#[derive(Debug)]
pub struct SideAttacker {
    record: Record,
    listening: Listening,
}

impl SideAttacker {
    /// Listens at `address`, in front of the side verifier at `server`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn start(
        address: SocketAddr,
        server: SocketAddr,
        attack: SideAttack,
    ) -> Result<Self> {
        let record = Record::default();
        let seen = record.clone();
        let listening = Listening::start(address, move |client, peer| {
            let connection = Connection {
                client,
                peer,
                server,
                record: seen.clone(),
            };
            let attack = attack.clone();
            async move {
                // The victim reports the result.
                let _ = connection.run(attack).await;
            }
        })
        .await?;
        Ok(Self { record, listening })
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// How many side connections were made to it.
    pub fn connections(&self) -> usize {
        self.listening.accepted()
    }

    /// The frames that it has seen, where it reads frames.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Cuts every connection that there is now.
    pub fn cut(&self) {
        self.listening.connections.abort_all();
    }
}

struct Connection {
    client: TcpStream,
    peer: SocketAddr,
    server: SocketAddr,
    record: Record,
}

impl Connection {
    async fn run(mut self, attack: SideAttack) -> Result {
        match attack {
            SideAttack::Reset => self.client.set_zero_linger()?,
            SideAttack::Swallow => self.swallow().await?,
            SideAttack::Send(bytes) => {
                self.client.write_all(&bytes).await?;
                self.swallow().await?;
            }
            SideAttack::SendAndClose(bytes) => self.client.write_all(&bytes).await?,
            SideAttack::Slow(pause) => self.relay_slowly(pause).await?,
            SideAttack::Bytes(tamper) => self.change_bytes(&tamper).await?,
            SideAttack::Watch => self.frames(&Step::pass).await?,
            SideAttack::Frames(attack) => self.frames(&*attack).await?,
            SideAttack::Forge(notes) => forge(self.client, self.server, notes).await?,
            SideAttack::AnswerForMitm(acceptor) => {
                acceptor.accept_side(self.client, self.peer).run().await?;
            }
        }
        Ok(())
    }

    /// Reads until the client gives up.
    async fn swallow(&mut self) -> Result {
        let mut buffer = [0; 1024];
        while self.client.read(&mut buffer).await? > 0 {}
        Ok(())
    }

    async fn relay_slowly(mut self, pause: Duration) -> Result {
        let mut server = self.connect_to_server().await?;
        let (mut from_client, mut to_client) = self.client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            result = relay_slowly(&mut from_client, &mut to_server, pause) => result,
            result = relay_slowly(&mut from_server, &mut to_client, pause) => result,
        }
    }

    async fn change_bytes(mut self, tamper: &Tamper) -> Result {
        let mut server = self.connect_to_server().await?;
        let (mut from_client, mut to_client) = self.client.split();
        let (mut from_server, mut to_server) = server.split();
        let changed = async {
            let (mut passed, mut buffer) = (0, [0; 1024]);
            loop {
                let read = from_server.read(&mut buffer).await?;
                let (bytes, closes) = tamper.apply(passed, &buffer[..read]);
                to_client.write_all(&bytes).await?;
                if closes || read == 0 {
                    return Ok::<_, std::io::Error>(());
                }
                passed += read;
            }
        };
        tokio::select! {
            result = tokio::io::copy(&mut from_client, &mut to_server) => result.map(drop)?,
            result = changed => result?,
        }
        Ok(())
    }

    async fn frames(mut self, attack: &(impl Fn(End, Frame) -> Step + ?Sized)) -> Result {
        let mut server = self.connect_to_server().await?;
        self.client.write_all(&GREETING).await?;
        server.write_all(&GREETING).await?;
        let (mut client_reader, mut server_reader) = (FrameReader::new(), FrameReader::new());
        let (mut from_client, mut from_server) = ([0; 1024], [0; 1024]);
        loop {
            let mut frames = Vec::new();
            tokio::select! {
                read = self.client.read(&mut from_client) => match read? {
                    0 => return Ok(()),
                    read => client_reader
                        .read(&from_client[..read], |frame| frames.push((End::Client, frame)))?,
                },
                read = server.read(&mut from_server) => match read? {
                    0 => return Ok(()),
                    read => server_reader
                        .read(&from_server[..read], |frame| frames.push((End::Server, frame)))?,
                },
            }
            for (from, frame) in frames {
                self.record.note(from, frame);
                let step = attack(from, frame);
                self.client.write_all(&encode(&step.to_client)).await?;
                server.write_all(&encode(&step.to_server)).await?;
                if step.close {
                    return Ok(());
                }
            }
        }
    }

    async fn connect_to_server(&self) -> Result<TcpStream> {
        let server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        Ok(server)
    }
}

impl Tamper {
    /// The changed `bytes`, which follow `passed` earlier ones, and whether the connection ends there.
    fn apply(&self, passed: usize, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut changed = bytes.to_vec();
        let within = |place: usize| {
            place
                .checked_sub(passed)
                .filter(|&place| place < bytes.len())
        };
        match self {
            Self::Flip { bit } => {
                if let Some(place) = within(bit / 8) {
                    changed[place] ^= 0x80 >> (bit % 8);
                }
            }
            Self::Truncate { at } => {
                let left = at.saturating_sub(passed);
                if left <= bytes.len() {
                    changed.truncate(left);
                    return (changed, true);
                }
            }
            Self::Insert { at, bytes } => {
                if let Some(place) = within(*at) {
                    changed.splice(place..place, bytes.iter().copied());
                }
            }
        }
        (changed, false)
    }
}

async fn relay_slowly(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    pause: Duration,
) -> Result {
    loop {
        let byte = from.read_u8().await?;
        sleep(pause).await;
        to.write_u8(byte).await?;
    }
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

impl fmt::Debug for SideAttack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "Watch",
            Self::Reset => "Reset",
            Self::Swallow => "Swallow",
            Self::Send(_) => "Send",
            Self::SendAndClose(_) => "SendAndClose",
            Self::Slow(_) => "Slow",
            Self::Bytes(tamper) => return tamper.fmt(f),
            Self::Frames(_) => "Frames",
            Self::AnswerForMitm(_) => "AnswerForMitm",
            Self::Forge(_) => "Forge",
        })
    }
}
