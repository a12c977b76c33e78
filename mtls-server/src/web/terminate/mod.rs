//! Passes requests on to a target: a reverse proxy that ends TLS.

mod body;
mod dial;
mod fields;
mod health;
mod retry;
mod target;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mtls_core::http_io::HeadLimit;
use rustls::RootCertStore;
use tokio::io::copy_bidirectional;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use self::body::{Attempt, Upload};
use self::dial::Dialer;
use self::fields::{About, Unfit, says_websocket, to_client, to_target, wants_websocket};
use self::health::Health;
use self::retry::{Answered, Retries, Route};
use super::idle::Activity;
use super::media::Media;
use super::pages::Problem;
use super::{Peer, RequestBody, Respond};
use crate::error::Error;
use crate::service;

pub use body::Download;
pub use target::{Target, TargetError};

/// How long an idle connection to the target is kept.
const KEEP_IDLE: Duration = Duration::from_secs(30);
/// Bytes of a response that wait for one HTTP/2 stream.
const HTTP_2_STREAM_WINDOW: u32 = 256 * 1024;
/// The largest window (RFC 9113, section 6.9.1): clients that are slow must not hold back the
/// other streams, and `h2` must not close the connection because of short frames that wait. The
/// windows of the streams bound the memory.
const HTTP_2_CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Passes requests on to one target.
///
/// Bodies stream both ways. The target is told the verdict in the field
/// [`VERDICT_FIELD`](crate::VERDICT_FIELD), and who asks in `Forwarded` and `X-Forwarded-*`; what
/// a client writes into these is dropped. WebSockets pass.
#[derive(Clone)]
pub struct Terminate {
    pooled: Client<Dialer, Attempt>,
    /// Makes a connection for each request.
    fresh: Client<Dialer, Attempt>,
    /// The same, by HTTP/1.1.
    fresh_http1: Client<Dialer, Attempt>,
    dialer: Dialer,
    target: Arc<Target>,
    health: Health,
    places: Arc<Semaphore>,
    response_timeout: Duration,
}

/// How requests are passed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TerminateOptions {
    /// Where to.
    pub target: Target,
    /// Whom to trust with a target of `https`. Default: nobody.
    pub roots: RootCertStore,
    /// Pass on without TLS to what may be another machine. Default: no.
    pub unsafe_target: bool,
    /// Requests at a time, WebSockets too; more are answered with 503. Default: 1,024.
    pub requests: usize,
    /// Connections to the target that wait for a request. Default: 64.
    pub idle_connections: usize,
    /// How long connecting may take, TLS included. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long the target may take to answer, from the last byte of the request that came.
    /// Default: 60 s.
    pub response_timeout: Duration,
}

impl TerminateOptions {
    /// The defaults of everything that has one.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            roots: RootCertStore::empty(),
            unsafe_target: false,
            requests: 1_024,
            idle_connections: 64,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
        }
    }
}

/// What a response of [`Terminate`] carries: a page of this program's own, or what the target
/// sends.
pub type TerminateBody = Either<Full<Bytes>, Download>;

impl Terminate {
    /// Dials nothing yet: a target that is down is an error of requests.
    ///
    /// # Errors
    /// [`Error::Target`] for one that would be passed on to without TLS; [`Error::Tls`] when
    /// rustls cannot be set up.
    pub fn new(options: TerminateOptions) -> Result<Self, Error> {
        let target = Arc::new(options.target);
        let private = !options.unsafe_target;
        if private {
            target.check_private().map_err(Error::Target)?;
        }
        let dialer = Dialer::new(&target, options.roots, private, options.connect_timeout)
            .map_err(Error::Tls)?;
        let http2 = target.http2();
        Ok(Self {
            pooled: client(dialer.clone(), http2, options.idle_connections),
            fresh: client(dialer.clone(), http2, 0),
            fresh_http1: client(dialer.http1(), false, 0),
            dialer,
            health: Health::new(Arc::clone(&target)),
            target,
            places: Arc::new(Semaphore::new(options.requests.min(Semaphore::MAX_PERMITS))),
            response_timeout: options.response_timeout,
        })
    }

