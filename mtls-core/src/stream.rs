//! A TLS stream with its verdict.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

use crate::error::Error;
use crate::proto::binding::channel_binding_label;
use crate::registry::{Registration, SideStatus};
use crate::side::server::sessions::Remember;
use crate::verdict::evidence::Evidence;
use crate::verdict::{Outcome, Reason, Verdict, Verified};

/// A `tokio_rustls` stream and what is known of its verification.
///
/// [`into_inner`](Self::into_inner) gives the stream up unchanged: a verified stream costs
/// nothing per byte.
#[derive(Debug)]
pub struct MultipathStream<S> {
    tls: S,
    verdict: VerdictHandle,
    stage: Stage,
    evidence: Option<Box<Evidence>>,
}

/// A client's stream.
pub type ClientStream<IO> = MultipathStream<client::TlsStream<IO>>;

/// A server's stream.
///
/// Under [`Policy::Prefer`](crate::Policy::Prefer) its verdict is decided when the client's first
/// application bytes arrive (`docs/protocol.md`, section 6.2). Until then the verdict's reason is
/// [`Reason::Undecided`](crate::Reason::Undecided). The first read decides: it is pending while a
/// Confirm is awaited, and it fails with [`Error::Disputed`] inside the `io::Error` where the policy
/// refuses the connection. So a server that reads a request before it acts on the verdict needs
/// nothing else, and one that writes a greeting first does not wait.
///
/// - [`wait_for_verdict`](Self::wait_for_verdict) decides before
///   [`into_inner`](MultipathStream::into_inner).
/// - [`wait_for_confirm`](Self::wait_for_confirm) decides before a greeting, where the server speaks
///   first.
/// - [`into_inner`](MultipathStream::into_inner) and [`into_parts`](MultipathStream::into_parts)
///   without either of them opt out: the policy refuses nothing on that stream any more.
pub type ServerStream<IO> = MultipathStream<server::TlsStream<IO>>;

/// The stage of a stream's verdict.
#[derive(Debug)]
enum Stage {
    Decided,
    Undecided(Box<dyn Decision>),
    /// By the policy.
    Refused,
}

/// The decision on a connection whose verdict waits for the client's first bytes. Dropping it decides
/// as of now: the connection has ended.
pub(crate) trait Decision: fmt::Debug + Send + Sync {
    /// Ready when a side connection has confirmed.
    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready when no Confirm is worth waiting for any more, now that the client's first bytes are
    /// there: at once where no side connection has sent an Open by now, else at the deadline. That
    /// counts from the first call: the Confirm of a client that has verified is on its way by then.
    fn poll_unconfirmed(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready at the deadline, which counts from the ClientHello.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The verdict is that of now.
    ///
    /// # Errors
    /// [`Error::Disputed`], which the policy refuses.
    fn decide(&mut self) -> Result<(), Error>;

    /// The application takes the stream without waiting: the verdict stays undecided until a side
    /// connection confirms.
    fn abandon(&mut self);
}

/// A connection's verdict, as of now: a server that does not hold the application back may learn
/// more while the stream is in use.
#[derive(Clone)]
pub struct VerdictHandle {
    state: Arc<VerdictState>,
}

struct VerdictState {
    first: Verdict,
    /// Takes the place of the first.
    decided: OnceLock<Box<Verdict>>,
    registration: Option<Arc<dyn Registration>>,
    /// Remembers the handshake for inheritance, when it is verified.
    remember: Option<Remember>,
}

impl VerdictState {
    fn note(&self, status: &SideStatus) {
        if let Some(remember) = &self.remember {
            remember.note(status);
        }
    }
}

impl Drop for VerdictState {
    /// A verdict that was not read since the confirmation counts too.
    fn drop(&mut self) {
        if let (Some(registration), Some(_)) = (&self.registration, &self.remember) {
            self.note(&registration.status());
        }
    }
}

impl VerdictHandle {
    pub(crate) fn fixed(verdict: Verdict) -> Self {
        Self::new(verdict, None, None)
    }

    /// `remember` takes a full handshake, as soon as it is known to be verified.
    pub(crate) fn live(
        verdict: Verdict,
        registration: Arc<dyn Registration>,
        remember: Option<Remember>,
    ) -> Self {
        if let Some(remember) = &remember {
            remember.note(&registration.status());
        }
        Self::new(verdict, Some(registration), remember)
    }

    fn new(
        first: Verdict,
        registration: Option<Arc<dyn Registration>>,
        remember: Option<Remember>,
    ) -> Self {
        Self {
            state: Arc::new(VerdictState {
                first,
                decided: OnceLock::new(),
                registration,
                remember,
            }),
        }
    }

