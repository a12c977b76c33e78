//! HTTP requests other than CONNECT: the proxy's own page, and plain HTTP for somebody else.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use mtls_core::http_io::{HeadLimit, KeepReading, linger};
use mtls_core::path::{Endpoint, Host};
use mtls_core::relay::TunnelReport;
use mtls_core::{Error, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Proxy;
use super::hops::{self, ServerWide};
use super::interim::{self, Interim};
use super::page;
use super::request::Protocol;
use super::response::{Body, refusal};
use super::tunnels::{Admitted, NoWay, admit, dial, relay, settle, told_over};

/// How long a client may take for the head of a request, and stay silent between two.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// The longest head of a request; a browser may send more to the target than servers take.
const REQUEST_HEAD: HeadLimit = HeadLimit::new(64 * 1024);
/// The longest head of a response.
const RESPONSE_HEAD: HeadLimit = HeadLimit::RESPONSE;

/// What waits between the HTTP library and a tunnel, in bytes.
const PIPE: usize = 64 * 1024;

/// How many interim responses wait for a slow client; further ones are dropped.
const MAX_INTERIM: usize = 16;

/// Serves requests until the client leaves.
pub(super) async fn serve(
    proxy: Arc<Proxy>,
    stream: TcpStream,
    peer: SocketAddr,
    received: Vec<u8>,
) {
    let server_wide = AtomicBool::new(ServerWide::is_in(&received));
    let (read, write) = stream.into_split();
    let interim = Interim::default();
    let write = interim.over(write);
    let io = TokioIo::new(tokio::io::join(Cursor::new(received).chain(read), write));
    let sends = Arc::new(AtomicBool::new(false));
    let last_sends = Arc::clone(&sends);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if server_wide.swap(false, Ordering::Relaxed) {
            request.extensions_mut().insert(ServerWide);
        }
        sends.store(!request.body().is_end_stream(), Ordering::Relaxed);
        let (proxy, interim) = (Arc::clone(&proxy), interim.clone());
        async move { Ok::<_, Infallible>(respond(&proxy, request, peer, &interim).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(REQUEST_HEAD.fields())
        .max_header_size(REQUEST_HEAD.bytes())
        .serve_connection(io, service)
        .without_shutdown()
        .await;
    match served {
        Ok(parts) if last_sends.load(Ordering::Relaxed) => linger(parts.io.into_inner()).await,
        Ok(parts) => drop(parts.io.into_inner().shutdown().await),
        Err(error) => tracing::debug!(%peer, %error, "http"),
    }
}

async fn respond(
    proxy: &Arc<Proxy>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    interim: &Interim,
) -> Response<Body> {
    if request.method() == Method::CONNECT {
        // Where a tunnel would begin is clear only for the first request of a connection.
        let text = "CONNECT has to be the first request of a connection; open another one";
        return close(refusal(StatusCode::BAD_REQUEST, text));
    }
    match destination(request.uri()) {
        // About the proxy as a whole (RFC 9110, section 9.3.7).
        Ok(None) if request.method() == Method::OPTIONS && request.uri().path() == "*" => {
            hops::respond(&request)
        }
        Ok(None) => page::respond(proxy, &request, peer),
        Ok(Some(target)) if page::is_at(&target.host) || proxy.is_at(&target) => {
            page::respond(proxy, &request, peer)
        }
        Ok(Some(_)) if hops::ends_here(&mut request) => hops::respond(&request),
        Ok(Some(target)) => forward(proxy, request, target, peer, interim).await,
        Err(text) => refusal(StatusCode::BAD_REQUEST, &text),
    }
}

/// Whom a request is for: `None` for the proxy itself, in origin form (RFC 9112, section 3.2).
fn destination(uri: &Uri) -> Result<Option<Endpoint>, String> {
    let Some(authority) = uri.authority() else {
        return Ok(None);
    };
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("ask for https with CONNECT: the proxy ends no TLS".into()),
        _ => return Err("only http URLs can be asked for here".into()),
    }
    let host = authority.host().parse::<Host>();
    let port = authority.port_u16().unwrap_or(80);
    match host {
        Ok(host) if port != 0 => Ok(Some(Endpoint::new(host, port))),
        Ok(_) => Err("port 0 is none".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Plain HTTP is a tunnel like any other: what it is judged by, and where it is listed. The
/// tunnel's client is this very function, over a pipe.
async fn forward(
    proxy: &Arc<Proxy>,
    request: Request<Incoming>,
    target: Endpoint,
    peer: SocketAddr,
    interim: &Interim,
) -> Response<Body> {
    let Some(mut admitted) = admit(proxy, target.clone(), Protocol::PlainHttp, peer) else {
        return no_way(&NoWay::Full);
    };
    if let Err(error) = dial(proxy, &mut admitted).await {
        settle(proxy, &admitted.entry).await;
        told_over(proxy, &admitted.entry);
        return no_way(&NoWay::of(&error));
    }
    let monitor = admitted.tunnel.monitor();
    match exchange(proxy, admitted, onward(request, &target), interim).await {
        Ok(response) => response,
        Err(error) => {
            // The tunnel's own reason comes with its end.
            monitor.wait_until_resolved().await;
            refused(&monitor.report(), &error)
        }
    }
}

async fn exchange(
    proxy: &Arc<Proxy>,
    admitted: Admitted,
    mut request: Request<Incoming>,
    interim: &Interim,
) -> Result<Response<Body>, hyper::Error> {
    let (near, far) = duplex(PIPE);
    let relaying = Arc::clone(proxy);
    tokio::spawn(async move { relay(&relaying, admitted, far).await });
    let (near, _) = KeepReading::new(near);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(RESPONSE_HEAD.fields())
        .max_header_size(RESPONSE_HEAD.bytes())
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(TokioIo::new(near))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "plain http");
        }
    });
    let mut heads = interim_heads(&mut request);
    *request.version_mut() = Version::HTTP_11;
    let mut response = pin!(sender.send_request(request));
    let response = loop {
        tokio::select! {
            biased;
            Some(head) = heads.recv() => interim.write(head).await,
            response = &mut response => break response?,
        }
    };
    let (mut head, body) = response.into_parts();
    strip(&mut head.headers);
    hops::add_via(&mut head.headers, head.version);
    Ok(Response::from_parts(head, body.boxed()))
}

/// The heads of the interim responses to a request. Clients of HTTP/1.0 do not know them, and
/// hyper sends 100 by itself.
fn interim_heads<B>(request: &mut Request<B>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, heads) = mpsc::channel(MAX_INTERIM);
    if request.version() == Version::HTTP_11 {
        hyper::ext::on_informational(request, move |response| {
            if response.status() != StatusCode::CONTINUE {
                let mut fields = response.headers().clone();
                strip(&mut fields);
                hops::add_via(&mut fields, response.version());
                let _ = sender.try_send(interim::head(response.status(), &fields));
            }
        });
    }
    heads
}