    /// What requests, and [`watch`](Self::watch), have shown of the target.
    pub(crate) fn health(&self) -> &Arc<service::Health> {
        self.health.noted()
    }

    /// Connects to the target every `interval`, to see whether it takes connections; never ends,
    /// safe to drop.
    pub(crate) async fn watch(self, interval: Duration) {
        let connect = || async {
            let uri = self.target.uri(None).unwrap_or_default();
            let dialed = self.dialer.clone().call(uri).await;
            dialed.map(drop).map_err(|error| error.to_string())
        };
        match self.health().watch(interval, connect).await {}
    }

    async fn pass(
        &self,
        request: Request<RequestBody>,
        peer: &Peer,
    ) -> Result<Response<TerminateBody>, Failure> {
        if request.method() == Method::CONNECT {
            return Err(Failure::Connect);
        }
        let places = Arc::clone(&self.places);
        let place = places.try_acquire_owned().map_err(|_| Failure::Busy)?;
        let (mut parts, body) = request.into_parts();
        let upgrade = take_upgrade(&mut parts);
        let activity = Activity::start();
        let upload = Upload::new(body, activity.clone());
        let answer = tokio::select! {
            answer = self.send(&parts, &upload, peer) => answer?,
            () = activity.idle_for(self.response_timeout) => {
                self.health.silent();
                return Err(Failure::Target(StatusCode::GATEWAY_TIMEOUT));
            }
        };
        self.health.answered();
        if !fits(answer.headers()) {
            self.health.too_long();
            return Err(Failure::Target(StatusCode::BAD_GATEWAY));
        }
        match (answer.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) if says_websocket(answer.headers()) => {
                Ok(switch(answer, client, peer, place))
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                self.health.switched_unasked(answer.headers().get(UPGRADE));
                Err(Failure::Target(StatusCode::BAD_GATEWAY))
            }
            _ => Ok(finish(answer, place)),
        }
    }

    /// Sends the request, again where that is right, and waits for the head of the response.
    async fn send(
        &self,
        parts: &Parts,
        upload: &Upload,
        peer: &Peer,
    ) -> Result<Response<Incoming>, Failure> {
        let (mut retries, mut route) = (Retries::default(), Route::Pooled);
        loop {
            let head = self.rewritten(parts, peer, route)?;
            let mut request = Request::from_parts(head, upload.attempt());
            let connection = capture_connection(&mut request);
            let error = match self.client(route).request(request).await {
                Ok(answer) => {
                    Answered::note(answer.extensions());
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if upload.is_broken() {
                return Err(Failure::Body);
            }
            let reused = Answered::before(&connection);
            let again = retries.after(&error, &parts.method, reused);
            route = match again.filter(|_| upload.is_replayable()) {
                Some(route) => route,
                None => return Err(Failure::Target(self.health.failed(&error))),
            };
            tracing::debug!(target_url = %self.target, %error, ?route, "request sent again");
        }
    }

    fn client(&self, route: Route) -> &Client<Dialer, Attempt> {
        match route {
            Route::Pooled => &self.pooled,
            Route::Fresh => &self.fresh,
            Route::Http1 => &self.fresh_http1,
        }
    }

    fn rewritten(&self, parts: &Parts, peer: &Peer, route: Route) -> Result<Parts, Failure> {
        let http2 = self.target.http2() && route != Route::Http1;
        let about = About {
            client: peer.address,
            verdict: peer.verdict_field(),
        };
        let mut parts = parts.clone();
        to_target(&mut parts, &about, http2).map_err(Failure::Unfit)?;
        let path = parts.uri.path_and_query();
        parts.uri = self
            .target
            .uri(path)
            .ok_or(Failure::Unfit(Unfit::BadHost))?;
        parts.version = match http2 {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        };
        // What was known of the client's connection means nothing on the target's.
        parts.extensions.clear();
        Ok(parts)
    }
}

fn client(dialer: Dialer, http2: bool, idle_connections: usize) -> Client<Dialer, Attempt> {
    let limit = HeadLimit::RESPONSE;
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP_IDLE)
        .pool_max_idle_per_host(idle_connections)
        .http1_max_headers(limit.fields())
        .http1_max_buf_size(limit.bytes())
        .http2_only(http2)
        .http2_max_header_list_size(limit.list_size())
        .http2_initial_stream_window_size(HTTP_2_STREAM_WINDOW)
        .http2_initial_connection_window_size(HTTP_2_CONNECTION_WINDOW)
        .set_host(false)
        .build(dialer)
}

