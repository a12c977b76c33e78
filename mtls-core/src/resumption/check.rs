//! Drives the procedure of one side path.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::Resumption;
use super::dials::FirstDial;
use super::procedure::{Attempt, AttemptResult, Procedure, ResumptionOutcome, Setup, Step};
use super::session::{PrimarySession, ticket_wait};
use crate::path::{Dial, DialError, Dialed};
use crate::proto::binding::Association;
use crate::side::client::result::{SideOutcome, SideResult};
use crate::side::client::verification::Primary;
use crate::tls::client::Complete;
use crate::tls::resumption::{Offer, TicketFailure, TicketHandshake};
use crate::tls::ticket::Ticket;
use crate::tls::tickets::Quarantine;
use crate::tls_message::tls_error_message;
use crate::verdict::evidence::ServerSignature;
use crate::verdict::resumption::{ResumptionFailure, ResumptionProof};
use crate::verdict::{PathReport, PathRole, Reason, public_key};

/// A connection over the primary path with a complete handshake.
pub(crate) struct Connected<IO> {
    pub(crate) complete: Complete<IO>,
    pub(crate) association: Association,
    pub(crate) report: PathReport,
}

/// The check of one side path.
pub(super) struct SideCheck<'a, D: Dial, IO> {
    shared: &'a Resumption<'a, D, IO>,
    dial: &'a D,
    first: Option<FirstDial<D::Stream>>,
    session: Arc<PrimarySession>,
    ticket: Option<Ticket>,
    was_connected: bool,
    keep: Option<Arc<Quarantine>>,
    /// Sessions of the side path.
    side_tickets: Vec<Ticket>,
    replacement: Option<Connected<IO>>,
    found: Found,
}

/// Facts and resources at the start of a check.
pub(super) struct Start<S> {
    pub(super) dial: FirstDial<S>,
    /// The ticket of the primary connection to offer.
    pub(super) ticket: Option<Ticket>,
    /// The side path was connected before, for the side protocol.
    pub(super) was_connected: bool,
    /// Takes the tickets that the side path brings after it resumed the primary connection's.
    pub(super) keep: Option<Arc<Quarantine>>,
}

/// The result for the report.
#[derive(Default)]
pub(super) struct Found {
    report: Option<PathReport>,
    dial_error: Option<Arc<DialError>>,
    error: Option<String>,
    chain: Vec<CertificateDer<'static>>,
    signature: Option<ServerSignature>,
}

impl<'a, D: Dial, IO: AsyncRead + AsyncWrite + Unpin> SideCheck<'a, D, IO> {
    pub(super) fn new(
        shared: &'a Resumption<'a, D, IO>,
        index: usize,
        session: Arc<PrimarySession>,
        start: Start<D::Stream>,
    ) -> Self {
        Self {
            shared,
            dial: &shared.sides[index],
            first: Some(start.dial),
            session,
            ticket: start.ticket,
            was_connected: start.was_connected,
            keep: start.keep,
            side_tickets: Vec::new(),
            replacement: None,
            found: Found::default(),
        }
    }

    pub(super) async fn run(mut self) -> (SideResult, Option<Connected<IO>>) {
        let withholds_certificate = self.shared.tls.has_client_certificate();
        let mut procedure = Procedure::new(Setup {
            ticket: self.ticket.is_some(),
            // A session without the client's certificate is not what the application wants.
            can_reverse: self.shared.redial().is_some() && !withholds_certificate,
            withholds_certificate,
            was_connected: self.was_connected,
        });
        let outcome = loop {
            let attempt = match procedure.next() {
                Step::Done(outcome) => break outcome,
                Step::Attempt(attempt) => attempt,
            };
            tracing::debug!(?attempt, "resumption");
            match timeout_at(self.shared.deadline, self.attempt(attempt)).await {
                Ok(result) => {
                    tracing::debug!(?attempt, ?result, "resumption");
                    procedure.handle(attempt, result);
                }
                Err(_) => {
                    let error = &mut self.found.error;
                    error.get_or_insert_with(|| "the deadline passed".to_owned());
                    match self.found.report {
                        None => procedure.handle(attempt, AttemptResult::Unreachable),
                        Some(_) => procedure.handle_deadline(),
                    }
                }
            }
        };
        (
            self.found.into_result(outcome, procedure.same_key()),
            self.replacement,
        )
    }

