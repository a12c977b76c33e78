//! Sites for browsers and other programs.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls_core::ServerStream;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::chromium::web_socket;
use crate::lab::{Lab, server_config};
use crate::site::BOTH;

/// A page with subresources of every kind, some of which the script fetches at once. It writes
/// `all N loaded` when everything is there.
const PAGE: &str = r#"<!doctype html><title>real</title>
<link rel="stylesheet" href="/style.css"><body><h1>the real page</h1><p id="result">nothing</p>
<img src="/dot.svg?1"><img src="/dot.svg?2"><script src="/script.js"></script></body>"#;

const SCRIPT: &str = r#"
const numbers = [...Array(24).keys()];
Promise.all(numbers.map(n => fetch("/plain?" + n).then(r => r.text())))
  .then(texts => texts.filter(text => text === "plain text").length)
  .then(count => { document.getElementById("result").textContent = "all " + count + " loaded"; });
"#;

/// It is not loaded before its image is, and that comes when the socket has done its work.
const SOCKET_PAGE: &str = r#"<!doctype html><p id="result">nothing</p><script src="/socket.js"></script>
<img src="/when-thanked">"#;

const SOCKET_SCRIPT: &str = r#"
const socket = new WebSocket("wss://" + location.host + "/socket");
socket.onopen = () => socket.send("over the socket");
socket.onmessage = m => {
  document.getElementById("result").textContent = "echo: " + m.data;
  socket.send("thanks");
};
"#;

/// The WebSocket's client has had its echo. There is one such test in this process.
pub(super) static THANKED: Notify = Notify::const_new();

impl Lab {
    /// A multipath site, h1 and h2.
    pub(crate) async fn web(&mut self) -> SocketAddr {
        let config = server_config(&self.pki.server, BOTH);
        self.serve_at_a_port(config, serve).await
    }

    /// The same with HTTP/1.1 alone, which WebSockets need.
    pub(crate) async fn h1_web(&mut self) -> SocketAddr {
        let config = server_config(&self.pki.server, &[b"http/1.1"]);
        self.serve_at_a_port(config, serve).await
    }

    /// A plain HTTP server that responds with the request.
    pub(crate) async fn plain_http(&mut self) -> SocketAddr {
        self.listen(|stream| async move {
            let service =
                service_fn(|request| async { Ok::<_, Infallible>(mirror(request).await) });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        })
        .await
    }
}

async fn mirror(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut text = format!(
        "{} {} {:?}\n",
        request.method(),
        request.uri(),
        request.version()
    );
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    text += &String::from_utf8_lossy(&body.unwrap_or_default());
    Response::new(Full::new(text.into()))
}

async fn serve(stream: ServerStream<TcpStream>) {
    let (tls, _) = stream.into_parts();
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request: Request<Incoming>| async {
        if request.uri().path() == "/when-thanked" {
            THANKED.notified().await;
        }
        Ok::<_, Infallible>(respond(request))
    });
    let io = TokioIo::new(tls);
    let _ = if is_h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades()
            .await
    };
}

fn respond(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (kind, text) = match request.uri().path() {
        "/" => ("text/html", PAGE),
        "/script.js" => ("text/javascript", SCRIPT),
        "/style.css" => ("text/css", "body { color: green }"),
        "/dot.svg" => ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "/plain" | "/when-thanked" => ("text/plain", "plain text"),
        "/with-socket" => ("text/html", SOCKET_PAGE),
        "/socket.js" => ("text/javascript", SOCKET_SCRIPT),
        "/socket" => return web_socket(request),
        "/repo.git/HEAD" => ("text/plain", "ref: refs/heads/main\n"),
        "/repo.git/info/refs" => (
            "text/plain",
            "1111111111111111111111111111111111111111\trefs/heads/main\n",
        ),
        _ => ("", "no such page"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    if kind.is_empty() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else {
        let kind = kind.parse().expect("a media type");
        response.headers_mut().insert("content-type", kind);
    }
    response
}
