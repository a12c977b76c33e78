//! Forwards requests to a target: a reverse proxy that terminates TLS.

mod answered;
mod body;
mod dial;
mod failure;
mod fields;
mod health;
mod retry;
mod upgrade;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use mtls_core::http_io::HeadLimit;
use mtls_core::tower::{Media, MultipathConnectInfo};
use rustls::RootCertStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use self::answered::Answered;
use self::body::{Attempt, Upload};
use self::dial::Dialer;
use self::failure::Failure;
use self::fields::{ClientFacts, InvalidHost, says_websocket, to_client, to_target};
use self::health::Health;
use self::retry::{Retries, Route};
use self::upgrade::Upgrade;
use super::connection::activity::Activity;
use super::{RequestBody, framing};
use crate::arguments::{count, positive};
use crate::error::Error;
use crate::service;
use crate::target::Target;

#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) use self::fields::fuzzing::fuzz as fuzz_fields;
pub use body::Download;

/// The lifetime of an idle connection to the target.
const KEEP_IDLE: Duration = Duration::from_secs(30);
/// Bytes of a response that wait for one HTTP/2 stream.
const HTTP_2_STREAM_WINDOW: u32 = 256 * 1024;
/// The largest window (RFC 9113, section 6.9.1): clients that are slow must not hold back the
/// other streams, and `h2` must not close the connection because of short frames that wait. The
/// windows of the streams bound the memory.
const HTTP_2_CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// A tower service that forwards requests to one target.
///
/// Bodies stream in both directions, and WebSockets pass. The target receives the verdict in the field
/// [`VERDICT_FIELD`](mtls_core::tower::VERDICT_FIELD), and the client's address in `Forwarded` and
/// `X-Forwarded-*`; values of these fields from clients are dropped.
///
/// It needs the [`MultipathConnectInfo`] of the connection in the extensions of each request, as
/// [`Site`](crate::Site) inserts it, and responds with 500 without it.
#[derive(Clone)]
pub struct Terminate {
    pooled: Client<Dialer, Attempt>,
    /// A new connection for each request.
    fresh: Client<Dialer, Attempt>,
    /// The same over HTTP/1.1.
    fresh_http1: Client<Dialer, Attempt>,
    dialer: Dialer,
    target: Arc<Target>,
    health: Health,
    slots: Arc<Semaphore>,
    response_timeout: Duration,
}

/// Settings of [`Terminate`].
///
/// ```
/// use mtls_server::{HttpLimits, Site, Terminate, TerminateOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut options = TerminateOptions::new("http://127.0.0.1:8080".parse()?);
/// options.idle_connections = 16;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let site = Site::new(Terminate::new(options)?, &HttpLimits::default());
/// # Ok::<_, mtls_server::Error>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TerminateOptions {
    /// The target.
    pub target: Target,
    /// The CAs for a target of `https`. Default: none.
    pub roots: RootCertStore,
    /// Allow plaintext to another machine. Default: no.
    pub unsafe_target: bool,
    /// Maximum number of idle connections to the target. Default: 64.
    pub idle_connections: usize,
    /// The limits of requests.
    pub limits: TargetLimits,
}

/// The limits of requests to a target, which are also options of the command line.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[non_exhaustive]
pub struct TargetLimits {
    /// Maximum number of requests to the target at a time, WebSockets included; more get 503
    #[arg(long = "max-requests", value_name = "N", default_value = "1024", value_parser = count)]
    pub requests: usize,

    /// Maximum time to connect to the target; then 504
    #[arg(
        long = "target-connect-timeout",
        value_name = "TIME",
        default_value = "5s",
        value_parser = positive
    )]
    pub connect_timeout: Duration,

    /// Maximum time for the target's response after the complete request; then 504
    #[arg(
        long = "target-timeout",
        value_name = "TIME",
        default_value = "60s",
        value_parser = positive
    )]
    pub response_timeout: Duration,
}

impl Default for TargetLimits {
    fn default() -> Self {
        Self {
            requests: 1_024,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
        }
    }
}

impl TerminateOptions {
    /// Uses the defaults of all other settings.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            roots: RootCertStore::empty(),
            unsafe_target: false,
            idle_connections: 64,
            limits: TargetLimits::default(),
        }
    }
}

/// The body of a response of [`Terminate`]: a page of this server, or the body of the target's response.
pub type TerminateBody = Either<Full<Bytes>, Download>;

impl Terminate {
    /// Does not connect yet: a target that is down is an error of requests.
    ///
    /// # Errors
    /// [`Error::Target`] for plaintext to another machine; [`Error::Tls`] when
    /// rustls cannot be set up.
    pub fn new(options: TerminateOptions) -> Result<Self, Error> {
        let (target, limits) = (Arc::new(options.target), options.limits);
        let private = !options.unsafe_target;
        if private {
            target.check_private().map_err(Error::Target)?;
        }
        let dialer = Dialer::new(&target, options.roots, private, limits.connect_timeout)
            .map_err(Error::Tls)?;
        let http2 = target.http2();
        Ok(Self {
            pooled: client(dialer.clone(), http2, options.idle_connections),
            fresh: client(dialer.clone(), http2, 0),
            fresh_http1: client(dialer.http1(), false, 0),
            dialer,
            health: Health::new(Arc::clone(&target)),
            target,
            slots: Arc::new(Semaphore::new(limits.requests.min(Semaphore::MAX_PERMITS))),
            response_timeout: limits.response_timeout,
        })
    }