    async fn attempt(&mut self, attempt: Attempt) -> AttemptResult {
        match attempt {
            Attempt::Forward => {
                let ticket = self.ticket.take();
                self.on_side(ticket, true).await
            }
            Attempt::Full => self.on_side(None, false).await,
            Attempt::Control => {
                let ticket = self.side_tickets.pop();
                self.on_side(ticket, false).await
            }
            Attempt::Reversed => {
                let ticket = self.side_tickets.pop();
                self.on_primary(ticket).await
            }
        }
    }

    /// A handshake over the side path. `forward`: the ticket is of the primary path, whose sessions
    /// are tied to the client's certificate.
    async fn on_side(&mut self, ticket: Option<Ticket>, forward: bool) -> AttemptResult {
        let mut io = match self.dial_side().await {
            Ok(io) => io,
            Err(error) => {
                self.found.dial_error.get_or_insert(error);
                return AttemptResult::Unreachable;
            }
        };
        let started = Instant::now();
        let mut handshake = match self.handshake(ticket, forward) {
            Ok(handshake) => handshake,
            Err(error) => return self.found.failed(error.to_string()),
        };
        if let Err(failure) = handshake.run(&mut io).await {
            return self
                .found
                .handshake_failed(failure, handshake.offers_ticket());
        }
        let Some(result) = self.result_of(&handshake, forward) else {
            let error = "the session was resumed with another version or application protocol";
            return self.found.failed(error.to_owned());
        };
        let resumed = matches!(result, AttemptResult::Resumed { .. });
        let verified = forward && resumed;
        // The second flight of a full handshake would show the client's certificate.
        if forward && !resumed && self.shared.tls.has_client_certificate() {
            return result;
        }
        let mut tickets = Vec::new();
        let limit = Instant::now() + ticket_wait(started.elapsed());
        if verified && let Some(quarantine) = self.keep.take() {
            // Nothing waits for it.
            tokio::spawn(handshake.keep_tickets(io, quarantine, limit));
            return result;
        }
        if !verified {
            tickets = handshake.fetch_tickets(&mut io, limit).await;
        }
        tokio::spawn(handshake.close(io));
        let result = result.with_tickets(tickets.len());
        self.side_tickets.extend(tickets);
        result
    }

    /// `None` where the server resumed, and not in the way that counts. The side path's own sessions
    /// may have another application protocol than the primary connection, which an attacker chose.
    fn result_of(&mut self, handshake: &TicketHandshake, forward: bool) -> Option<AttemptResult> {
        let resumed = match forward {
            true => handshake.is_resumed_with(self.session.alpn.as_deref()),
            false => handshake.is_resumed(),
        };
        if resumed {
            return Some(AttemptResult::Resumed { tickets: 0 });
        }
        handshake.is_full().then(|| self.full(handshake))
    }

    /// A new connection over the primary path, which offers a session of the side path.
    async fn on_primary(&mut self, ticket: Option<Ticket>) -> AttemptResult {
        let Some(redial) = self.shared.redial() else {
            return AttemptResult::Unreachable;
        };
        let Primary { mut stream, report } = match redial.redial().await {
            Ok(dialed) => dialed.into(),
            Err(_) => return AttemptResult::Unreachable,
        };
        let Ok(mut handshake) = self.handshake(ticket, false) else {
            return AttemptResult::Failed;
        };
        match handshake.run(&mut stream).await {
            Ok(()) => {}
            Err(TicketFailure::Disputed) => return AttemptResult::Disputed,
            Err(TicketFailure::Ended) => return AttemptResult::NotResumed,
            Err(TicketFailure::Tls(_)) => return AttemptResult::Failed,
        }
        if !handshake.is_resumed_with(self.session.alpn.as_deref()) {
            let _ = handshake.finish(&mut stream).await;
            return AttemptResult::NotResumed;
        }
        let association = handshake.association();
        let Ok(complete) = handshake.into_stream(stream).await else {
            return AttemptResult::Failed;
        };
        self.replacement = Some(Connected {
            complete,
            association,
            report,
        });
        AttemptResult::Resumed { tickets: 0 }
    }

