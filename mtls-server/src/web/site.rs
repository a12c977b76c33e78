//! A tower service, served over HTTP on each connection.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes};
use hyper::header::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mtls_core::ServerStream;
use mtls_core::http_io::{HeadLimit, MergeData, linger};
use mtls_core::known_hosts::Advertisement;
use mtls_core::tower::MultipathConnectInfo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::BoxError;
use super::connection::RequestBody;
use super::connection::activity::{Activity, Expired, IdleLimits, TimedStream};
use super::connection::client_io::{ClientHandle, ClientIo};
use super::connection::finish::until_finish;
use super::connection::http1::Http1;
use super::connection::requests::Requests;
use super::http3::Http3;
use crate::arguments::{head_limit, positive};
use crate::service::{Channel, Connection, Stopping};
use crate::tls::HTTP_2;

/// Concurrent requests of one HTTP/2 connection.
const HTTP_2_STREAMS: u32 = 128;
/// Bytes of a response that wait for one HTTP/2 stream.
const HTTP_2_SEND_BUFFER: usize = 64 * 1024;
/// Bytes of request bodies that wait for one HTTP/2 stream, and for one connection. `h2` ends a
/// connection when the cost of the short frames that wait exceeds half of the latter (see
/// [`MergeData`]): frames of 32 bytes can fill a stream's window.
const HTTP_2_STREAM_WINDOW: u32 = 1024 * 1024;
const HTTP_2_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// The shortest limit of time: shorter ones count as this one.
const LEAST: Duration = Duration::from_millis(1);

/// The limits of HTTP, which are also options of the command line.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[non_exhaustive]
pub struct HttpLimits {
    /// Maximum time for an HTTP/1.1 client to send a request header, waiting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = positive)]
    pub header_timeout: Duration,

    /// Close a connection after this time without a byte, while the client is to send or to read
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive)]
    pub idle_timeout: Duration,

    /// Close a connection after this time without a byte, while the client waits for a response
    /// or for more of one (server-sent events), and for WebSockets
    #[arg(long, value_name = "TIME", default_value = "60m", value_parser = positive)]
    pub stream_timeout: Duration,

    /// Maximum size of request line and header fields in bytes, over all versions of HTTP; larger
    /// ones get 431
    #[arg(
        long = "max-header-size",
        value_name = "BYTES",
        default_value = "32768",
        value_parser = head_limit
    )]
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

/// Serves a tower service over HTTP/1.1, HTTP/2 and HTTP/3: [`Files`](crate::Files),
/// [`Terminate`](crate::Terminate), an axum `Router`, or any other.
///
/// Each request has a [`MultipathConnectInfo`] in its extensions, and each response the verdict in
/// the field [`VERDICT_FIELD`](mtls_core::tower::VERDICT_FIELD). `/.multipath` is a page about the
/// verdict.
#[derive(Clone, Debug)]
pub struct Site<S> {
    service: S,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: HttpLimits,
    advertised: Option<HeaderValue>,
    /// Whether HTTP/3 is named, and at which port other than the connection's own.
    http3: Option<Option<u16>>,
}

impl<S> Site<S> {
    /// Responds to requests with `service`. Limits of zero count as 1 ms.
    pub fn new(service: S, limits: &HttpLimits) -> Self {
        let head = limits.request_head;
        let mut http1 = http1::Builder::new();
        http1
            // A client may close its sending half and read on; `ClientHandle` detects the others.
            .half_close(true)
            .max_header_size(head.bytes())
            // `Activity` does that without a timer for each request.
            .header_read_timeout(None);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP_2_STREAMS)
            .max_send_buf_size(HTTP_2_SEND_BUFFER)
            .initial_stream_window_size(HTTP_2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP_2_CONNECTION_WINDOW)
            .max_header_list_size(head.list_size());
        Self {
            service,
            http1,
            http2,
            limits: *limits,
            advertised: None,
            http3: None,
        }
    }

    /// Adds the field [`KNOWN_HOSTS_FIELD`](mtls_core::tower::KNOWN_HOSTS_FIELD) with this value to each
    /// response, in place of the service's.
    #[must_use]
    pub fn advertise(mut self, advertisement: &Advertisement) -> Self {
        self.advertised = Some(HeaderValue::from(advertisement));
        self
    }

    /// Names HTTP/3 on the UDP port of the same number in `Alt-Svc` (RFC 7838) of each response over
    /// HTTP/1.1 and HTTP/2, where the service does not set the field. `port` is another port that clients
    /// see.
    #[must_use]
    pub fn http3(mut self, port: Option<u16>) -> Self {
        self.http3 = Some(port);
        self
    }

    fn alternative(&self, info: &MultipathConnectInfo) -> Option<HeaderValue> {
        let port = self.http3?.or(info.local().map(|local| local.port()))?;
        HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok()
    }

    fn idle(&self, header: Option<Duration>) -> IdleLimits {
        IdleLimits {
            idle: self.limits.idle_timeout.max(LEAST),
            stream: self.limits.stream_timeout.max(LEAST),
            header: header.map(|header| header.max(LEAST)),
        }
    }
}

