//! A web server to be passed requests to, in a thread of its own.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mtls_certs::Leaf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// How long nothing moves where a test wants that.
pub(crate) const QUIET: Duration = Duration::from_secs(7);

/// A time limit that is shorter, and longer than the pauses of a busy machine: what is due in time comes
/// in time.
pub(crate) const LIMIT: &str = "5s";

/// The body of `/half` may break off. There is one such test in this process.
pub(crate) static BREAK_OFF: Notify = Notify::const_new();

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// Ends when it is dropped.
pub(crate) struct Backend {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    pub(crate) fn tcp() -> Self {
        Self::tcp_at(([127, 0, 0, 1], 0).into())
    }

    pub(crate) fn tcp_at(address: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        Self::start(url, move |seen| async move {
            let listener = tokio_listener(listener);
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                serve(stream, Arc::clone(&seen));
            }
        })
    }

    pub(crate) fn tls(leaf: &Leaf) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let config = leaf.server_config(rustls::crypto::aws_lc_rs::default_provider());
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a configuration")));
        Self::start(
            format!("https://localhost:{port}"),
            move |seen| async move {
                let listener = tokio_listener(listener);
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, Arc::clone(&seen));
                    }
                }
            },
        )
    }

    pub(crate) fn unix(path: PathBuf) -> Self {
        let url = format!("unix:{}", path.display());
        let (bound, is_bound) = std::sync::mpsc::channel();
        let backend = Self::start(url, move |seen| async move {
            let listener = UnixListener::bind(path).expect("to bind");
            bound.send(()).expect("a waiting test");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                serve(stream, Arc::clone(&seen));
            }
        });
        is_bound.recv().expect("to be bound");
        backend
    }

    /// Accepts no connection: it waits in the kernel.
    pub(crate) fn silent() -> (std::net::TcpListener, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        (listener, url)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.url.strip_prefix("http://").expect("plain HTTP");
        address.parse().expect("an address")
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn start<F: Future<Output = ()>>(
        url: String,
        run: impl FnOnce(Arc<AtomicUsize>) -> F + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&connections);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = run(seen) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            url,
            connections,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tokio_listener(listener: std::net::TcpListener) -> TcpListener {
    listener.set_nonblocking(true).expect("to change");
    TcpListener::from_std(listener).expect("a listener")
}

fn serve<S>(stream: S, seen: Arc<AtomicUsize>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    seen.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().max_headers(10_000);
        http.http2().max_header_list_size(1 << 20);
        let answer = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
        let _ = http
            .serve_connection_with_upgrades(TokioIo::new(stream), answer)
            .await;
    });
}

async fn answer(request: Request<Incoming>) -> Answer {
    match request.uri().path() {
        "/echo" => Response::new(request.into_body().boxed()),
        "/count" => count(request.into_body()).await,
        "/never" => pending().await,
        "/unread" => {
            let _kept = request;
            pending().await
        }
        "/half" => half(),
        "/hop" => hop_by_hop(),
        "/ws" | "/101-websocket" => websocket(request, true),
        "/101" => websocket(request, false),
        "/events" => events(),
        "/late" => {
            tokio::time::sleep(QUIET).await;
            Response::new(text("late".to_owned()))
        }
        "/trailers" => trailers(),
        path if path.starts_with("/fields/") => many_fields(path),
        _ => fields(&request),
    }
}

/// The requests, line by line.
fn fields(request: &Request<Incoming>) -> Answer {
    let mut lines = format!(
        "{} {} {:?}\n",
        request.method(),
        request
            .uri()
            .path_and_query()
            .map_or("", |path| path.as_str()),
        request.version()
    );
    for (name, value) in request.headers() {
        lines += &format!("{name}: {}\n", value.to_str().expect("text"));
    }
    Response::new(text(lines))
}

async fn count(mut body: Incoming) -> Answer {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    Response::new(text(bytes.to_string()))
}

/// One event at once, and one after a while.
fn events() -> Answer {
    let frames = futures_util::stream::unfold(0, |step| async move {
        match step {
            0 => Some((Ok(Frame::data(Bytes::from_static(b"data: 1\n\n"))), 1)),
            1 => {
                tokio::time::sleep(QUIET).await;
                Some((Ok(Frame::data(Bytes::from_static(b"data: 2\n\n"))), 2))
            }
            _ => None,
        }
    });
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let event_stream = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert("content-type", event_stream);
    answer
}

/// Promises ten bytes, sends five, and breaks off when the test wants it.
fn half() -> Answer {
    let frames = futures_util::stream::unfold(0, |step| async move {
        match step {
            0 => Some((Ok(Frame::data(Bytes::from_static(b"first"))), 1)),
            _ => {
                BREAK_OFF.notified().await;
                panic!("the body breaks off, as this test wants it");
            }
        }
    });
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    answer
        .headers_mut()
        .insert("content-length", HeaderValue::from_static("10"));
    answer
}

fn hop_by_hop() -> Answer {
    let mut answer = Response::new(text("x".to_owned()));
    for (name, value) in [
        ("connection", "x-mine"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("multipath-verdict", "verified; binding=exporter; sides=9"),
        ("x-other", "2"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// `/fields/COUNT/BYTES`: so many fields of so many bytes each, line end included.
fn many_fields(path: &str) -> Answer {
    let numbers = path.strip_prefix("/fields/").expect("the path");
    let (count, bytes) = numbers.split_once('/').expect("two numbers");
    let count: usize = count.parse().expect("a number");
    let bytes: usize = bytes.parse().expect("a number");
    let mut answer = Response::new(text("x".to_owned()));
    for number in 0..count {
        let name: HeaderName = format!("x-{number}").parse().expect("a name");
        let value = "v".repeat(bytes - name.as_str().len() - ": \r\n".len());
        let value = value.parse().expect("a value");
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn trailers() -> Answer {
    let mut last = HeaderMap::new();
    last.insert("x-after", HeaderValue::from_static("3"));
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"body"))),
        Ok(Frame::trailers(last)),
    ];
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(
        frames,
    ))));
    answer
        .headers_mut()
        .insert("trailer", HeaderValue::from_static("x-after"));
    answer
}

/// Echoes messages, if it says that it is a WebSocket.
fn websocket(mut request: Request<Incoming>, honest: bool) -> Answer {
    let mut answer = Response::new(text(String::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = answer.headers_mut();
    let protocol = if honest { "websocket" } else { "other" };
    fields.insert("upgrade", HeaderValue::from_static(protocol));
    fields.insert("connection", HeaderValue::from_static("upgrade"));
    let Some(key) = request.headers().get("sec-websocket-key") else {
        return answer;
    };
    let accept = derive_accept_key(key.as_bytes());
    fields.insert("sec-websocket-accept", accept.parse().expect("a value"));
    tokio::spawn(async move {
        let io = hyper::upgrade::on(&mut request).await.expect("an upgrade");
        let io = TokioIo::new(io);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        use futures_util::{SinkExt, StreamExt};
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.expect("to send");
            }
        }
    });
    answer
}

fn text(text: String) -> BoxBody<Bytes, hyper::Error> {
    Full::from(text).map_err(|never| match never {}).boxed()
}
