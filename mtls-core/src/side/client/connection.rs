//! One side connection of a client: dialled once, shared by many verifications.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::path::{DialError, Dialed};
use crate::proto::binding::Association;
use crate::proto::client::Peer;
use crate::proto::frame::{Frame, FrameReader, GREETING};
use crate::tls::io::read_some;
use crate::verdict::{PathReport, PathRole};

/// The most commands that wait for a side connection's task.
const COMMANDS: usize = 256;
/// The most frames that wait for one verification: an honest server sends at most two.
const EVENTS: usize = 8;
/// The longest time that a write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A side connection that verifications can share; clones are the same connection.
#[derive(Clone, Debug)]
pub(crate) struct SideConnection {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct Shared {
    peer: AtomicU8,
    users: AtomicUsize,
    /// Known once it is connected.
    report: OnceLock<PathReport>,
}

/// One verification's end of a side connection. Dropping it gives its place up.
#[derive(Debug)]
pub(crate) struct SideLink {
    connection: SideConnection,
    association: Association,
    events: mpsc::Receiver<SideEvent>,
    /// Was the connection there before this verification?
    pub(crate) reused: bool,
}

/// An event of a side connection for a verification.
#[derive(Clone, Debug)]
pub(crate) enum SideEvent {
    Frame(Frame),
    /// Bytes that are not the side protocol.
    Garbage,
    /// The connection has ended.
    Ended,
    /// It was never connected.
    DialFailed(Arc<DialError>),
}

#[derive(Debug)]
enum Command {
    Attach(Association, mpsc::Sender<SideEvent>),
    Send(Frame),
    Detach(Association),
}

impl SideConnection {
    /// Dials in a task of its own. The connection closes after `idle` without a verification.
    pub(crate) fn dial<S>(
        dial: BoxFuture<'static, Result<Dialed<S>, DialError>>,
        idle: Duration,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared {
            peer: AtomicU8::new(Peer::Dialling as u8),
            users: AtomicUsize::new(0),
            report: OnceLock::new(),
        });
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let task = Task {
            shared: Arc::clone(&shared),
            commands: receiver,
            users: HashMap::new(),
            outgoing: Vec::new(),
            idle,
        };
        tokio::spawn(task.run(dial));
        Self { shared, commands }
    }

    /// Can it take another verification?
    pub(crate) fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    pub(crate) fn users(&self) -> usize {
        self.shared.users.load(Ordering::Relaxed)
    }

    /// Joins the connection. `None` when it has just ended, or has too much to do.
    pub(crate) fn attach(&self, association: Association) -> Option<SideLink> {
        let (sender, events) = mpsc::channel(EVENTS);
        let reused = self.shared.peer() != Peer::Dialling;
        self.commands
            .try_send(Command::Attach(association, sender))
            .ok()?;
        self.shared.users.fetch_add(1, Ordering::Relaxed);
        Some(SideLink {
            connection: self.clone(),
            association,
            events,
            reused,
        })
    }
}

impl Shared {
    fn peer(&self) -> Peer {
        match self.peer.load(Ordering::Acquire) {
            0 => Peer::Dialling,
            1 => Peer::Connected,
            _ => Peer::Greeted,
        }
    }

    fn set_peer(&self, peer: Peer) {
        self.peer.store(peer as u8, Ordering::Release);
    }
}

impl SideLink {
    /// The progress of the connection.
    pub(crate) fn peer(&self) -> Peer {
        self.connection.shared.peer()
    }

    /// The path of the connection, once it is connected.
    pub(crate) fn report(&self) -> Option<&PathReport> {
        self.connection.shared.report.get()
    }

    /// Queues a frame. A connection that does not take it has as good as ended.
    pub(crate) fn send(&self, frame: Frame) -> bool {
        self.connection
            .commands
            .try_send(Command::Send(frame))
            .is_ok()
    }