fn fits(fields: &HeaderMap) -> bool {
    let fields = fields.iter();
    HeadLimit::RESPONSE.allows(fields.map(|(name, value)| (name.as_str(), value.as_bytes())))
}

impl Respond for Terminate {
    type Body = TerminateBody;

    async fn respond(&self, request: Request<RequestBody>, peer: &Peer) -> Response<TerminateBody> {
        let method = request.method().clone();
        let accept = request.headers().get(ACCEPT).cloned();
        match self.pass(request, peer).await {
            Ok(response) => response,
            Err(failure) => failure.response(&method, accept.as_ref()),
        }
    }
}

impl fmt::Debug for Terminate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminate")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Why this server answers in the target's place.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Unfit(Unfit),
    Connect,
    Busy,
    /// The client's own.
    Body,
    /// 502 or 504.
    Target(StatusCode),
}

impl Failure {
    fn response(self, method: &Method, accept: Option<&HeaderValue>) -> Response<TerminateBody> {
        let (status, text) = match self {
            Self::Unfit(unfit) => (Unfit::STATUS, unfit.text()),
            Self::Connect => (
                StatusCode::NOT_IMPLEMENTED,
                "This server passes requests on to one site, and is no proxy for others.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests are under way. Try again in a moment.",
            ),
            Self::Body => (
                StatusCode::BAD_REQUEST,
                "The body of the request is malformed, or it broke off.",
            ),
            Self::Target(StatusCode::GATEWAY_TIMEOUT) => (
                StatusCode::GATEWAY_TIMEOUT,
                "Your connection has reached this server. The site behind it did not answer in \
                 time. Try again later.",
            ),
            Self::Target(status) => (
                status,
                "Your connection has reached this server. The site behind it cannot be reached. \
                 Try again later.",
            ),
        };
        let media = Media::choose(accept, &[Media::Text, Media::Html]);
        Problem { status, text }
            .response(method, media)
            .map(Either::Left)
    }
}

/// The client's end of a WebSocket, if it asks for one.
fn take_upgrade(parts: &mut Parts) -> Option<OnUpgrade> {
    let upgrade = parts.extensions.remove::<OnUpgrade>()?;
    wants_websocket(parts).then_some(upgrade)
}

fn finish(answer: Response<Incoming>, place: OwnedSemaphorePermit) -> Response<TerminateBody> {
    let (mut parts, body) = answer.into_parts();
    to_client(&mut parts.headers, false);
    // As the client's connection has it, and not the target's.
    parts.version = Version::default();
    parts.extensions.clear();
    Response::from_parts(parts, Either::Right(Download::new(body, place)))
}

/// Hands both ends over to a tunnel.
fn switch(
    mut answer: Response<Incoming>,
    client: OnUpgrade,
    peer: &Peer,
    place: OwnedSemaphorePermit,
) -> Response<TerminateBody> {
    let target = hyper::upgrade::on(&mut answer);
    peer.take_over(async move {
        let _place = place;
        let ends = tokio::try_join!(client, target);
        let ended = match ends {
            Ok((client, target)) => {
                let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
                copy_bidirectional(&mut client, &mut target)
                    .await
                    .map(|_| ())
            }
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a WebSocket broke");
        }
    });
    let (mut parts, _) = answer.into_parts();
    to_client(&mut parts.headers, true);
    parts.version = Version::default();
    parts.extensions.clear();
    Response::from_parts(parts, Either::Left(Full::default()))
}
