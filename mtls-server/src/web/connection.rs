//! One HTTPS connection, from its TLS handshake to its end.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mtls_core::VerdictHandle;
use mtls_core::http_io::{HeadLimit, MergeData, linger};
use tokio::io::AsyncWriteExt;

use super::client_io::ClientIo;
use super::idle::{Activity, IdleLimits, Watched, WatchedBody};
use super::media::Media;
use super::pages::Problem;
use super::request_body::RequestBody;
use super::verdict_field::{VERDICT_FIELD, VerdictField};
use super::verdict_page;
use crate::service::{Connection, Handler, Stopping};
use crate::tls::HTTP_2;

/// Requests of one HTTP/2 connection at a time.
const HTTP_2_STREAMS: u32 = 128;
/// Bytes of a response that wait for one HTTP/2 stream.
const HTTP_2_SEND_BUFFER: usize = 64 * 1024;
/// Bytes of request bodies that wait for one HTTP/2 stream, and for one connection. `h2` ends a
/// connection when the cost of the short frames that wait exceeds half of the latter (see
/// [`MergeData`]): frames of 32 bytes can fill a stream's window.
const HTTP_2_STREAM_WINDOW: u32 = 1024 * 1024;
const HTTP_2_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Answers requests.
pub trait Respond: Clone + Send + Sync + 'static {
    /// What its responses carry.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// Answers one request of `peer`.
    fn respond(
        &self,
        request: Request<RequestBody>,
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
    /// close; after the same time again it is cut. It applies while the client is to send a request
    /// or to read. Default: 60 s.
    pub idle_timeout: Duration,
    /// The same for a client that waits for a response, or for more of one, and for WebSockets.
    /// Default: 1 h.
    pub stream_timeout: Duration,
    /// The longest head of a request, over HTTP/1.1 and HTTP/2; a longer one gets 431. Default:
    /// [`HeadLimit::REQUEST`].
    pub request_head: HeadLimit,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            stream_timeout: Duration::from_secs(3600),
            request_head: HeadLimit::REQUEST,
        }
    }
}

impl HttpLimits {
    fn idle(&self) -> IdleLimits {
        IdleLimits {
            idle: self.idle_timeout,
            stream: self.stream_timeout,
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
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: HttpLimits,
}

impl<R: Respond> Site<R> {
    /// Answers with `respond`. Bounds of zero count as 1 ms.
    pub fn new(respond: R, limits: &HttpLimits) -> Self {
        let least = Duration::from_millis(1);
        let head = limits.request_head;
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // A client may close its sending half and read on; `ClientIo::gone` finds the others.
            .half_close(true)
            .max_headers(head.fields())
            .max_header_size(head.bytes())
            .header_read_timeout(limits.header_timeout.max(least));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP_2_STREAMS)
            .max_send_buf_size(HTTP_2_SEND_BUFFER)
            .initial_stream_window_size(HTTP_2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP_2_CONNECTION_WINDOW)
            .max_header_list_size(head.list_size());
        Self {
            respond,
            http1,
            http2,
            limits: HttpLimits {
                idle_timeout: limits.idle_timeout.max(least),
                stream_timeout: limits.stream_timeout.max(least),
                ..*limits
            },
        }
    }

    /// Drives a connection to its end; `finish` asks it to end soon.
    async fn drive<C>(
        &self,
        serving: C,
        finish: impl FnOnce(Pin<&mut C>),
        gone: impl Future<Output = ()>,
        watch: (&mut Stopping, &Activity),
    ) -> End
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let (mut serving, mut gone) = (pin!(serving), pin!(gone));
        let (stopping, activity) = watch;
        tokio::select! {
            biased;
            () = &mut gone => return End::Cut("the client is gone"),
            ended = serving.as_mut() => return End::from(ended),
            () = stopping.wait() => {}
            () = activity.idle_within(self.limits.idle()) => {}
        }
        finish(serving.as_mut());
        tokio::select! {
            biased;
            () = gone => End::Cut("the client is gone"),
            ended = serving => End::from(ended),
            () = activity.idle_within(self.limits.idle()) => End::Cut("nothing moves"),
        }
    }
}