    /// Replaces the first verdict, in all clones; once.
    pub(crate) fn decide(&self, verdict: Verdict) {
        if let (Some(registration), Some(_)) = (&self.state.registration, &self.state.remember) {
            self.state.note(&registration.status());
        }
        let _ = self.state.decided.set(Box::new(verdict));
    }

    fn current(&self) -> &Verdict {
        let VerdictState { first, decided, .. } = &*self.state;
        decided.get().map_or(first, |decided| decided)
    }

    /// The verdict as of now.
    pub fn get(&self) -> Verdict {
        let mut verdict = self.current().clone();
        if let Some(status) = self.new_status() {
            verdict.apply_status(&status);
        }
        verdict
    }

    /// The verdict's outcome as of now: cheap enough to read for every request.
    pub fn outcome(&self) -> Outcome {
        let newer = self
            .new_status()
            .and_then(|status| Outcome::from_status(&status));
        newer.unwrap_or_else(|| self.current().outcome.clone())
    }

    /// The number of changes of the verdict so far. Takes no lock.
    #[cfg(feature = "tower")]
    pub(crate) fn revision(&self) -> usize {
        let decided = usize::from(self.state.decided.get().is_some());
        let changes = self
            .state
            .registration
            .as_ref()
            .map_or(0, |kept| kept.revision());
        decided + changes
    }

    /// The status of the side connections, if it is newer than the verdict.
    fn new_status(&self) -> Option<SideStatus> {
        let status = self.state.registration.as_ref()?.status();
        self.state.note(&status);
        let is_newer = match &self.current().outcome {
            // Whether an Open without a Confirm means anything is not decided yet.
            Outcome::Unverified(Reason::Undecided) => {
                status.disputed || !status.confirmations.is_empty()
            }
            Outcome::Unverified(_) | Outcome::Pinned(_) => true,
            // Another side path may confirm later; none takes its confirmation back.
            // An inheritance gives way to a result for this very handshake.
            Outcome::Verified(verified) => {
                status.confirmations.len() > verified.sides().len()
                    || (status.disputed && verified.inheritance().is_some())
            }
            Outcome::Intercepted(_) => false,
        };
        is_newer.then_some(status)
    }
}

impl fmt::Debug for VerdictHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerdictHandle").field(&self.get()).finish()
    }
}

impl<S> MultipathStream<S> {
    pub(crate) fn new(tls: S, verdict: VerdictHandle) -> Self {
        Self {
            tls,
            verdict,
            stage: Stage::Decided,
            evidence: None,
        }
    }

    /// `verdict` is that before the decision, which replaces it.
    pub(crate) fn undecided(tls: S, verdict: VerdictHandle, decision: Box<dyn Decision>) -> Self {
        Self {
            tls,
            verdict,
            stage: Stage::Undecided(decision),
            evidence: None,
        }
    }

    pub(crate) fn with_evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = Some(Box::new(evidence));
        self
    }

    /// The evidence of an interception or a suspicion that
    /// [`Policy::Observe`](crate::verdict::policy::Policy::Observe) accepted, at a client.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_deref()
    }

    /// The verdict as of now.
    pub fn verdict(&self) -> Verdict {
        self.verdict.get()
    }

    /// A handle to the verdict, which may outlive the stream.
    pub fn verdict_handle(&self) -> VerdictHandle {
        self.verdict.clone()
    }

    /// The TLS stream.
    pub fn get_ref(&self) -> &S {
        &self.tls
    }

    /// The TLS stream.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.tls
    }

    /// Gives the TLS stream up, unchanged. At a server see [`ServerStream`].
    pub fn into_inner(self) -> S {
        self.into_parts().0
    }

    /// Gives both up. At a server see [`ServerStream`].
    pub fn into_parts(self) -> (S, VerdictHandle) {
        if let Stage::Undecided(mut decision) = self.stage {
            decision.abandon();
        }
        (self.tls, self.verdict)
    }

    /// The channel binding of each verified side path.
    pub(crate) fn export_bindings(
        &self,
        export: impl Fn([u8; 32], &[u8], &[u8]) -> Result<[u8; 32], rustls::Error>,
    ) -> Result<Vec<[u8; 32]>, rustls::Error> {
        let verdict = self.verdict();
        let sides = verdict.verified().map(Verified::sides).unwrap_or_default();
        sides
            .iter()
            .map(|proof| export([0; 32], channel_binding_label(), proof.context().as_bytes()))
            .collect()
    }
}

