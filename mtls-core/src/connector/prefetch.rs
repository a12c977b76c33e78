//! Session tickets of the side path in advance (`docs/protocol.md`, section 11.7).

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};

use super::prefetch_error::PrefetchError;
use super::{Inner, MultipathConnector, server_name};
use crate::error::ApiMisuse;
use crate::path::{Dial, Dialed, Endpoint};
use crate::resumption::ticket_wait;
use crate::side::client::result::{SideOutcome, SideResult};
use crate::tls::client::Complete;
use crate::tls::descent::{Descent, Peer, Prefetched};
use crate::tls::resumption::Offer;
use crate::tls::ticket::Ticket;
use crate::verdict::inheritance::{Moment, Origin};
use crate::verdict::method::Method;
use crate::verdict::resumption::{ResumptionDirection, ResumptionFailure, ResumptionProof};
use crate::verdict::{PathReport, PathRole, Reason};

impl<D: Dial> MultipathConnector<D> {
    /// Fetches session tickets of a server over the side path, and returns how many. A connection
    /// to `to` within 10 minutes offers one of them on the primary path: if the server resumes it,
    /// the connection is verified with its handshake, as early as plain TLS. Otherwise it is
    /// verified as usual, after its handshake.
    ///
    /// Each ticket serves one connection; most servers send two, and some send one or none. Up to 8
    /// are kept for each server. It proves what resumption proves
    /// ([`Method::Resumption`]); the verdict names the
    /// [direction](ResumptionDirection::Prefetched).
    ///
    /// None are fetched (zero) of a [known host](crate::known_hosts) that greets, since resumption is
    /// no substitute for the side protocol there, or that is known to support nothing.
    ///
    /// # Errors
    /// [`PrefetchError::ApiMisuse`] for a connector that could not use them: with another method,
    /// several side paths, `tickets(0)`, or a client certificate, which the side path must not see;
    /// and whatever fails on the side path within the [deadline](crate::ClientSettings::deadline).
    ///
    /// # Panics
    /// As [`connect`](Self::connect).
    pub async fn prefetch(&self, to: &Endpoint) -> Result<usize, PrefetchError> {
        let inner = &self.inner;
        let side = inner.prefetching_side()?;
        let name = server_name(&to.host).map_err(PrefetchError::before)?;
        let known = inner.known(to).await.map_err(PrefetchError::before)?;
        if known.method != Method::Resumption || known.is_unsupported() {
            return Ok(0);
        }
        let peer = Peer::new(&name, known.side_endpoint());
        let deadline = Instant::now() + inner.paths.settings.deadline;
        let fetching = inner.fetch(side, name, known.side_endpoint(), deadline);
        let fetched = timeout_at(deadline, fetching).await;
        let (tickets, made) = fetched.map_err(|_| PrefetchError::TimedOut)??;
        let count = tickets.len();
        inner.tls.keep_prefetched(&peer, tickets, made);
        Ok(count)
    }
}

impl<D: Dial> Inner<D> {
    /// The side path, if tickets of it can verify a connection.
    fn prefetching_side(&self) -> Result<&D, ApiMisuse> {
        let usable = self.method == Method::Resumption
            && self.tls.keeps_descended()
            && !self.tls.has_client_certificate();
        match &self.paths.settings.sides[..] {
            [side] if usable => Ok(side),
            _ => Err(ApiMisuse::Prefetch),
        }
    }

    /// Makes a full handshake over a side path, and takes its tickets.
    async fn fetch(
        &self,
        side: &D,
        name: ServerName<'static>,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<(Vec<Ticket>, Prefetched), PrefetchError> {
        let offer = Offer {
            ticket: None,
            group: None,
            shows_certificate: false,
        };
        let handshake = self.tls.ticket_handshake(name, offer);
        let mut handshake = handshake.map_err(PrefetchError::before)?;
        let dialed = side.dial(endpoint).await;
        let dialed = dialed.map_err(|error| PrefetchError::Dial(Box::new(error)))?;
        let report = PathReport::dialed(PathRole::Side, &dialed);
        let Dialed { mut stream, .. } = dialed;
        let started = Instant::now();
        handshake.run(&mut stream).await?;
        // Its age counts from here: before its tickets, never after.
        let made = Moment::now();
        let limit = deadline.min(Instant::now() + ticket_wait(started.elapsed()));
        let tickets = handshake.fetch_tickets(&mut stream, limit).await;
        let alpn = handshake.alpn();
        tokio::spawn(handshake.close(stream));
        Ok((tickets, Prefetched { made, report, alpn }))
    }
}

/// The origin of the session that the primary connection resumed, if it inherits from one. A session
/// of the side path is the result of that path instead.
pub(super) fn origin<IO>(
    resumed: Option<Descent>,
    complete: &Complete<IO>,
    results: &mut Vec<SideResult>,
) -> Option<Arc<Origin>> {
    match resumed? {
        Descent::Verified(origin) => Some(origin),
        Descent::Prefetched(made) => {
            *results = vec![result(&made, complete)];
            None
        }
    }
}

/// The result of the side path for a primary connection that resumed its session.
fn result<IO>(made: &Prefetched, complete: &Complete<IO>) -> SideResult {
    let (_, connection) = complete.tls.get_ref();
    let mut report = made.report.clone();
    let outcome = match connection.alpn_protocol() == made.alpn.as_deref() {
        true => {
            report.resumed = Some(ResumptionDirection::Prefetched);
            SideOutcome::Resumed(ResumptionProof::new(ResumptionDirection::Prefetched))
        }
        false => {
            let error = "the session was resumed with another application protocol";
            report.error = Some(error.to_owned());
            SideOutcome::Failed(Reason::Resumption(ResumptionFailure::SideFailed))
        }
    };
    SideResult {
        outcome,
        report,
        dial_error: None,
        chain: Vec::new(),
        signature: None,
    }
}
