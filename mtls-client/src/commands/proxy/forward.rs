//! HTTP requests other than CONNECT: for the proxy's page, and plain HTTP for other hosts.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
use super::hops;
use super::interim::{self, Interim};
use super::page;
use super::request::Protocol;
use super::response::{Body, error};
use super::target_form::TargetForm;
use super::tunnels::{Admitted, TunnelError, admit, dial, relay, report_end, report_verdict};

/// The maximum time for the head of a request, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest head of a request. Browsers may send more than most servers accept.
const REQUEST_HEAD: HeadLimit = HeadLimit::new(64 * 1024);
/// The largest head of a response.
const RESPONSE_HEAD: HeadLimit = HeadLimit::RESPONSE;

/// The buffer between the HTTP library and a tunnel, in bytes.
const PIPE: usize = 64 * 1024;

/// The maximum number of interim responses that wait for a slow client; further ones are dropped.
const MAX_INTERIM: usize = 16;

const TRANSFER_CODING: &str = "a transfer coding besides `chunked` is not supported";

/// Serves the requests of a connection until it ends.
pub(super) async fn serve(
    proxy: Arc<Proxy>,
    stream: TcpStream,
    peer: SocketAddr,
    mut received: Vec<u8>,
) {
    let first = Mutex::new(Some(TargetForm::take_from(&mut received)));
    let (read, write) = stream.into_split();
    let interim = Interim::default();
    let write = interim.over(write);
    let io = TokioIo::new(tokio::io::join(Cursor::new(received).chain(read), write));
    let has_body = Arc::new(AtomicBool::new(false));
    let last_has_body = Arc::clone(&has_body);
    let service = service_fn(move |request: Request<Incoming>| {
        has_body.store(!request.body().is_end_stream(), Ordering::Relaxed);
        let form = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (proxy, interim) = (Arc::clone(&proxy), interim.clone());
        async move {
            let form = form.unwrap_or_default();
            let response = respond(&proxy, request, &form, peer, &interim).await;
            // Only the first request of a connection can have a zone.
            Ok::<_, Infallible>(match form.has_zone() {
                true => close(response),
                false => response,
            })
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(REQUEST_HEAD.fields())
        .max_header_size(REQUEST_HEAD.bytes())
        .serve_connection(io, service)
        .without_shutdown()
        .await;
    match served {
        Ok(parts) if last_has_body.load(Ordering::Relaxed) => linger(parts.io.into_inner()).await,
        Ok(parts) => drop(parts.io.into_inner().shutdown().await),
        Err(error) => tracing::debug!(%peer, %error, "http"),
    }
}

async fn respond(
    proxy: &Arc<Proxy>,
    mut request: Request<Incoming>,
    form: &TargetForm,
    peer: SocketAddr,
    interim: &Interim,
) -> Response<Body> {
    if request.method() == Method::CONNECT {
        // The start of the tunnel is unambiguous only after the first request of a connection.
        let text = "CONNECT must be the first request of a connection; open another one";
        return close(error(StatusCode::BAD_REQUEST, text));
    }
    match destination(request.uri(), form) {
        // OPTIONS of the proxy as a whole (RFC 9110, section 9.3.7).
        Ok(None) if request.method() == Method::OPTIONS && request.uri().path() == "*" => {
            hops::respond(&request)
        }
        Ok(None) => page::respond(proxy, &request, peer),
        Ok(Some(target)) if page::is_at(&target.host) || proxy.is_at(&target) => {
            page::respond(proxy, &request, peer)
        }
        Ok(Some(_)) if hops::ends_here(&mut request) => hops::respond(&request),
        Ok(Some(_)) if hops::has_transfer_coding(request.headers()) => {
            close(error(StatusCode::NOT_IMPLEMENTED, TRANSFER_CODING))
        }
        Ok(Some(target)) => {
            let request = forwarded(request, form, &target);
            forward(proxy, request, target, peer, interim).await
        }
        Err(text) => error(StatusCode::BAD_REQUEST, &text),
    }
}

/// The target of a request; `None` for the proxy itself, in origin form (RFC 9112, section 3.2).
fn destination(uri: &Uri, form: &TargetForm) -> Result<Option<Endpoint>, String> {
    let Some(authority) = uri.authority() else {
        return Ok(None);
    };
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err("use CONNECT for https: the proxy does not terminate TLS".into());
        }
        _ => return Err("only http URLs can be requested here".into()),
    }
    let host = form.host(authority.host());
    let port = authority.port_u16().unwrap_or(80);
    match host {
        Ok(host) if port != 0 => Ok(Some(Endpoint::new(host, port))),
        Ok(_) => Err("port 0 is not valid".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Forwards plain HTTP through a tunnel with the usual rules and history. The client of the tunnel
/// is this function, over a pipe.
async fn forward(
    proxy: &Arc<Proxy>,
    request: Request<Incoming>,
    target: Endpoint,
    peer: SocketAddr,
    interim: &Interim,
) -> Response<Body> {
    let Some(mut admitted) = admit(proxy, target, Protocol::PlainHttp, peer) else {
        return tunnel_error(&TunnelError::Full);
    };
    if let Err(error) = dial(proxy, &mut admitted).await {
        report_verdict(proxy, &admitted.entry).await;
        report_end(proxy, &admitted.entry);
        return tunnel_error(&TunnelError::of(&error));
    }
    let monitor = admitted.tunnel.monitor();
    match exchange(proxy, admitted, request, interim).await {
        Ok(response) => response,
        Err(error) => {
            // The end of the tunnel has the cause.
            monitor.wait_until_resolved().await;
            no_response(&monitor.report(), &error)
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
    if hops::has_transfer_coding(response.headers()) {
        return Ok(error(StatusCode::BAD_GATEWAY, TRANSFER_CODING));
    }
    let (mut head, body) = response.into_parts();
    strip(&mut head.headers);
    hops::add_via(&mut head.headers, head.version);
    Ok(Response::from_parts(head, body.boxed()))
}

/// The heads of the interim responses to a request. HTTP/1.0 clients do not support them, and hyper
/// sends 100 itself.
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

/// The request in origin form, for its own connection.
fn forwarded(
    request: Request<Incoming>,
    form: &TargetForm,
    target: &Endpoint,
) -> Request<Incoming> {
    let uri = form.origin_form(request.uri());
    let (mut head, body) = request.into_parts();
    head.uri = uri;
    strip(&mut head.headers);
    // The URL overrides the field (RFC 9112, section 3.2.2).
    let host = match &target.host {
        // A zone has no meaning for another host (RFC 6874, section 4).
        Host::Ip(address) => Host::from(address.ip()),
        Host::Name(_) => target.host.clone(),
    };
    let host = match target.port {
        80 => host.to_string(),
        port => Endpoint::new(host, port).to_string(),
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        head.headers.insert(header::HOST, host);
    }
    hops::add_via(&mut head.headers, head.version);
    let close = HeaderValue::from_static("close");
    head.headers.insert(header::CONNECTION, close);
    Request::from_parts(head, body)
}

/// Removes the fields of one connection (RFC 9110, section 7.6.1).
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

fn tunnel_error(failure: &TunnelError) -> Response<Body> {
    let (status, _) = failure.status();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    error(status, &failure.to_string())
}

fn no_response(report: &TunnelReport, failure: &hyper::Error) -> Response<Body> {
    match report.error.as_deref() {
        Some(Error::Unverified(unverified)) if unverified.reason == Reason::NotTls => error(
            StatusCode::FORBIDDEN,
            &format!(
                "plain HTTP cannot be verified, and the policy for {} is `{}`, so nothing was \
                 sent; use https, or exempt the host with --exempt",
                report.target, report.policy
            ),
        ),
        Some(failure) => error(StatusCode::BAD_GATEWAY, &failure.to_string()),
        None => error(
            StatusCode::BAD_GATEWAY,
            &format!("no HTTP response from {}: {failure}", report.target),
        ),
    }
}

fn close(mut response: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
