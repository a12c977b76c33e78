//! One HTTPS connection, from its verdict to its end.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use mtls_core::VerdictHandle;
use tokio::io::AsyncWriteExt;

use super::idle::Watched;
use super::verdict_field::{VERDICT_FIELD, VerdictField, verdict_field};
use super::verdict_page;
use crate::service::{Connection, Handler};
use crate::tls::HTTP_2;

/// Requests of one HTTP/2 connection at a time.
const HTTP_2_STREAMS: u32 = 128;
/// Bytes of a response that wait for one HTTP/2 stream.
const HTTP_2_SEND_BUFFER: usize = 64 * 1024;

/// Answers requests.
pub trait Respond: Clone + Send + Sync + 'static {
    /// What its responses carry.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// Answers one request of `peer`.
    fn respond(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Who sends the requests of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The server's own address on this connection.
    pub local: Option<SocketAddr>,
    /// What is known of its connection, as of now whenever it is asked.
    pub verdict: VerdictHandle,
    field: VerdictField,
    takeover: Takeover,
}

impl Peer {
    /// The value of [`VERDICT_FIELD`] as of now: a side connection may have confirmed since the last
    /// request.
    pub(crate) fn verdict_field(&self) -> HeaderValue {
        self.field.of(self.verdict.outcome())
    }

    /// Goes on with the connection when HTTP has given it up (RFC 9110, section 7.8); a second
    /// call takes the place of the first.
    pub(crate) fn take_over(&self, tunnel: impl Future<Output = ()> + Send + 'static) {
        *self.takeover.lock() = Some(Box::pin(tunnel));
    }
}

/// What goes on over a connection after HTTP.
#[derive(Clone, Default)]
struct Takeover(Arc<Mutex<Option<Tunnel>>>);

type Tunnel = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Takeover {
    fn lock(&self) -> MutexGuard<'_, Option<Tunnel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Takeover")
            .field(&self.lock().is_some())
            .finish()
    }
}

/// The bounds of HTTP.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HttpLimits {
    /// How long a client may take to send a whole HTTP/1.1 request header. The wait for the
    /// request counts, on a connection that is kept alive too. Default: 30 s.
    pub header_timeout: Duration,
    /// How long a connection may stay without a byte in either direction before it is asked to
    /// close; after the same time again it is cut. Default: 60 s.
    pub idle_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Speaks HTTP/1.1 and HTTP/2 on each connection, and has the requests answered.
///
/// Every response tells the verdict in the field [`VERDICT_FIELD`], and `/.multipath` shows it to
/// people.
#[derive(Clone, Debug)]
pub struct Site<R> {
    respond: R,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
    idle_timeout: Duration,
}

impl<R: Respond> Site<R> {
    /// Answers with `respond`. Bounds of zero count as 1 ms.
    pub fn new(respond: R, limits: &HttpLimits) -> Self {
        let least = Duration::from_millis(1);
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            // A client may have said all that it has to say: `printf … | mtls-client connect`.
            .half_close(true)
            .header_read_timeout(limits.header_timeout.max(least));
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP_2_STREAMS)
            .max_send_buf_size(HTTP_2_SEND_BUFFER);
        Self {
            respond,
            http1: http.clone().http1_only(),
            http2: http.http2_only(),
            idle_timeout: limits.idle_timeout.max(least),
        }
    }
}

impl<R: Respond> Handler for Site<R> {
    /// Serves until the client closes, nothing moves any more, or the server stops.
    async fn handle(&self, connection: Connection) {
        let Connection {
            stream,
            peer: address,
            mut stopping,
        } = connection;
        let (tls, verdict) = stream.into_parts();
        let http = match tls.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => &self.http2,
            _ => &self.http1,
        };
        tracing::debug!(peer = %address, verdict = ?verdict_field(&verdict.outcome()), "connection");
        let peer = Peer {
            address,
            local: tls.get_ref().0.local_addr().ok(),
            verdict,
            field: VerdictField::default(),
            takeover: Takeover::default(),
        };
        let takeover = peer.takeover.clone();
        let (watched, activity) = Watched::new(tls);
        let talk = Arc::new(Talk {
            respond: self.respond.clone(),
            peer,
        });
        let answer = service_fn(move |request| Arc::clone(&talk).answer(request));
        let mut serving = pin!(http.serve_connection_with_upgrades(TokioIo::new(watched), answer));
        let ended = tokio::select! {
            ended = serving.as_mut() => Some(ended),
            () = stopping.wait() => None,
            () = activity.idle_for(self.idle_timeout) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = serving => ended,
                    () = activity.idle_for(self.idle_timeout) => {
                        tracing::debug!(peer = %address, "cut off: nothing moves");
                        return;
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %address, %error, "connection ended");
        }
        let tunnel = takeover.lock().take();
        if let Some(tunnel) = tunnel {
            tokio::select! {
                () = tunnel => {}
                () = activity.idle_for(self.idle_timeout) => {
                    tracing::debug!(peer = %address, "cut off: nothing moves");
                }
            }
        }
    }
}

/// What the requests of one connection share.
struct Talk<R> {
    respond: R,
    peer: Peer,
}

impl<R: Respond> Talk<R> {
    /// The response, with the verdict in it.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Either<Full<Bytes>, R::Body>>, Infallible> {
        let upgrade = request.extensions().get::<OnUpgrade>().cloned();
        let mut response = if request.uri().path() == verdict_page::PATH {
            verdict_page::answer(request.method(), request.headers(), &self.peer).map(Either::Left)
        } else {
            let response = self.respond.respond(request, &self.peer).await;
            response.map(Either::Right)
        };
        if let (Some(upgrade), false) = (upgrade, switches(&response)) {
            self.peer.take_over(close(upgrade));
        }
        let value = self.peer.verdict_field();
        response.headers_mut().insert(VERDICT_FIELD, value);
        Ok(response)
    }
}

fn switches<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// Ends a connection that is not upgraded after all: hyper leaves that to whoever might have asked
/// for the upgrade.
async fn close(upgrade: OnUpgrade) {
    if let Ok(upgraded) = upgrade.await {
        // A client that is gone needs no farewell.
        let _ = TokioIo::new(upgraded).shutdown().await;
    }
}