impl<S, B> Service<Connection> for Site<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Serves until the client closes, a limit of time is exceeded, or the server stops.
    fn call(&mut self, connection: Connection) -> Self::Future {
        let site = self.clone();
        Box::pin(async move {
            site.serve(connection).await;
            Ok(())
        })
    }
}

impl<S, B> Site<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn serve(&self, connection: Connection) {
        let peer = connection.peer;
        tracing::debug!(%peer, "connection");
        match connection.channel {
            Channel::Tls(stream) => self.serve_tcp(*stream, peer, connection.stopping).await,
            Channel::Quic {
                connection: quic,
                local,
            } => {
                let verdict = match quic.wait_for_verdict().await {
                    Ok(decided) => decided,
                    Err(error) => return tracing::debug!(%peer, %error, "connection ended"),
                };
                let info = MultipathConnectInfo::from_parts(verdict.verdict_handle(), peer, local);
                let requests = Requests::new(
                    self.service.clone(),
                    info,
                    Activity::start(),
                    self.limits.request_head,
                );
                let requests = Arc::new(requests.advertise(self.advertised.clone()));
                let limits = self.idle(Some(self.limits.header_timeout));
                let serving = Http3 { requests, limits };
                serving
                    .serve(verdict.into_inner(), connection.stopping)
                    .await;
            }
        }
    }

    async fn serve_tcp(
        &self,
        stream: ServerStream<TcpStream>,
        peer: SocketAddr,
        mut stopping: Stopping,
    ) {
        let is_http2 = stream.get_ref().get_ref().1.alpn_protocol() == Some(HTTP_2);
        let info = MultipathConnectInfo::new(&stream, peer);
        // Its first read waits for the verdict, so that the first request finds it decided.
        let (io, client) = ClientIo::new(stream);
        let (io, activity) = TimedStream::new(io);
        let head = self.limits.request_head;
        let requests = Requests::new(self.service.clone(), info.clone(), activity.clone(), head);
        let requests = requests.alternative(self.alternative(&info));
        let requests = Arc::new(requests.advertise(self.advertised.clone()));
        let end = match is_http2 {
            true => self.http2(io, &requests, &mut stopping).await,
            false => self.http1(io, &client, &requests, &mut stopping).await,
        };
        self.after_http(end, &requests, &client).await;
    }

    async fn http1(
        &self,
        io: TimedStream<ClientIo>,
        client: &ClientHandle,
        requests: &Arc<Requests<S>>,
        stopping: &mut Stopping,
    ) -> End {
        let socket = io.get_ref().second_socket();
        let service = {
            let requests = Arc::clone(requests);
            service_fn(move |request| Arc::clone(&requests).respond(request))
        };
        let serving = Http1::new(
            &self.http1,
            self.limits.request_head.fields(),
            io,
            service,
            &requests.activity,
            requests.signals.clone(),
        );
        let finish = |serving: Pin<&mut Http1<_, _>>| serving.graceful_shutdown();
        let disconnected = client.disconnected(socket, &requests.activity);
        let limits = self.idle(Some(self.limits.header_timeout));
        let watch = (&requests.activity, limits, stopping);
        drive(serving, finish, disconnected, watch).await
    }

    async fn http2(
        &self,
        io: TimedStream<ClientIo>,
        requests: &Arc<Requests<S>>,
        stopping: &mut Stopping,
    ) -> End {
        let service = {
            let requests = Arc::clone(requests);
            service_fn(move |request| Arc::clone(&requests).respond(request))
        };
        let io = TokioIo::new(MergeData::server(io));
        let serving = self.http2.serve_connection(io, service);
        let finish = |serving: Pin<&mut http2::Connection<_, _, _>>| serving.graceful_shutdown();
        // HTTP/2 reads all the time, and detects a disconnect itself.
        let disconnected = std::future::pending();
        let watch = (&requests.activity, self.idle(None), stopping);
        drive(serving, finish, disconnected, watch).await
    }

    /// Runs the tunnel that takes the connection over, or closes it.
    async fn after_http(&self, end: End, requests: &Requests<S>, client: &ClientHandle) {
        let peer = requests.info.peer();
        let lingers = match end {
            End::Complete => requests.activity.may_send(),
            End::Failed(error) => {
                tracing::debug!(%peer, %error, "connection ended");
                true
            }
            End::HeaderTimeout => {
                tracing::debug!(%peer, "the request header did not arrive in time");
                true
            }
            End::Cut(reason) => {
                tracing::debug!(%peer, reason, "connection cut");
                return;
            }
        };
        if let Some(tunnel) = requests.takeover.take() {
            let _awaited = requests.activity.awaited();
            tokio::select! {
                () = tunnel => {}
                _ = requests.activity.expired(self.idle(None)) => {
                    tracing::debug!(%peer, reason = IDLE, "connection cut");
                }
            }
        } else if let Some(stream) = client.take_back().filter(|_| lingers) {
            linger(stream).await;
        }
    }
}