    /// The next event; safe to drop.
    pub(crate) fn poll_event(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<SideEvent> {
        self.events
            .poll_recv(cx)
            .map(|event| event.unwrap_or(SideEvent::Ended))
    }
}

impl Drop for SideLink {
    fn drop(&mut self) {
        self.connection.shared.users.fetch_sub(1, Ordering::Relaxed);
        // If the queue is full, the task notices by itself that the receiver is closed.
        let _ = self
            .connection
            .commands
            .try_send(Command::Detach(self.association));
    }
}

/// The task that owns the socket: the one writer, so that no Confirm overtakes its Open.
struct Task {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    users: HashMap<Association, mpsc::Sender<SideEvent>>,
    outgoing: Vec<u8>,
    idle: Duration,
}

impl Task {
    async fn run<S>(mut self, dial: BoxFuture<'static, Result<Dialed<S>, DialError>>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let dialed = match dial.await {
            Ok(dialed) => dialed,
            Err(error) => {
                tracing::debug!(%error, "side path not connected");
                return self.end(&SideEvent::DialFailed(Arc::new(error)));
            }
        };
        tracing::debug!(via = %dialed.via, peer = ?dialed.peer, "side path connected");
        let report = PathReport::dialed(PathRole::Side, &dialed);
        let _ = self.shared.report.set(report);
        let mut stream = dialed.stream;
        self.shared.set_peer(Peer::Connected);
        self.outgoing.extend_from_slice(&GREETING);
        let ending = match self.send_waiting(&mut stream).await {
            Ok(()) => self.exchange(stream).await,
            Err(_) => SideEvent::Ended,
        };
        self.end(&ending);
    }

    /// Sends all that waits, the greeting with it.
    async fn send_waiting<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        self.handle_commands();
        self.flush(stream).await
    }

    /// Moves frames both ways until the connection ends; says how.
    async fn exchange<S>(&mut self, mut stream: S) -> SideEvent
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut reader = FrameReader::new();
        let mut idle_at = Instant::now() + self.idle;
        loop {
            if let Err(error) = self.send_waiting(&mut stream).await {
                return self.read_rest(stream, reader, &error).await;
            }
            let idle = self.users.is_empty();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => return SideEvent::Ended,
                },
                received = read_some(&mut stream) => {
                    if let Err(ending) = self.take(received, &mut reader) {
                        return ending;
                    }
                }
                () = sleep_until(idle_at), if idle => return SideEvent::Ended,
            }
            if !self.users.is_empty() {
                idle_at = Instant::now() + self.idle;
            }
        }
    }

    /// Reads what the server sent before it closed: a write that failed first must not hide that the server
    /// has greeted.
    async fn read_rest<S: AsyncRead + Unpin>(
        &mut self,
        mut stream: S,
        mut reader: FrameReader,
        failed: &io::Error,
    ) -> SideEvent {
        if failed.kind() == io::ErrorKind::TimedOut {
            return SideEvent::Ended;
        }
        let rest = async {
            loop {
                let received = read_some(&mut stream).await;
                if let Err(ending) = self.take(received, &mut reader) {
                    return ending;
                }
            }
        };
        timeout(WRITE_TIMEOUT, rest)
            .await
            .unwrap_or(SideEvent::Ended)
    }

    /// Handles what has been read, or says how the connection has ended.
    fn take(
        &mut self,
        received: io::Result<Vec<u8>>,
        reader: &mut FrameReader,
    ) -> Result<(), SideEvent> {
        let received = received.unwrap_or_default();
        if received.is_empty() {
            return Err(SideEvent::Ended);
        }
        let taken = reader.read(&received, |frame| self.deliver(frame));
        // Garbage in the same read must not hide that the server has greeted.
        if reader.greeted() {
            self.shared.set_peer(Peer::Greeted);
        }
        taken.map_err(|_| SideEvent::Garbage)
    }

    fn handle_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.handle_command(command);
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Attach(association, events) => {
                self.users.retain(|_, user| !user.is_closed());
                self.users.insert(association, events);
            }
            Command::Send(frame) => frame.encode(&mut self.outgoing),
            Command::Detach(association) => {
                self.users.remove(&association);
            }
        }
    }

    fn deliver(&mut self, frame: Frame) {
        // A frame about a handshake that no verification waits for has crossed its end; one that
        // finds its queue full is one too many, and its verification sees the sender go.
        if let Some(user) = self.users.get(&frame.association)
            && user.try_send(SideEvent::Frame(frame)).is_err()
        {
            self.users.remove(&frame.association);
        }
    }

    async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE_TIMEOUT, async {
            stream.write_all(&self.outgoing).await?;
            stream.flush().await
        });
        written.await??;
        self.outgoing.clear();
        Ok(())
    }

    /// Sends the ending to all verifications, those in the queue included, and accepts no more.
    fn end(mut self, ending: &SideEvent) {
        self.commands.close();
        self.handle_commands();
        for user in self.users.values() {
            // One whose queue is full sees the sender go.
            let _ = user.try_send(ending.clone());
        }
    }
}
