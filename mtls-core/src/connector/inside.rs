//! Connections with a side path inside them (`docs/protocol.md`, section 15).

use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Inner, Request};
use crate::carrier::Carrier;
use crate::carrier::SecondSubflow;
use crate::carrier::client::{Ended, InsidePath};
use crate::error::{ApiMisuse, Error};
use crate::evaluate::client::ClientEvaluation;
use crate::path::Dial;
use crate::proto::client::SideFailure;
use crate::side::client::connection::SideConnection;
use crate::side::client::known::KnownHost;
use crate::side::client::result::{SideOutcome, SideResult};
use crate::side::client::verification::{Primary, SideShared, Verification, poll_once};
use crate::stream::ClientStream;
use crate::tls::client::{self as tls, ClientHello, Complete};
use crate::verdict::mptcp::MptcpFailure;
use crate::verdict::{Inside, PathReport, Reason, Verdict};

/// A complete handshake, and the end of its side exchange.
struct Exchanged<IO> {
    complete: Complete<Carrier<IO>>,
    ended: Ended,
    /// Both ends have switched.
    switched: Result<(), Error>,
}

impl<D: Dial> Inner<D> {
    /// The side path inside the connection, with the side connection that it carries; checks that it
    /// is possible before anything is sent.
    pub(super) fn prepare_inside(
        &self,
        known: &KnownHost,
    ) -> Result<Option<(InsidePath, SideConnection)>, Error> {
        match self.paths.inside() {
            Some(index) if !known.is_unsupported() => {
                let side = &self.paths.settings.sides[index];
                InsidePath::prepare(index, side, known.side_endpoint())
            }
            _ => Ok(None),
        }
    }

    /// The subflow that is added for data; checks that it is possible before anything is sent.
    pub(super) fn prepare_join(&self, known: &KnownHost) -> Result<Option<SecondSubflow>, Error> {
        let join = self.paths.settings.join.clone();
        join.map(|source| InsidePath::prepare_join(source, known.side_endpoint()))
            .transpose()
    }

    pub(super) fn join_later(&self, join: Option<SecondSubflow>, verdict: &Verdict) {
        let primary = verdict.paths.first();
        let ends = primary.and_then(|primary| primary.local.zip(primary.peer));
        if let (Some(join), Some((local, peer))) = (join, ends) {
            join.join_later(local, peer, self.paths.settings.subflow_use);
        }
    }

    /// Connects and verifies over all side paths, of which one is inside the connection.
    pub(super) async fn verify_inside<IO, P>(
        &self,
        (inside, connection): (InsidePath, SideConnection),
        request: &Request<'_, IO>,
        dial: impl Future<Output = Result<P, Error>>,
        target: &(dyn Display + Sync),
    ) -> Result<ClientStream<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        P: Into<Primary<IO>>,
    {
        let started = Instant::now();
        tokio::pin!(dial);
        let early = poll_once(dial.as_mut()).await;
        let (paths, known, index) = (&self.paths, &request.known, inside.index);
        let to = known.side_endpoint();
        let hello = self.tls.client_hello(request.name.clone(), to)?;
        let association = hello.association();
        let shared = SideShared::new(paths, self.tls.random(), to).with_inside(index, connection);
        let mut verification = Verification::start(shared, known.policy, association, started)?;
        let primary: Primary<IO> = match early {
            Poll::Ready(dialed) => dialed?,
            Poll::Pending => verification.during(dial.as_mut()).await??,
        }
        .into();
        let ends = ends(&primary.report)?;
        let exchanged = self.exchange(inside, hello, (primary.stream, ends), &mut verification);
        let Exchanged {
            complete,
            ended,
            switched,
        } = exchanged.await?;
        let (mut results, mut report) = (verification.results(), primary.report);
        if let Some(result) = results.get_mut(index) {
            apply(ended, result, &mut report);
        }
        let name = request.name.clone();
        let complete = complete.moved(&self.tls, name, Carrier::into_parts).await?;
        let stream = ClientEvaluation {
            known,
            require_independent: paths.settings.require_independent,
            target,
            association: Some(association),
            report,
            times: verification.times,
            inherits: None,
        }
        .into_stream(complete, paths.authentication, &results)?;
        // The policy accepts the connection, but without the switch it carries no data.
        switched?;
        Ok(stream)
    }

    /// Completes TLS, verifies over all side paths, and ends the framing.
    async fn exchange<IO>(
        &self,
        inside: InsidePath,
        hello: ClientHello,
        (stream, (local, peer)): (IO, (SocketAddr, SocketAddr)),
        verification: &mut Verification<'_, D>,
    ) -> Result<Exchanged<IO>, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (index, limit) = (inside.index, self.paths.settings.deadline);
        let deadline = Instant::now() + limit;
        // Earlier, to report this and not the end of the time of the handshake.
        let join_deadline = Instant::now() + limit * 3 / 4;
        let completing = async {
            let subflow_use = self.paths.settings.subflow_use;
            let join = async { Ok(inside.join(local, peer, join_deadline, subflow_use).await) };
            let carrier = Carrier::new(stream, Vec::new());
            tokio::try_join!(hello.complete(carrier), join)
        };
        let completed = verification.handshake(pin!(completing)).await;
        let authentication = self.paths.authentication;
        let (mut complete, joined) =
            completed.map_err(|error| authentication.client_error(error))?;
        let (carrier, connection) = complete.tls.get_mut();
        let secrets = (tls::version(connection), &complete.secrets);
        let (ended, switched) = joined
            .exchange(carrier, verification, secrets, deadline)
            .await;
        if ended == Ended::Lossy {
            tracing::debug!("repeats the side exchange over a connection of its own");
            verification.repeat(index, secrets, deadline).await?;
        }
        Ok(Exchanged {
            complete,
            ended,
            switched,
        })
    }
}

/// The addresses of a connection that the connector has dialled.
fn ends(report: &PathReport) -> Result<(SocketAddr, SocketAddr), ApiMisuse> {
    let ends = report.local.zip(report.peer);
    ends.ok_or(ApiMisuse::SubflowWithoutMptcp)
}

/// Completes the result of the side path, and the report of the primary path, with those of the
/// exchange.
fn apply(ended: Ended, result: &mut SideResult, primary: &mut PathReport) {
    match ended {
        Ended::Matched => {
            result.report.inside = Some(Inside::SecondSubflow);
            primary.side_subflow = result.report.local;
        }
        Ended::Lossy => {
            result.report.inside = Some(Inside::RepeatedAfterLoss);
            if let SideOutcome::Failed(Reason::Side(failure)) = result.outcome
                && failure.allows_fallback()
            {
                result.outcome = SideOutcome::Failed(Reason::Mptcp(MptcpFailure::Lossy));
            }
        }
        Ended::Failed(failure) if !is_interception(result.outcome) => {
            result.outcome = SideOutcome::Failed(Reason::Mptcp(failure));
        }
        Ended::Failed(_) => {}
    }
}

fn is_interception(outcome: SideOutcome) -> bool {
    matches!(
        outcome,
        SideOutcome::Failed(Reason::Side(SideFailure::Interception(_)))
    )
}
