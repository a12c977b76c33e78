//! One request over a verified stream: HTTP/2 or HTTP/1.1, as ALPN says (RFC 9113, RFC 9112).

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls_core::ClientStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::target::HttpsUrl;

/// A response; its connection lives as long as this does.
pub(crate) struct Exchange {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: JoinSet<()>,
}

/// Sends a GET request, and waits for the head of the response.
pub(crate) async fn get(
    stream: ClientStream<TcpStream>,
    url: &HttpsUrl,
    fields: HeaderMap,
) -> Result<Exchange, Failure> {
    let tls = stream.into_inner();
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let mut tasks = JoinSet::new();
    let io = TokioIo::new(tls);
    let sent = if is_h2 {
        let request = request(url, fields, Form::Absolute)?;
        over_h2(io, request, &mut tasks).await
    } else {
        let request = request(url, fields, Form::Origin)?;
        over_h1(io, request, &mut tasks).await
    };
    match sent {
        Ok(response) => Ok(Exchange {
            response,
            connection: tasks,
        }),
        Err(error) => Err(broken(url, &error)),
    }
}

/// The response broke off, or was none.
pub(crate) fn broken(url: &HttpsUrl, error: &hyper::Error) -> Failure {
    let mut reason = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        reason = format!("{reason}: {source}");
    }
    let message = format!(
        "no complete response from {}: {reason}. Try again, or ask the server's operator.",
        url.endpoint()
    );
    Failure::new(Exit::Receive, "receive-error", message)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

async fn over_h1<S: Stream>(
    io: TokioIo<S>,
    request: Request<Empty<Bytes>>,
    tasks: &mut JoinSet<()>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(io).await?;
    tasks.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection ended");
        }
    });
    sender.send_request(request).await
}

async fn over_h2<S: Stream>(
    io: TokioIo<S>,
    request: Request<Empty<Bytes>>,
    tasks: &mut JoinSet<()>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    tasks.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection ended");
        }
    });
    sender.send_request(request).await
}

/// How the target of a request is written.
enum Form {
    /// RFC 9112, section 3.2.1; the authority is in `Host`.
    Origin,
    /// Scheme and authority are pseudo-fields (RFC 9113, section 8.3.1).
    Absolute,
}

fn request(
    url: &HttpsUrl,
    mut fields: HeaderMap,
    form: Form,
) -> Result<Request<Empty<Bytes>>, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Usage,
            "usage",
            format!("`{url}` cannot be asked for: {error}."),
        )
    };
    let authority = match fields.remove(header::HOST) {
        Some(host) => host,
        None => HeaderValue::from_str(&url.authority()).map_err(|error| invalid(&error))?,
    };
    let uri = match form {
        Form::Origin => url.path_and_query().parse::<Uri>(),
        Form::Absolute => Uri::builder()
            .scheme("https")
            .authority(authority.as_bytes())
            .path_and_query(url.path_and_query())
            .build()
            .map_err(|error| invalid(&error))
            .map(Ok)?,
    };
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri.map_err(|error| invalid(&error))?;
    if let Form::Origin = form {
        fields.insert(header::HOST, authority);
    }
    *request.headers_mut() = fields;
    Ok(request)
}
