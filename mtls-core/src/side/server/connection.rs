//! One side connection of a server.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::service::{SideService, SideSlot, Verifications};
use crate::error::{Error, InvalidMessage};
use crate::observer::Event;
use crate::proto::binding::Association;
use crate::proto::frame::{Frame, FrameBody, FrameReader, GREETING, RejectCode};
use crate::proto::server::{Lookup, ServerEvent, ServerVerifier};
use crate::registry::{ConfirmedSide, LookupReply, LookupRequester, RegistryKey};
use crate::tls::io::read_some;

/// The longest time that a write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client's side connection, accepted: [`run`](Self::run) it in a task.
#[must_use = "a side connection does nothing until it is run"]
pub struct SideConnection<IO> {
    service: Arc<SideService>,
    io: IO,
    peer: SocketAddr,
    received: Vec<u8>,
    verifications: Verifications,
}

impl<IO> std::fmt::Debug for SideConnection<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SideConnection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl<IO> SideConnection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(
        service: Arc<SideService>,
        io: IO,
        peer: SocketAddr,
        received: Vec<u8>,
    ) -> Self {
        Self {
            verifications: service.count_verifications(),
            service,
            io,
            peer,
            received,
        }
    }

    /// Answers verifications until the client closes, falls idle, or breaks the protocol, or
    /// until its place is needed.
    ///
    /// # Errors
    /// [`Error::Io`] when the connection breaks, [`Error::InvalidMessage`] when the client breaks
    /// the protocol.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time driver.
    #[tracing::instrument(name = "side_connection", level = "debug", skip_all, fields(peer = %self.peer))]
    pub async fn run(self) -> Result<(), Error> {
        let Some((slot, evicted)) = self.service.acquire_slot(self.peer) else {
            tracing::debug!("no place for another side connection");
            self.service.notify(&Event::SideRefused);
            return refuse(self.io).await;
        };
        let driver = Driver {
            slot,
            io: self.io,
            peer: self.peer,
            reader: FrameReader::new(),
            verifier: ServerVerifier::new(self.service.settings.limits),
            lookups: Lookups::default(),
            outgoing: Vec::new(),
            verifications: self.verifications,
            confirmed_before: false,
            idle_at: Instant::now() + self.service.settings.unconfirmed_timeout,
            service: &self.service,
        };
        let result = tokio::select! {
            result = driver.run(&self.received) => result,
            _ = evicted => Ok(()),
        };
        result.inspect_err(|error| self.service.notify(&Event::SideFailed(error)))
    }
}

/// Sends the greeting and closes. A close without it would look like a server that does not speak the
/// protocol, and an attacker who fills the slots could make a client fall back.
async fn refuse<IO: AsyncWrite + Unpin>(mut io: IO) -> Result<(), Error> {
    let greeted = timeout(WRITE_TIMEOUT, async {
        io.write_all(&GREETING).await?;
        io.shutdown().await
    });
    Ok(greeted.await.map_err(std::io::Error::from)??)
}

/// The one task that reads, answers and writes.
struct Driver<'a, IO> {
    service: &'a SideService,
    slot: SideSlot,
    io: IO,
    peer: SocketAddr,
    reader: FrameReader,
    verifier: ServerVerifier,
    lookups: Lookups,
    outgoing: Vec<u8>,
    verifications: Verifications,
    confirmed_before: bool,
    idle_at: Instant,
}

