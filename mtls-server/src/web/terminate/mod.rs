//! Passes requests on to a target: a reverse proxy that ends TLS.

mod body;
mod dial;
mod fields;
mod health;
mod target;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use tokio::io::copy_bidirectional;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::body::Upload;
use self::dial::Dialer;
use self::fields::{About, Unfit, says_websocket, to_client, to_target, wants_websocket};
use self::health::Health;
use super::idle::Activity;
use super::media::Media;
use super::pages::Problem;
use super::{Peer, Respond};
use crate::error::Error;

pub use body::Download;
pub use target::{Target, TargetError};

/// How long an idle connection to the target is kept.
const KEEP_IDLE: Duration = Duration::from_secs(30);

/// Passes requests on to one target.
///
/// Bodies stream both ways. The target is told the verdict in the field
/// [`VERDICT_FIELD`](crate::VERDICT_FIELD), and who asks in `Forwarded` and `X-Forwarded-*`; what
/// a client writes into these is dropped. WebSockets pass.
#[derive(Clone)]
pub struct Terminate {
    client: Client<Dialer, Upload>,
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
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(options.idle_connections)
            .http2_only(target.http2())
            .set_host(false)
            .build(dialer);
        Ok(Self {
            client,
            health: Health::new(Arc::clone(&target)),
            target,
            places: Arc::new(Semaphore::new(options.requests.min(Semaphore::MAX_PERMITS))),
            response_timeout: options.response_timeout,
        })
    }

    async fn pass(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<TerminateBody>, Failure> {
        if request.method() == Method::CONNECT {
            return Err(Failure::Connect);
        }
        let places = Arc::clone(&self.places);
        let place = places.try_acquire_owned().map_err(|_| Failure::Busy)?;
        let (mut parts, body) = request.into_parts();
        let upgrade = take_upgrade(&mut parts);
        self.rewrite(&mut parts, peer)?;
        let activity = Activity::start();
        let body = Upload::new(body, activity.clone());
        let answer = self.client.request(Request::from_parts(parts, body));
        let answer = tokio::select! {
            answer = answer => answer.map_err(|error| Failure::Target(self.health.failed(&error)))?,
            () = activity.idle_for(self.response_timeout) => {
                self.health.silent();
                return Err(Failure::Target(StatusCode::GATEWAY_TIMEOUT));
            }
        };
        self.health.answered();
        match (answer.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) if says_websocket(answer.headers()) => {
                Ok(switch(answer, client, peer, place))
            }
            // Nobody has asked for that.
            (StatusCode::SWITCHING_PROTOCOLS, _) => Err(Failure::Target(StatusCode::BAD_GATEWAY)),
            _ => Ok(finish(answer, place)),
        }
    }

    fn rewrite(&self, parts: &mut Parts, peer: &Peer) -> Result<(), Failure> {
        let about = About {
            client: peer.address,
            verdict: peer.verdict_field(),
        };
        to_target(parts, &about, self.target.http2()).map_err(Failure::Unfit)?;
        let path = parts.uri.path_and_query();
        parts.uri = self
            .target
            .uri(path)
            .ok_or(Failure::Unfit(Unfit::BadHost))?;
        parts.version = match self.target.http2() {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        };
        // What was known of the client's connection means nothing on the target's.
        parts.extensions.clear();
        Ok(())
    }
}

impl Respond for Terminate {
    type Body = TerminateBody;

    async fn respond(&self, request: Request<Incoming>, peer: &Peer) -> Response<TerminateBody> {
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