impl<IO> ClientStream<IO> {
    /// The channel binding of each verified side path (`docs/protocol.md`, section 4.4): both
    /// ends have the same, and no third party has it. Empty when the connection is not verified.
    ///
    /// # Errors
    /// The error of the TLS exporter.
    pub fn channel_bindings(&self) -> Result<Vec<[u8; 32]>, rustls::Error> {
        let (_, connection) = self.tls.get_ref();
        self.export_bindings(|out, label, context| {
            connection.export_keying_material(out, label, Some(context))
        })
    }
}

impl<IO> ServerStream<IO> {
    /// The channel binding of each verified side path, in the order of their confirmations; see
    /// [`ClientStream::channel_bindings`].
    ///
    /// # Errors
    /// The error of the TLS exporter.
    pub fn channel_bindings(&self) -> Result<Vec<[u8; 32]>, rustls::Error> {
        let (_, connection) = self.tls.get_ref();
        self.export_bindings(|out, label, context| {
            connection.export_keying_material(out, label, Some(context))
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ServerStream<IO> {
    /// Waits until the verdict is decided, for protocols in which the client speaks first: until a
    /// side connection has confirmed, or the client's first bytes or its close are here. Where a side
    /// connection has sent an Open by then, the Confirm is awaited until the deadline. Takes no byte
    /// from the stream. Returns at once where the verdict is decided.
    ///
    /// A client that sends nothing is awaited without a bound of its own: use
    /// `tokio::time::timeout`, as for a read. Dropping the future gives the connection up.
    ///
    /// # Errors
    /// [`Error::Disputed`] when the policy refuses the connection; [`Error::Io`] and [`Error::Tls`]
    /// when it broke before the first byte.
    pub async fn wait_for_verdict(mut self) -> Result<Self, Error> {
        poll_fn(|cx| self.poll_verdict(cx)).await?;
        Ok(self)
    }

    /// Waits until a side connection has confirmed the handshake, for protocols in which the server
    /// speaks first: at most until the deadline, which counts from the ClientHello. Returns at once
    /// where the verdict is decided.
    ///
    /// A server cannot tell a client of plain TLS from one whose side path is slow, so every client
    /// of plain TLS waits for the whole deadline: set a short one. A server whose greeting is for
    /// every client writes it without waiting; its first read decides.
    ///
    /// # Errors
    /// [`Error::Disputed`] when the policy refuses the connection.
    pub async fn wait_for_confirm(mut self) -> Result<Self, Error> {
        poll_fn(|cx| self.poll_confirm(cx)).await?;
        Ok(self)
    }
}

impl<S: AsyncBufRead + Unpin> MultipathStream<S> {
    fn poll_verdict(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // No bytes: the client has closed, which is the last that it has to say.
        let first =
            |tls: &mut S, cx: &mut Context<'_>| Pin::new(tls).poll_fill_buf(cx).map_ok(|_| ());
        self.poll_decision(cx, first)
    }
}

impl<S> MultipathStream<S> {
    /// Waits for the verdict with `first`, which is ready when the client's first application data are
    /// there, and takes none of them.
    pub(crate) fn poll_decision(
        &mut self,
        cx: &mut Context<'_>,
        first: impl FnOnce(&mut S, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<Result<(), Error>> {
        let Stage::Undecided(decision) = &mut self.stage else {
            return Poll::Ready(self.check());
        };
        if decision.poll_confirmed(cx).is_pending() {
            match ready!(first(&mut self.tls, cx)) {
                Ok(()) => ready!(decision.poll_unconfirmed(cx)),
                Err(broken) => {
                    self.decide()?;
                    return Poll::Ready(Err(broken.into()));
                }
            }
        }
        Poll::Ready(self.decide())
    }

    pub(crate) fn poll_confirm(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Stage::Undecided(decision) = &mut self.stage else {
            return Poll::Ready(self.check());
        };
        if decision.poll_confirmed(cx).is_pending() {
            ready!(decision.poll_expired(cx));
        }
        Poll::Ready(self.decide())
    }

    /// Whether the verdict is decided.
    #[cfg(any(feature = "quic", test))]
    pub(crate) fn is_decided(&self) -> bool {
        matches!(self.stage, Stage::Decided)
    }

    fn decide(&mut self) -> Result<(), Error> {
        let stage = std::mem::replace(&mut self.stage, Stage::Refused);
        if let Stage::Undecided(mut decision) = stage {
            decision.decide()?;
        }
        self.stage = Stage::Decided;
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        match self.stage {
            Stage::Refused => Err(Error::Disputed(Box::new(self.verdict()))),
            Stage::Decided | Stage::Undecided(_) => Ok(()),
        }
    }
}

impl<S: AsyncBufRead + Unpin> AsyncRead for MultipathStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_verdict(cx))?;
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MultipathStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