    /// The health of the target, as requests and [`watch`](Self::watch) found it.
    pub(crate) fn health(&self) -> &Arc<service::Health> {
        self.health.record()
    }

    /// Connects to the target every `interval`, to check whether it accepts connections. Never ends;
    /// cancel safe.
    pub(crate) async fn watch(self, interval: Duration) {
        let connect = || async {
            let uri = self.target.uri(None).unwrap_or_default();
            let dialed = self.dialer.clone().call(uri).await;
            dialed.map(drop).map_err(|error| error.to_string())
        };
        match self.health().watch(interval, connect).await {}
    }

    async fn forward(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<TerminateBody>, Failure> {
        if request.method() == Method::CONNECT {
            return Err(Failure::Connect);
        }
        let slots = Arc::clone(&self.slots);
        let slot = slots.try_acquire_owned().map_err(|_| Failure::Busy)?;
        let (mut parts, body) = request.into_parts();
        let info = parts.extensions.remove::<MultipathConnectInfo>();
        let info = info.ok_or(Failure::NoConnectInfo)?;
        let upgrade = Upgrade::take(&mut parts);
        // Facts about the client's connection mean nothing on the target's.
        parts.extensions.clear();
        let activity = Activity::start();
        let upload = Upload::new(body, activity.clone());
        let mut response = tokio::select! {
            response = self.send(&parts, &upload, &info) => response?,
            () = activity.idle_for(self.response_timeout) => {
                self.health.silent();
                return Err(Failure::Target(StatusCode::GATEWAY_TIMEOUT));
            }
        };
        self.health.answered();
        if !fits(response.headers()) {
            self.health.too_long();
            return Err(Failure::Target(StatusCode::BAD_GATEWAY));
        }
        if framing::normalize(response.headers_mut()).is_err() {
            self.health.ambiguous();
            return Err(Failure::Target(StatusCode::BAD_GATEWAY));
        }
        match (response.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade))
                if says_websocket(response.headers()) =>
            {
                Ok(upgrade.switch(response, slot))
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                self.health
                    .switched_unexpectedly(response.headers().get(UPGRADE));
                Err(Failure::Target(StatusCode::BAD_GATEWAY))
            }
            _ => Ok(finish(response, slot)),
        }
    }

    /// Sends the request, again if that is safe, and waits for the head of the response.
    async fn send(
        &self,
        parts: &Parts,
        upload: &Upload,
        info: &MultipathConnectInfo,
    ) -> Result<Response<Incoming>, Failure> {
        let (mut retries, mut route) = (Retries::default(), Route::Pooled);
        loop {
            let head = self.rewritten(parts, info, route)?;
            let mut request = Request::from_parts(head, upload.attempt());
            let connection = capture_connection(&mut request);
            let error = match self.client(route).request(request).await {
                Ok(response) => {
                    Answered::note(response.extensions());
                    return Ok(response);
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

    fn rewritten(
        &self,
        parts: &Parts,
        info: &MultipathConnectInfo,
        route: Route,
    ) -> Result<Parts, Failure> {
        let http2 = self.target.http2() && route != Route::Http1;
        let client = ClientFacts {
            address: info.peer(),
            verdict: info.verdict_field(),
        };
        let mut parts = parts.clone();
        to_target(&mut parts, &client, http2).map_err(Failure::Host)?;
        let path = parts.uri.path_and_query();
        parts.uri = self
            .target
            .uri(path)
            .ok_or(Failure::Host(InvalidHost::Malformed))?;
        parts.version = match http2 {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        };
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
        // RFC 9112, sections 5.1 and 5.2: they are removed, and not refused.
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
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

impl Service<Request<RequestBody>> for Terminate {
    type Response = Response<TerminateBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let terminate = self.clone();
        Box::pin(async move {
            let method = request.method().clone();
            let media = Media::negotiate(request.headers(), &[Media::Text, Media::Html]);
            let forwarded = terminate.forward(request).await;
            Ok(forwarded.unwrap_or_else(|failure| failure.response(&method, media)))
        })
    }
}

impl fmt::Debug for Terminate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminate")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

fn finish(response: Response<Incoming>, slot: OwnedSemaphorePermit) -> Response<TerminateBody> {
    let (mut parts, body) = response.into_parts();
    to_client(&mut parts.headers, false);
    // The version of the client's connection, and not of the target's.
    parts.version = Version::default();
    parts.extensions.clear();
    let body = match parts.status {
        // They have none (RFC 9110, sections 15.3.5 and 15.4.5), although HTTP/2 can carry one.
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Either::Left(Full::default()),
        _ => Either::Right(Download::new(body, slot)),
    };
    Response::from_parts(parts, body)
}
