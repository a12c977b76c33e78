//! One HTTPS connection, from its verdict to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use mtls_core::{ServerStream, VerdictHandle};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower_http::services::ServeDir;
use tower_http::services::fs::ServeFileSystemResponseBody;
use tower_service::Service;

use crate::identity::HTTP_2;
use crate::idle::Watched;
use crate::options::Limits;
use crate::verdict_field::{VERDICT_FIELD, verdict_field};

/// Requests of one HTTP/2 connection at a time.
const HTTP_2_STREAMS: u32 = 128;
/// Bytes of a response that wait for one HTTP/2 stream.
const HTTP_2_SEND_BUFFER: usize = 64 * 1024;

/// What all connections share.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    files: ServeDir,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
    idle_timeout: Duration,
    stop: watch::Receiver<bool>,
}

impl Site {
    pub(crate) fn new(dir: &std::path::Path, limits: &Limits, stop: watch::Receiver<bool>) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP_2_STREAMS)
            .max_send_buf_size(HTTP_2_SEND_BUFFER);
        Self {
            files: ServeDir::new(dir),
            http1: http.clone().http1_only(),
            http2: http.http2_only(),
            idle_timeout: limits.idle_timeout,
            stop,
        }
    }

    /// Serves until the client closes, nothing moves any more, or the server stops.
    pub(crate) async fn serve(mut self, stream: ServerStream<TcpStream>, peer: SocketAddr) {
        let (tls, verdict) = stream.into_parts();
        let http = match tls.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => self.http2.clone(),
            _ => self.http1.clone(),
        };
        tracing::debug!(%peer, verdict = ?verdict_field(&verdict.get()), "connection");
        let (watched, activity) = Watched::new(tls);
        let files = self.files;
        let respond = service_fn(move |request| respond(files.clone(), verdict.clone(), request));
        let mut connection = pin!(http.serve_connection(TokioIo::new(watched), respond));
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            _ = self.stop.wait_for(|stop| *stop) => None,
            () = activity.idle_for(self.idle_timeout) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = activity.idle_for(self.idle_timeout) => {
                        tracing::debug!(%peer, "cut off: nothing moves");
                        return;
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

async fn respond(
    mut files: ServeDir,
    verdict: VerdictHandle,
    request: Request<Incoming>,
) -> Result<Response<ServeFileSystemResponseBody>, Infallible> {
    let mut response = files.call(request).await?;
    // Asked for now, since a side connection may have confirmed since the last response.
    let value = verdict_field(&verdict.get());
    response.headers_mut().insert(VERDICT_FIELD, value);
    Ok(response)
}