    async fn dial_side(&mut self) -> Result<D::Stream, Arc<DialError>> {
        let first = match self.first.take() {
            Some(first) => first.finish().await,
            None => None,
        };
        let dialed = match first {
            Some(dialed) => dialed,
            None => self.dial.dial(self.shared.side_endpoint).await,
        }
        .map_err(Arc::new)?;
        self.found.dialed(&dialed);
        Ok(dialed.stream)
    }

    fn handshake(
        &self,
        ticket: Option<Ticket>,
        with_certificate: bool,
    ) -> Result<TicketHandshake, crate::Error> {
        let offer = Offer {
            ticket,
            group: self.session.group,
            shows_certificate: with_certificate,
        };
        self.shared
            .tls
            .ticket_handshake(self.shared.name.clone(), offer)
    }

    /// A full handshake; the first one's certificates are the evidence.
    fn full(&mut self, handshake: &TicketHandshake) -> AttemptResult {
        let chain = handshake.chain();
        let key = public_key(&chain);
        if self.found.chain.is_empty() {
            self.found.chain = chain;
            self.found.signature = handshake.signature().cloned();
        }
        AttemptResult::Full {
            same_key: key.is_some() && key == self.session.key,
            tickets: 0,
        }
    }
}

impl AttemptResult {
    fn with_tickets(self, tickets: usize) -> Self {
        let tickets = u8::try_from(tickets).unwrap_or(u8::MAX);
        match self {
            Self::Resumed { .. } => Self::Resumed { tickets },
            Self::Full { same_key, .. } => Self::Full { same_key, tickets },
            other => other,
        }
    }
}

impl Found {
    fn dialed<S>(&mut self, dialed: &Dialed<S>) {
        self.report
            .get_or_insert_with(|| PathReport::dialed(PathRole::Side, dialed));
    }

    fn handshake_failed(&mut self, failure: TicketFailure, offered: bool) -> AttemptResult {
        match failure {
            TicketFailure::Disputed => AttemptResult::Disputed,
            TicketFailure::Ended if offered => AttemptResult::NotResumed,
            TicketFailure::Ended => self.failed("the server closed during the handshake".into()),
            TicketFailure::Tls(error) => self.failed(tls_error_message(&error)),
        }
    }

    fn failed(&mut self, error: String) -> AttemptResult {
        self.error.get_or_insert(error);
        AttemptResult::Failed
    }

    /// A side path for which the primary connection brought no ticket, where others got one.
    pub(super) fn without_ticket() -> SideResult {
        let mut report = PathReport::unknown(PathRole::Side);
        let error = "the server sent fewer session tickets than there are side paths";
        report.error = Some(error.to_owned());
        SideResult {
            outcome: SideOutcome::Failed(Reason::Resumption(ResumptionFailure::Inconclusive)),
            report,
            dial_error: None,
            chain: Vec::new(),
            signature: None,
        }
    }

    fn into_result(self, outcome: ResumptionOutcome, same_key: Option<bool>) -> SideResult {
        let outcome = match outcome {
            ResumptionOutcome::Verified(direction) => {
                SideOutcome::Resumed(ResumptionProof::new(direction))
            }
            ResumptionOutcome::Failed(failure) => SideOutcome::Failed(Reason::Resumption(failure)),
        };
        let failed = matches!(
            outcome,
            SideOutcome::Failed(Reason::Resumption(ResumptionFailure::SideFailed))
        );
        let mut report = self
            .report
            .unwrap_or_else(|| PathReport::unknown(PathRole::Side));
        if let Some(error) = &self.dial_error {
            report.via.get_or_insert_with(|| error.via.clone());
        }
        report.same_key = same_key;
        report.resumed = match outcome {
            SideOutcome::Resumed(proof) => Some(proof.direction()),
            _ => None,
        };
        report.error = self.error.filter(|_| failed);
        SideResult {
            outcome,
            report,
            dial_error: self.dial_error,
            chain: self.chain,
            signature: self.signature,
        }
    }
}