/// How HTTP on a connection came to its end.
enum End {
    Served,
    Failed(hyper::Error),
    Cut(&'static str),
}

impl From<hyper::Result<()>> for End {
    fn from(ended: hyper::Result<()>) -> Self {
        ended.map_or_else(Self::Failed, |()| Self::Served)
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
        let (tcp, tls) = stream.get_ref().get_ref();
        let is_http2 = tls.alpn_protocol() == Some(HTTP_2);
        tracing::debug!(peer = %address, "connection");
        let local = tcp.local_addr().ok();
        let verdict = stream.verdict_handle();
        // Its first read waits for the verdict, so that the first request finds it decided.
        let client = ClientIo::new(stream);
        let (io, activity) = Watched::new(client.clone());
        let talk = Arc::new(Talk {
            respond: self.respond.clone(),
            activity: activity.clone(),
            peer: Peer {
                address,
                local,
                verdict,
                field: VerdictField::default(),
                takeover: Takeover::default(),
            },
            request_head: self.limits.request_head,
            sends: AtomicBool::new(false),
        });
        let answering = Arc::clone(&talk);
        let answer = service_fn(move |request| Arc::clone(&answering).answer(request));
        let watch = (&mut stopping, &activity);
        let end = match is_http2 {
            true => {
                let io = TokioIo::new(MergeData::server(io));
                let serving = self.http2.serve_connection(io, answer);
                let finish = |serving: Pin<&mut http2::Connection<_, _, _>>| {
                    serving.graceful_shutdown();
                };
                // HTTP/2 reads all the time, and notices the end itself.
                self.drive(serving, finish, std::future::pending(), watch)
                    .await
            }
            false => {
                let serving = self.http1.serve_connection(TokioIo::new(io), answer);
                let finish = |serving: Pin<&mut http1::UpgradeableConnection<_, _>>| {
                    serving.graceful_shutdown();
                };
                self.drive(serving.with_upgrades(), finish, client.gone(), watch)
                    .await
            }
        };
        self.after_http(end, &talk, client, &activity).await;
    }
}

impl<R: Respond> Site<R> {
    /// Goes on with what took the connection over, or closes it.
    async fn after_http(&self, end: End, talk: &Talk<R>, client: ClientIo, activity: &Activity) {
        let peer = talk.peer.address;
        let lingers = match end {
            End::Served => talk.sends.load(Ordering::Relaxed),
            End::Failed(error) => {
                tracing::debug!(%peer, %error, "connection ended");
                true
            }
            End::Cut(why) => {
                tracing::debug!(%peer, why, "cut off");
                return;
            }
        };
        let tunnel = talk.peer.takeover.lock().take();
        match tunnel {
            Some(tunnel) => {
                let _awaited = activity.awaited();
                tokio::select! {
                    () = tunnel => {}
                    () = activity.idle_within(self.limits.idle()) => {
                        tracing::debug!(%peer, "cut off: nothing moves");
                    }
                }
            }
            None if lingers => linger(client).await,
            None => {}
        }
    }
}

/// What the requests of one connection share.
struct Talk<R> {
    respond: R,
    peer: Peer,
    request_head: HeadLimit,
    /// The last request has a body, which the client may still send.
    sends: AtomicBool,
    activity: Activity,
}

impl<R: Respond> Talk<R> {
    /// The response, with the verdict in it.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Either<Full<Bytes>, WatchedBody<R::Body>>>, Infallible> {
        let upgrade = request.extensions().get::<OnUpgrade>().cloned();
        let has_body = !request.body().is_end_stream();
        self.sends.store(has_body, Ordering::Relaxed);
        let version = request.version();
        let request = request.map(|body| RequestBody::new(body, version));
        let mut response = if !self.fits(&request) {
            too_long(&request).map(Either::Left)
        } else if request.uri().path() == verdict_page::PATH {
            verdict_page::answer(request.method(), request.headers(), &self.peer).map(Either::Left)
        } else {
            let awaited = self.activity.awaited();
            let response = self.respond.respond(request, &self.peer).await;
            drop(awaited);
            response.map(|body| Either::Right(WatchedBody::new(body, self.activity.clone())))
        };
        if let (Some(upgrade), false) = (upgrade, switches(&response)) {
            self.peer.take_over(close(upgrade));
        }
        let value = self.peer.verdict_field();
        response.headers_mut().insert(VERDICT_FIELD, value);
        Ok(response)
    }
}

impl<R> Talk<R> {
    /// The HTTP library checks this of HTTP/1.1.
    fn fits<B>(&self, request: &Request<B>) -> bool {
        let uri = request.uri();
        let start = [
            (":method", request.method().as_str()),
            (
                ":path",
                uri.path_and_query().map_or("", |path| path.as_str()),
            ),
            (
                ":authority",
                uri.authority().map_or("", |host| host.as_str()),
            ),
        ];
        let start = start.map(|(name, value)| (name, value.as_bytes()));
        let fields = request.headers().iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        request.version() < Version::HTTP_2
            || self.request_head.allows(start.into_iter().chain(fields))
    }
}

fn too_long<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT);
    Problem {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        text: "The header fields of the request are too long. Delete this site's cookies, and try \
               again.",
    }
    .response(
        request.method(),
        Media::choose(accept, &[Media::Text, Media::Html]),
    )
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
