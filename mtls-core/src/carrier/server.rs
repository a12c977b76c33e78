//! The server's end of a side exchange inside a connection (`docs/protocol.md`, section 15.3).

use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};

use super::check::{Comparison, compare_until_stable};
use super::step::Step;
use super::stream::Carrier;
use super::subflow::Pause;
use crate::path::mptcp::{Snapshot, Watch};
use crate::proto::carrier::{Exchange, MAX_SIDE_CHUNK};
use crate::proto::frame::{FrameBody, FrameReader};

/// The samples for the client's direction of the server's bytes to the second subflow, with a [`Pause`] before
/// each but the first (together a second at least). The client has directed them before it sent what is
/// answered, so one packet is late, or lost, and the client repeats it.
const STEERING_SAMPLES: u32 = 26;

/// Answers one side exchange.
pub(crate) struct ServerExchange {
    /// The connection.
    pub(crate) watch: Watch,
    /// The stream of the side connection.
    pub(crate) side: DuplexStream,
    /// The frames of the client.
    pub(crate) reader: FrameReader,
}

impl ServerExchange {
    /// Runs the exchange until both ends have switched. `running` answers on the side connection.
    pub(crate) async fn run<IO>(
        mut self,
        carrier: &mut Carrier<IO>,
        running: impl Future,
    ) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut running = pin!(running);
        let (mut is_running, mut is_asked, mut own) = (true, false, None);
        loop {
            let step = tokio::select! {
                biased;
                _ = &mut running, if is_running => {
                    is_running = false;
                    continue;
                }
                // The greeting waits for the client's bytes: before them nothing is directed.
                step = Step::next(carrier, &mut self.side, is_asked && own.is_none()) => step?,
            };
            let result = match step {
                Step::FromSide(bytes) => self.send(carrier, &bytes).await?,
                Step::FromPeer(bytes) if own.is_none() => {
                    is_asked = true;
                    self.receive(carrier, &bytes).await?
                }
                Step::FromPeer(_) => None,
                Step::PeerSwitched if own.is_some() => return Ok(()),
                Step::PeerSwitched => return carrier.switch(self.without_result()?).await,
            };
            if let Some(result) = result {
                carrier.switch(result).await?;
                own = Some(result);
            }
        }
    }

    /// The result of an exchange that the client has ended. A loss at this end may be its reason.
    fn without_result(&mut self) -> io::Result<Exchange> {
        let now = self.watch.read()?;
        Ok(match now.is_some_and(|now| now.reinjected) {
            true => Exchange::Lossy,
            false => Exchange::Matched,
        })
    }

    /// Sends bytes of the side exchange over the second subflow; returns the result if that cannot be.
    async fn send<IO>(
        &mut self,
        carrier: &mut Carrier<IO>,
        bytes: &[u8],
    ) -> io::Result<Option<Exchange>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut pause, mut samples) = (Pause::sparing(), 1);
        loop {
            match self.watch.read()? {
                Some(now) if is_steered(&now) => break,
                Some(now) if now.fallback => return Ok(Some(Exchange::Absent)),
                Some(_) if samples < STEERING_SAMPLES => pause.wait().await,
                Some(now) if now.reinjected => return Ok(Some(Exchange::Lossy)),
                Some(_) => return Ok(Some(Exchange::Mismatched)),
                None => return Ok(Some(Exchange::Absent)),
            }
            samples += 1;
        }
        for part in bytes.chunks(MAX_SIDE_CHUNK) {
            carrier.send_side(part).await?;
        }
        Ok(None)
    }

    /// Takes bytes of the side exchange if they have used the second subflow alone. Returns the result
    /// if it is known.
    async fn receive<IO>(
        &mut self,
        carrier: &mut Carrier<IO>,
        bytes: &[u8],
    ) -> io::Result<Option<Exchange>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let sample = || self.watch.read().ok().flatten();
        match compare_until_stable(carrier, None, sample).await? {
            Some(Comparison::Matches) => {}
            Some(Comparison::Differs { lost: true }) => return Ok(Some(Exchange::Lossy)),
            Some(_) => return Ok(Some(Exchange::Mismatched)),
            None => return Ok(Some(Exchange::Absent)),
        }
        let mut has_confirmed = false;
        // Bytes that are no frames end the side connection, which reads them too.
        let _ = self.reader.read(bytes, |frame| {
            has_confirmed |= matches!(frame.body, FrameBody::Confirm { .. });
        });
        // The side connection may have ended.
        let _ = self.side.write_all(bytes).await;
        Ok(has_confirmed.then_some(Exchange::Matched))
    }
}

/// Whether bytes that are sent now use the second subflow alone.
fn is_steered(now: &Snapshot) -> bool {
    match &now.subflows[..] {
        [first, second] => {
            first.is_backup_for_peer && !second.is_backup_for_peer && now.all_acknowledged
        }
        _ => false,
    }
}
