//! Verification by resumption (`docs/protocol.md`, section 11): the session of the primary path is
//! resumed over the side path, which only the peer of the primary path can do, or a server that
//! opens its tickets.

mod check;
mod dials;
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use procedure::fuzzing::fuzz;
mod procedure;
mod session;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::error::Error;
use crate::path::{Dial, DialError, Dialed, Endpoint};
use crate::side::client::result::SideResult;
use crate::tls::client::TlsSettings;

pub(crate) use check::Connected;
use check::{Found, SideCheck, Start};
pub(crate) use dials::SideDials;
use session::PrimarySession;
pub(crate) use session::ticket_wait;

/// Dials the primary path again.
pub(crate) trait Redial<IO>: Sync {
    fn redial(&self) -> BoxFuture<'static, Result<Dialed<IO>, DialError>>;
}

/// Checks a connection by resumption, over each side path for itself.
pub(crate) struct Resumption<'a, D, IO> {
    pub(crate) tls: &'a TlsSettings,
    pub(crate) sides: &'a [D],
    pub(crate) name: &'a ServerName<'static>,
    pub(crate) side_endpoint: &'a Endpoint,
    /// How to replace the primary connection; `None` if it cannot be replaced.
    pub(crate) redial: Option<&'a dyn Redial<IO>>,
    /// How long the primary handshake took.
    pub(crate) handshake: Duration,
    pub(crate) deadline: Instant,
}

impl<D: Dial, IO: AsyncRead + AsyncWrite + Unpin> Resumption<'_, D, IO> {
    /// Checks the side paths of `dials`, all at the same time. Another connection may take the
    /// place of `primary`. The results take the places of those of the same side paths.
    ///
    /// # Errors
    /// When the primary connection breaks.
    pub(crate) async fn check(
        &self,
        mut dials: SideDials<D::Stream>,
        primary: &mut Connected<IO>,
        results: &mut Vec<SideResult>,
    ) -> Result<(), Error> {
        let count = dials.len();
        let complete = &mut primary.complete;
        let waiting = PrimarySession::of(complete, count, self.handshake, self.deadline);
        let mut session = dials.during(pin!(waiting)).await?;
        let mut tickets = session.take_tickets();
        // Where none is left to inherit by, that of the side path's session takes its place.
        let keep = complete
            .quarantine
            .clone()
            .filter(|quarantine| quarantine.keeps_descended() && quarantine.tickets() == 0);
        let too_few = (1..count).contains(&tickets.len());
        let session = Arc::new(session);
        let mut checks = Vec::with_capacity(count);
        for (index, first) in dials {
            let ticket = tickets.pop();
            let skipped = too_few && ticket.is_none();
            // It has a result of the side protocol.
            let was_connected = index < results.len();
            let start = Start {
                dial: first,
                ticket,
                was_connected,
                keep: keep.clone(),
            };
            let check = SideCheck::new(self, index, Arc::clone(&session), start);
            checks.push(async move {
                match skipped {
                    true => (index, Found::without_ticket(), None),
                    false => {
                        let (result, replacement) = check.run().await;
                        (index, result, replacement)
                    }
                }
            });
        }
        for (index, result, replacement) in join_all(checks).await {
            match results.get_mut(index) {
                Some(place) => *place = result,
                None => results.push(result),
            }
            if let Some(replacement) = replacement {
                *primary = replacement;
            }
        }
        Ok(())
    }

    /// A replacement is verified by the side path that it came from, and by no other.
    fn redial(&self) -> Option<&dyn Redial<IO>> {
        self.redial.filter(|_| self.sides.len() == 1)
    }
}
