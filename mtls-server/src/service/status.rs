//! The status page: plain HTTP, for this machine.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::monitor::{Monitor, Stage};
use super::{Transport, listen};
use crate::error::Error;

/// Connections at a time; one more ends the oldest.
const CONNECTIONS: usize = 64;
/// The lifetime of a connection.
const LIFETIME: Duration = Duration::from_secs(30);
/// The longest time for a request header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failure to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PAGES: &str = "there are /status, /metrics, /healthz and /readyz\n";

/// The status page of one service, bound.
#[derive(Debug)]
pub(crate) struct StatusPage {
    listener: TcpListener,
    address: SocketAddr,
    monitor: Arc<Monitor>,
}

impl StatusPage {
    /// Binds the address.
    pub(crate) fn bind(address: SocketAddr, monitor: Arc<Monitor>) -> Result<Self, Error> {
        let unusable = |source| Error::Listen { address, source };
        let listener = listen(address, Transport::Tcp).map_err(unusable)?;
        Ok(Self {
            address: listener.local_addr().map_err(unusable)?,
            listener,
            monitor,
        })
    }

    /// With the port that the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the page. Never ends; cancel safe.
    pub(crate) async fn run(self) {
        // The oldest first.
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection to the status page");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let responder = Responder {
                monitor: Arc::clone(&self.monitor),
                loopback: self.address.ip().is_loopback(),
            };
            open.retain(|connection| !connection.is_finished());
            if open.len() >= CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            // A slower client may connect again.
            let serving = tokio::spawn(timeout(LIFETIME, responder.serve(stream)));
            open.push_back(serving.abort_handle());
        }
    }
}

#[derive(Clone)]
struct Responder {
    monitor: Arc<Monitor>,
    loopback: bool,
}

impl Responder {
    async fn serve(self, stream: TcpStream) {
        let respond = service_fn(move |request| {
            let response = self.respond(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), respond)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "status connection ended");
        }
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if self.loopback && !host_is_local(request.headers().get(HOST)) {
            // A web page whose name resolves to this machine must not read it (DNS rebinding).
            let text = "ask for localhost or an address\n";
            return response(StatusCode::MISDIRECTED_REQUEST, TEXT, text);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        match request.uri().path() {
            "/status" => response(
                StatusCode::OK,
                JSON,
                format!("{:#}\n", self.monitor.status()),
            ),
            "/metrics" => match self.monitor.metrics() {
                Ok(text) => response(StatusCode::OK, OPEN_METRICS, text),
                Err(error) => response(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    format!("{error}\n"),
                ),
            },
            "/healthz" => response(StatusCode::OK, TEXT, "alive\n"),
            "/readyz" => self.ready(),
            _ => response(StatusCode::NOT_FOUND, TEXT, PAGES),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let stage = self.monitor.stage();
        let (status, word) = match stage {
            Stage::Ready if self.monitor.backend_is_down() => {
                (StatusCode::SERVICE_UNAVAILABLE, "target-down")
            }
            Stage::Ready if self.monitor.is_isolated() => {
                (StatusCode::SERVICE_UNAVAILABLE, "registry-isolated")
            }
            Stage::Ready => (StatusCode::OK, stage.as_str()),
            Stage::Starting | Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, stage.as_str()),
        };
        response(status, TEXT, format!("{word}\n"))
    }
}

/// `localhost`, or an address, with a port or without.
fn host_is_local(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

fn response(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        let local = |host: &'static str| host_is_local(Some(&HeaderValue::from_static(host)));
        assert!(host_is_local(None));
        for host in ["localhost", "LOCALHOST:9", "127.0.0.1:9", "[::1]:9", "::1"] {
            assert_eq!(local(host), host != "::1", "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:9", "", "[evil]:9"] {
            assert!(!local(host), "{host}");
        }
    }
}