/// The end of HTTP on a connection.
enum End {
    Complete,
    Failed(hyper::Error),
    HeaderTimeout,
    Cut(&'static str),
}

const IDLE: &str = "no byte was transferred";
const DISCONNECTED: &str = "the client has disconnected";

impl From<hyper::Result<()>> for End {
    fn from(ended: hyper::Result<()>) -> Self {
        ended.map_or_else(Self::Failed, |()| Self::Complete)
    }
}

/// Drives a connection to its end; `finish` asks it to end soon.
async fn drive<C>(
    serving: C,
    finish: impl FnOnce(Pin<&mut C>),
    disconnected: impl Future<Output = ()>,
    (activity, limits, stopping): (&Activity, IdleLimits, &mut Stopping),
) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    let (mut serving, mut disconnected) = (pin!(serving), pin!(disconnected));
    let limits = tokio::select! {
        biased;
        ended = serving.as_mut() => return ended.into(),
        () = &mut disconnected => return End::Cut(DISCONNECTED),
        () = until_finish(stopping, activity) => limits,
        expired = activity.expired(limits) => match expired {
            Expired::Header => return End::HeaderTimeout,
            Expired::Idle => limits.at_the_end(),
        },
    };
    finish(serving.as_mut());
    tokio::select! {
        biased;
        ended = serving => ended.into(),
        () = disconnected => End::Cut(DISCONNECTED),
        expired = activity.expired(limits) => match expired {
            Expired::Header => End::HeaderTimeout,
            Expired::Idle => End::Cut(IDLE),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use mtls_core::http_io::LINGER_PAUSE;
    use tokio::time::Instant;

    use super::*;
    use crate::service::Stop;

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_is_cut_soon_after_its_limit() {
        let (_stop, mut stopping) = Stop::new();
        let activity = Activity::start();
        let _awaited = activity.awaited();
        let limits = IdleLimits {
            idle: Duration::from_secs(60),
            stream: Duration::from_secs(3600),
            header: None,
        };
        let (serving, disconnected) = (pending(), pending());
        let watch = (&activity, limits, &mut stopping);
        let start = Instant::now();
        let end = drive(serving, |_: Pin<&mut _>| {}, disconnected, watch).await;
        assert!(matches!(end, End::Cut(IDLE)));
        assert_eq!(start.elapsed(), limits.stream + LINGER_PAUSE);
    }
}