/// The look-ups under way, one for each handshake at the most, as many as the machine allows.
#[derive(Default)]
struct Lookups(Vec<(Association, BoxFuture<'static, LookupReply>)>);

impl Lookups {
    fn start(&mut self, association: Association, lookup: BoxFuture<'static, LookupReply>) {
        self.cancel(association);
        self.0.push((association, lookup));
    }

    fn cancel(&mut self, association: Association) {
        self.0.retain(|(other, _)| *other != association);
    }

    /// The next answer; safe to drop.
    async fn next(&mut self) -> (Association, LookupReply) {
        poll_fn(|cx| {
            for index in 0..self.0.len() {
                if let Poll::Ready(reply) = self.0[index].1.poll_unpin(cx) {
                    let (association, _) = self.0.swap_remove(index);
                    return Poll::Ready((association, reply));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<IO> Driver<'_, IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    async fn run(mut self, received: &[u8]) -> Result<(), Error> {
        self.outgoing.extend_from_slice(&GREETING);
        self.handle_bytes(received).await?;
        loop {
            // An answer that is there already leaves with the greeting, in one segment.
            while let Some((association, reply)) = self.lookups.next().now_or_never() {
                self.handle_reply(association, &reply)?;
                self.handle_events();
            }
            self.flush().await?;
            let wake = self.verifier.poll_timeout().map(Instant::from_std);
            tokio::select! {
                received = read_some(&mut self.io) => {
                    let received = received?;
                    if received.is_empty() {
                        return Ok(self.reader.finish().map_err(InvalidMessage::Side)?);
                    }
                    self.handle_bytes(&received).await?;
                }
                (association, reply) = self.lookups.next() => {
                    self.handle_reply(association, &reply)?;
                    self.handle_events();
                }
                () = sleep_until(wake.unwrap_or(self.idle_at)) => {
                    let now = Instant::now();
                    if wake.is_none() && now >= self.idle_at {
                        return Ok(());
                    }
                    self.verifier.handle_timeout(now.into_std());
                    self.handle_events();
                }
            }
        }
    }

    /// Takes bytes from the client.
    async fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let now = Instant::now().into_std();
        let (verifier, service) = (&mut self.verifier, self.service);
        let mut last = None;
        let read = self.reader.read(bytes, |frame| {
            service.notify(&Event::FrameReceived(&frame.body));
            verifier.handle_frame(&frame, now);
            last = Some(frame.association);
        });
        self.handle_events();
        if let Err(error) = read {
            if let Some(association) = last {
                let code = RejectCode::Malformed;
                let body = FrameBody::Reject { code };
                self.service.notify(&Event::FrameSent(&body));
                Frame { association, body }.encode(&mut self.outgoing);
            }
            // Why, as far as it can be said; then the connection ends, whether that arrived or not.
            let _ = self.flush().await;
            return Err(InvalidMessage::Side(error).into());
        }
        if last.is_some() {
            self.idle_at = Instant::now() + self.idle_time();
        }
        Ok(())
    }

    fn handle_reply(&mut self, association: Association, reply: &LookupReply) -> Result<(), Error> {
        let lookup = match reply {
            LookupReply::Found(found) => Lookup::Found {
                registration: found.registration,
                keys: &found.keys,
            },
            LookupReply::Unknown => Lookup::Unknown,
            LookupReply::Busy => Lookup::Busy,
            LookupReply::Unavailable => Lookup::Unavailable,
        };
        let nonce = self.service.nonce()?;
        let now = Instant::now().into_std();
        self.verifier
            .handle_lookup(association, &lookup, nonce, now);
        Ok(())
    }

    /// Does what the machine says.
    fn handle_events(&mut self) {
        while let Some(event) = self.verifier.poll_event() {
            let service = self.service.settings.service;
            match event {
                ServerEvent::Lookup { association, mode } => {
                    let key = RegistryKey {
                        service,
                        association,
                    };
                    let requester = LookupRequester {
                        peer: self.peer.ip(),
                        confirmed_before: self.confirmed_before,
                    };
                    // The earlier look-up goes first: it may hold the place that this one needs.
                    self.lookups.cancel(association);
                    let lookup = self.service.registry.look_up(key, mode, requester);
                    self.lookups.start(association, lookup);
                }
                ServerEvent::CancelLookup(association) => self.lookups.cancel(association),
                ServerEvent::Confirmed(confirmation) => {
                    self.service.notify(&Event::Confirmed);
                    let peer = self.peer;
                    let confirmed = ConfirmedSide { confirmation, peer };
                    self.service.registry.confirm(service, confirmed);
                    self.mark_confirmed();
                }
                ServerEvent::Disputed(dispute) => {
                    self.service.notify(&Event::Disputed);
                    tracing::warn!(association = %dispute.association, "wrong value on a side connection");
                    self.service.registry.dispute(service, dispute);
                }
            }
        }
    }

    fn mark_confirmed(&mut self) {
        if !std::mem::replace(&mut self.confirmed_before, true) {
            self.service.confirm_slot(self.slot.id);
        }
        self.idle_at = Instant::now() + self.idle_time();
    }

    fn idle_time(&self) -> Duration {
        match self.confirmed_before {
            true => self.service.settings.idle_timeout,
            false => self.service.settings.unconfirmed_timeout,
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.verifications.set(self.verifier.exchanges());
        while let Some(frame) = self.verifier.poll_transmit() {
            self.service.notify(&Event::FrameSent(&frame.body));
            frame.encode(&mut self.outgoing);
        }
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE_TIMEOUT, async {
            self.io.write_all(&self.outgoing).await?;
            self.io.flush().await
        });
        written.await.map_err(std::io::Error::from)??;
        self.outgoing.clear();
        Ok(())
    }
}
