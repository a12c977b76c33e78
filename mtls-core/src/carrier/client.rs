//! The client's end of a side exchange inside its connection (`docs/protocol.md`, section 15.3).

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::check::{Comparison, compare_until_stable};
use super::step::Step;
use super::stream::Carrier;
use super::subflow::{SecondSubflow, Subflows};
use crate::error::{Error, TimedOut};
use crate::path::{
    Dial, DialError, DialFailure, Dialed, Endpoint, PathKind, SubflowSource, route_of,
};
use crate::proto::carrier::{Exchange, MAX_SIDE_BYTES, MAX_SIDE_CHUNK};
use crate::proto::client::{ClientOutcome, TlsVersion};
use crate::side::client::connection::SideConnection;
use crate::side::client::settings::SubflowUse;
use crate::side::client::verification::Verification;
use crate::tls::client::ClientSecrets;
use crate::verdict::mptcp::MptcpFailure;

/// The time after which the client directs both ends again if the server has not answered, and half of the
/// time until it does so a second time: MP_PRIO is not acknowledged, and no kernel repeats it.
const DIRECT_AGAIN: Duration = Duration::from_millis(250);

/// A side path inside the primary connection.
pub(crate) struct InsidePath {
    /// Its index among the side paths.
    pub(crate) index: usize,
    second: SecondSubflow,
    via: PathKind,
    to: Endpoint,
    /// Becomes the side connection's stream when the second subflow is established.
    ready: oneshot::Sender<Result<Dialed<DuplexStream>, DialError>>,
}

/// The exchange, from the time when the second subflow is established or has failed.
pub(crate) struct Joined {
    index: usize,
    side: DuplexStream,
    subflows: Result<Subflows, MptcpFailure>,
    subflow_use: SubflowUse,
}

/// The result of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All bytes used the subflow that they were meant for.
    Matched,
    /// The verification must be repeated elsewhere: the kernel may have moved bytes after a loss.
    Lossy,
    Failed(MptcpFailure),
}

impl InsidePath {
    /// Checks that a subflow for data can be added over this network.
    pub(crate) fn prepare_join(
        source: SubflowSource,
        to: &Endpoint,
    ) -> Result<SecondSubflow, Error> {
        let via = PathKind::Mptcp(source.clone());
        SecondSubflow::prepare(source)
            .map_err(|reason| Error::Dial(Box::new(DialError::new(via, to.clone(), reason))))
    }

    /// Checks that a second subflow can be added, and gives the side connection that it will carry.
    pub(crate) fn prepare<D: Dial>(
        index: usize,
        side: &D,
        to: &Endpoint,
    ) -> Result<Option<(Self, SideConnection)>, Error> {
        let Some(source) = side.subflow() else {
            return Ok(None);
        };
        let via = PathKind::Mptcp(source.clone());
        let second = Self::prepare_join(source, to)?;
        let (ready, dialed) = oneshot::channel();
        let unestablished = DialError::new(via.clone(), to.clone(), DialFailure::NoSubflow);
        let dialing = Box::pin(async move { dialed.await.unwrap_or(Err(unestablished)) });
        let connection = SideConnection::dial(dialing, Duration::ZERO);
        let path = Self {
            index,
            second,
            via,
            to: to.clone(),
            ready,
        };
        Ok(Some((path, connection)))
    }

    /// Adds the second subflow to the connection between these addresses.
    pub(crate) async fn join(
        self,
        local: SocketAddr,
        peer: SocketAddr,
        deadline: Instant,
        subflow_use: SubflowUse,
    ) -> Joined {
        let (stream, side) = duplex(MAX_SIDE_BYTES);
        let subflows = self.second.join(local, peer, deadline).await;
        let dialed = match &subflows {
            Ok(subflows) => Ok(dialed(stream, self.via, subflows)),
            Err(_) => Err(DialError::new(self.via, self.to, DialFailure::NoSubflow)),
        };
        // The verification may have ended meanwhile.
        let _ = self.ready.send(dialed);
        Joined {
            index: self.index,
            side,
            subflows,
            subflow_use,
        }
    }
}

fn dialed(stream: DuplexStream, via: PathKind, subflows: &Subflows) -> Dialed<DuplexStream> {
    let (local, peer) = (subflows.second.local, subflows.second.peer);
    Dialed {
        stream,
        local: Some(local),
        peer: Some(peer),
        via,
        resolver: None,
        route: route_of(subflows.interface, local, peer),
        mptcp: false,
    }
}

