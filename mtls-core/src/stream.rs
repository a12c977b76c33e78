//! A TLS stream with its verdict.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

use crate::proto::binding::channel_binding_label;
use crate::registry::{Registration, SideStatus};
use crate::verdict::evidence::Evidence;
use crate::verdict::{Outcome, Verdict, Verified};

/// A `tokio_rustls` stream and what is known of its verification.
///
/// [`into_inner`](Self::into_inner) gives the stream up unchanged: a verified stream costs
/// nothing per byte.
#[derive(Debug)]
pub struct MultipathStream<S> {
    tls: S,
    verdict: VerdictHandle,
    evidence: Option<Box<Evidence>>,
}

/// A client's stream.
pub type ClientStream<IO> = MultipathStream<client::TlsStream<IO>>;

/// A server's stream.
pub type ServerStream<IO> = MultipathStream<server::TlsStream<IO>>;

/// A connection's verdict, as of now: a server that does not hold the application back may learn
/// more while the stream is in use.
#[derive(Clone)]
pub struct VerdictHandle {
    reached: Arc<Verdict>,
    registration: Option<Arc<dyn Registration>>,
}

impl VerdictHandle {
    pub(crate) fn fixed(verdict: Verdict) -> Self {
        Self {
            reached: Arc::new(verdict),
            registration: None,
        }
    }

    pub(crate) fn live(verdict: Verdict, registration: Arc<dyn Registration>) -> Self {
        Self {
            reached: Arc::new(verdict),
            registration: Some(registration),
        }
    }

    /// The verdict as of now.
    pub fn get(&self) -> Verdict {
        let mut verdict = Verdict::clone(&self.reached);
        if let Some(status) = self.news() {
            verdict.take_status(&status);
        }
        verdict
    }

    /// The verdict's outcome as of now: cheap enough to ask for with every request.
    pub fn outcome(&self) -> Outcome {
        let told = self.news().and_then(|status| Outcome::told_by(&status));
        told.unwrap_or_else(|| self.reached.outcome.clone())
    }

    /// What side connections have said that the verdict does not know.
    fn news(&self) -> Option<SideStatus> {
        let status = self.registration.as_ref()?.status();
        let tells_more = match &self.reached.outcome {
            Outcome::Unverified(_) => true,
            // Another side path may confirm later; none takes its confirmation back.
            Outcome::Verified(verified) => status.confirmations.len() > verified.sides().len(),
            Outcome::Intercepted(_) => false,
        };
        tells_more.then_some(status)
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
            evidence: None,
        }
    }

    pub(crate) fn with_evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = Some(Box::new(evidence));
        self
    }

    /// The evidence of the interception that [`Policy::Observe`](crate::verdict::policy::Policy::Observe)
    /// let pass, at a client.
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

    /// Gives the TLS stream up, unchanged.
    pub fn into_inner(self) -> S {
        self.tls
    }

    /// Gives both up.
    pub fn into_parts(self) -> (S, VerdictHandle) {
        (self.tls, self.verdict)
    }

    fn export_bindings(
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
    /// ends have the same, and nobody else has. Empty when the connection is not verified.
    ///
    /// # Errors
    /// What the TLS exporter says.
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
    /// What the TLS exporter says.
    pub fn channel_bindings(&self) -> Result<Vec<[u8; 32]>, rustls::Error> {
        let (_, connection) = self.tls.get_ref();
        self.export_bindings(|out, label, context| {
            connection.export_keying_material(out, label, Some(context))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MultipathStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MultipathStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