/// The request in origin form, for one connection of its own.
fn onward(request: Request<Incoming>, target: &Endpoint) -> Request<Incoming> {
    let uri = hops::origin_form(&request);
    let (mut head, body) = request.into_parts();
    head.uri = uri;
    strip(&mut head.headers);
    // The URL counts, whatever the field says (RFC 9112, section 3.2.2).
    let host = match target.port {
        80 => target.host.to_string(),
        _ => target.to_string(),
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        head.headers.insert(header::HOST, host);
    }
    hops::add_via(&mut head.headers, head.version);
    let close = HeaderValue::from_static("close");
    head.headers.insert(header::CONNECTION, close);
    Request::from_parts(head, body)
}

/// Takes away what concerns one connection only (RFC 9110, section 7.6.1).
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

fn no_way(why: &NoWay) -> Response<Body> {
    let (status, _) = why.status();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    refusal(status, &why.to_string())
}

fn refused(report: &TunnelReport, error: &hyper::Error) -> Response<Body> {
    match report.error.as_deref() {
        Some(Error::Unverified(unverified)) if unverified.reason == Reason::NotTls => refusal(
            StatusCode::FORBIDDEN,
            &format!(
                "plain HTTP cannot be verified, and the policy for {} is `{}`: nothing was sent. \
                 Use https, or exempt the host with --exempt",
                report.target, report.policy
            ),
        ),
        Some(error) => refusal(StatusCode::BAD_GATEWAY, &error.to_string()),
        None => refusal(
            StatusCode::BAD_GATEWAY,
            &format!("{} gave no HTTP response: {error}", report.target),
        ),
    }
}

fn close(mut response: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