impl Joined {
    /// Exchanges the frames of the verification over the second subflow, and ends the framing.
    pub(crate) async fn exchange<IO, D>(
        mut self,
        carrier: &mut Carrier<IO>,
        verification: &mut Verification<'_, D>,
        complete: (TlsVersion, &ClientSecrets),
        deadline: Instant,
    ) -> (Ended, Result<(), Error>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: Dial,
    {
        let verified = self.verify(carrier, verification, complete, deadline).await;
        match verified {
            Ok(ended) => self.switch(carrier, ended, deadline).await,
            Err(error) => (Ended::Matched, Err(error)),
        }
    }

    async fn verify<IO, D>(
        &mut self,
        carrier: &mut Carrier<IO>,
        verification: &mut Verification<'_, D>,
        complete: (TlsVersion, &ClientSecrets),
        deadline: Instant,
    ) -> Result<Ended, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: Dial,
    {
        if let Err(failure) = self.begin(carrier.sent().tls, deadline).await {
            return Ok(Ended::Failed(failure));
        }
        if let Some(ended) = self.answer(carrier, verification, complete).await? {
            return Ok(ended);
        }
        let outcome = verification.paths[self.index].verifier.outcome();
        if !matches!(outcome, ClientOutcome::Verified(_)) {
            return Ok(Ended::Matched);
        }
        // The Confirm goes out, and the server compares its counters before it switches.
        loop {
            let step = timeout_at(deadline, Step::next(carrier, &mut self.side, true)).await;
            let step = step.map_err(|_| Error::TimedOut(TimedOut::Deadline))??;
            if let Some(ended) = self.handle(carrier, step).await? {
                return Ok(ended);
            }
        }
    }

    /// Runs the exchange until the verification has a result; returns the end of the exchange, if it comes
    /// first.
    async fn answer<IO, D>(
        &mut self,
        carrier: &mut Carrier<IO>,
        verification: &mut Verification<'_, D>,
        complete: (TlsVersion, &ClientSecrets),
    ) -> Result<Option<Ended>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: Dial,
    {
        let mut conclude = pin!(verification.conclude(Some(complete)));
        let (mut interval, mut is_answered) = (DIRECT_AGAIN, false);
        let mut direct_at = Instant::now() + interval;
        loop {
            let step = tokio::select! {
                biased;
                concluded = &mut conclude => return concluded.map(|()| None),
                step = Step::next(carrier, &mut self.side, true) => step?,
                () = sleep_until(direct_at), if !is_answered => {
                    self.direct_again();
                    interval *= 2;
                    direct_at += interval;
                    continue;
                }
            };
            is_answered |= matches!(step, Step::FromPeer(_));
            if let Some(ended) = self.handle(carrier, step).await? {
                return Ok(Some(ended));
            }
        }
    }

    fn direct_again(&mut self) {
        if let Ok(subflows) = &mut self.subflows {
            subflows.direct_again();
        }
    }

    async fn begin(&mut self, sent: u64, deadline: Instant) -> Result<(), MptcpFailure> {
        match &mut self.subflows {
            Ok(subflows) => subflows.use_second(sent, deadline).await,
            Err(failure) => Err(*failure),
        }
    }

    /// Carries a step out; returns the end of the exchange, if it is one.
    async fn handle<IO>(
        &mut self,
        carrier: &mut Carrier<IO>,
        step: Step,
    ) -> Result<Option<Ended>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match step {
            Step::FromSide(bytes) => {
                for part in bytes.chunks(MAX_SIDE_CHUNK) {
                    carrier.send_side(part).await?;
                }
            }
            Step::FromPeer(bytes) => {
                if let Some(ended) = self.check(carrier).await? {
                    return Ok(Some(ended));
                }
                // The verification may have ended meanwhile.
                let _ = self.side.write_all(&bytes).await;
            }
            Step::PeerSwitched => return Ok(Some(Ended::Matched)),
        }
        Ok(None)
    }

    /// Compares the counters of the subflows with the bytes of the exchange; returns the end of it if
    /// they differ.
    async fn check<IO>(&mut self, carrier: &mut Carrier<IO>) -> io::Result<Option<Ended>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Ok(subflows) = &mut self.subflows else {
            return Ok(Some(Ended::Failed(MptcpFailure::JoinFailed)));
        };
        let expected = subflows.expected();
        let sample = || subflows.state().ok();
        Ok(
            match compare_until_stable(carrier, Some(expected), sample).await? {
                Some(Comparison::Matches) => None,
                Some(Comparison::Differs { lost: true }) => Some(Ended::Lossy),
                Some(_) => Some(Ended::Failed(MptcpFailure::Mismatch)),
                None => Some(Ended::Failed(MptcpFailure::Fallback)),
            },
        )
    }

    /// Whether this end's kernel has sent bytes again, on another subflow.
    fn has_lost(&mut self) -> bool {
        let now = self.subflows.as_mut().ok().map(Subflows::state);
        now.is_some_and(|now| now.is_ok_and(|now| now.reinjected))
    }

    /// Ends the framing in both directions.
    async fn switch<IO>(
        &mut self,
        carrier: &mut Carrier<IO>,
        ended: Ended,
        deadline: Instant,
    ) -> (Ended, Result<(), Error>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if let Ok(subflows) = &mut self.subflows {
            subflows.release(matches!(ended, Ended::Failed(_)), self.subflow_use);
        }
        let switched = timeout_at(deadline, switch(carrier, ended.into())).await;
        let switched = match switched {
            Ok(switched) => switched.map_err(Error::from),
            Err(_) => Err(Error::TimedOut(TimedOut::Deadline)),
        };
        let ended = match (ended, carrier.peer_exchange()) {
            (Ended::Matched, Some(Exchange::Lossy)) => Ended::Lossy,
            (Ended::Matched, Some(Exchange::Mismatched)) if self.has_lost() => Ended::Lossy,
            (Ended::Matched, Some(Exchange::Mismatched)) => Ended::Failed(MptcpFailure::Mismatch),
            (Ended::Matched, Some(Exchange::Absent)) => Ended::Failed(MptcpFailure::Fallback),
            // The server may have seen the loss.
            (Ended::Failed(MptcpFailure::Mismatch), Some(Exchange::Lossy)) => Ended::Lossy,
            _ => ended,
        };
        (ended, switched)
    }
}

impl From<Ended> for Exchange {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Matched => Self::Matched,
            Ended::Lossy => Self::Lossy,
            Ended::Failed(MptcpFailure::Mismatch) => Self::Mismatched,
            Ended::Failed(_) => Self::Absent,
        }
    }
}

async fn switch<IO>(carrier: &mut Carrier<IO>, own: Exchange) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    carrier.switch(own).await?;
    while carrier.peer_exchange().is_none() {
        carrier.read_side().await?;
        drop(carrier.take_side());
    }
    Ok(())
}
