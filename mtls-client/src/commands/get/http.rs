//! One request over a verified stream, over HTTP/2 or HTTP/1.1 by ALPN (RFC 9113, RFC 9112).

use std::error::Error;
use std::io;

use futures_util::TryFutureExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls_core::ClientStream;
use mtls_core::http_io::{HeadLimit, KeepReading, MergeData, find_cause};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::body::ResponseBody;
use super::close_notify::CloseNotify;
use super::payload::Upload;
use super::retry::Resend;
use crate::args::target::HttpsUrl;
use crate::exit::Exit;
use crate::failure::Failure;

/// The longest head of a response, over HTTP/1.1 and HTTP/2.
pub(super) const HEAD: HeadLimit = HeadLimit::RESPONSE;
/// Bytes of a response that may be buffered for the output.
const HTTP_2_STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// The largest window (RFC 9113, section 6.9.1), so that `h2` never closes the connection because
/// of buffered short frames (see [`MergeData`]). The window of the only stream bounds the memory.
const HTTP_2_CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The task of a connection, which ends when this is dropped.
type Connection = JoinSet<hyper::Result<()>>;

/// A response, and the connection of its body.
pub(super) struct Exchange {
    pub(super) response: Response<ResponseBody>,
    /// Its drop ends the connection.
    pub(super) connection: Box<dyn Send>,
}

/// The failure of a request without a response.
pub(super) struct NoResponse {
    pub(super) failure: Failure,
    /// The way to send the request again, if the server has not processed it.
    pub(super) resend: Option<Resend>,
}

impl From<Failure> for NoResponse {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            resend: None,
        }
    }
}

/// Sends a request, and waits for the head of the response.
pub(super) async fn send(
    stream: ClientStream<TcpStream>,
    url: &HttpsUrl,
    method: Method,
    fields: HeaderMap,
    upload: Upload,
) -> Result<Exchange, NoResponse> {
    let watch = upload.watch();
    let tls = stream.into_inner();
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let mut tasks = JoinSet::new();
    let (tls, write_failure) = KeepReading::new(CloseNotify(tls));
    let form = if is_h2 { Form::Absolute } else { Form::Origin };
    let mut request = request(url, fields, form, upload)?;
    if watch.length() == Some(0) && expects_content(&method) {
        let none = HeaderValue::from_static("0");
        request.headers_mut().insert(header::CONTENT_LENGTH, none);
    }
    *request.method_mut() = method;
    let sent = match is_h2 {
        true => over_h2(tls, request, &mut tasks).await,
        false => over_h1(tls, request, &mut tasks).await,
    };
    match sent {
        Ok(response) if !fits(response.headers()) => Err(too_long(url).into()),
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let reason = "it changed the protocol without being asked to (101)";
            let message = incomplete(url, reason);
            Err(Failure::new(Exit::Receive, "receive-error", message).into())
        }
        Ok(response) => Ok(Exchange {
            response: response.map(ResponseBody::Hyper),
            connection: Box::new(tasks),
        }),
        Err(error) => {
            let error = cause(error, &mut tasks).await;
            let resend = Resend::after(&error);
            let failure = watch.failure();
            let failure =
                failure.unwrap_or_else(|| no_response(url, &error, write_failure.reason()));
            Err(NoResponse { failure, resend })
        }
    }
}

pub(super) fn fits(fields: &HeaderMap) -> bool {
    let fields = fields.iter();
    HEAD.allows(fields.map(|(name, value)| (name.as_str(), value.as_bytes())))
}

pub(super) fn too_long(url: &HttpsUrl) -> Failure {
    let reason = format!("its header fields exceed {} bytes", HEAD.bytes());
    Failure::new(Exit::Receive, "receive-error", incomplete(url, &reason))
}

/// Whether a request without a body needs `Content-Length: 0` (RFC 9110, section 8.6).
pub(super) fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// The cause of a cancelled request is the error of its connection.
async fn cause(error: hyper::Error, connection: &mut Connection) -> hyper::Error {
    if !error.is_canceled() && !error.is_closed() {
        return error;
    }
    match connection.join_next().await {
        Some(Ok(Err(cause))) => cause,
        _ => error,
    }
}

/// The failure if the body of the response ended early.
pub(super) fn partial_response(url: &HttpsUrl, error: Option<&hyper::Error>) -> Failure {
    let Some(error) = error else {
        let reason = "the server ended it early";
        return Failure::new(Exit::Partial, "partial-response", incomplete(url, reason));
    };
    let (exit, token) = match Cause::of(error) {
        Cause::End | Cause::GoAway => (Exit::Partial, "partial-response"),
        Cause::Reset => (Exit::Http2Stream, "stream-reset"),
        Cause::Invalid | Cause::Other => (Exit::Receive, "receive-error"),
    };
    Failure::new(exit, token, incomplete(url, &chain(error)))
}

fn no_response(url: &HttpsUrl, error: &hyper::Error, write_failure: Option<&str>) -> Failure {
    let reason = chain(error);
    if requires_certificate(&reason) {
        let message = format!(
            "{} requires a client certificate: {reason}; name one with --cert FILE and --key FILE, \
             or ask the server's operator which it accepts",
            url.endpoint()
        );
        return Failure::new(Exit::Receive, "client-certificate-refused", message);
    }
    if let Some(reason) = write_failure {
        let message = format!(
            "{} closed the connection before it received the whole request: {reason}; the request \
             may be too large for the server",
            url.endpoint()
        );
        return Failure::new(Exit::Send, "send-error", message);
    }
    let (exit, token) = match Cause::of(error) {
        Cause::End => return empty_reply(url),
        Cause::GoAway => (Exit::Http2, "http2-error"),
        Cause::Reset => (Exit::Http2Stream, "stream-reset"),
        Cause::Invalid => {
            let limit = HEAD.bytes();
            let reason = format!("{reason} (invalid, or header fields above {limit} bytes)");
            return Failure::new(Exit::Receive, "receive-error", incomplete(url, &reason));
        }
        Cause::Other => (Exit::Receive, "receive-error"),
    };
    Failure::new(exit, token, incomplete(url, &reason))
}

pub(super) fn empty_reply(url: &HttpsUrl) -> Failure {
    let message = format!(
        "{} closed the connection without a response; try again, or ask the server's operator",
        url.endpoint()
    );
    Failure::new(Exit::EmptyReply, "empty-reply", message)
}

/// The cause of the end of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The connection ended, with close_notify or without.
    End,
    /// An HTTP/2 connection error of either end.
    GoAway,
    /// The server reset the HTTP/2 stream.
    Reset,
    /// This end reset the HTTP/2 stream: the response is invalid, or h2 refused its head.
    Invalid,
    Other,
}

impl Cause {
    fn of(error: &hyper::Error) -> Self {
        let http2 = find_cause::<h2::Error>(error);
        // h2 does not return the system's error as its source.
        let system = http2.map_or_else(|| find_cause(error), h2::Error::get_io);
        match (system, http2) {
            (Some(error), _) => Self::of_system(error),
            (None, Some(error)) if error.is_reset() => match error.is_remote() {
                true => Self::Reset,
                false => Self::Invalid,
            },
            (None, Some(_)) => Self::GoAway,
            (None, None) if error.is_incomplete_message() => Self::End,
            (None, None) if error.is_canceled() || error.is_closed() => Self::End,
            (None, None) => Self::Other,
        }
    }

    /// h2 reports a broken pipe for a stream whose connection has ended.
    fn of_system(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::End,
            _ => Self::Other,
        }
    }
}

/// Whether an alert rejects the client's certificate. TLS 1.3 servers check it after the client has
/// completed the handshake. HTTP/2 keeps only the text of the alert.
fn requires_certificate(reason: &str) -> bool {
    use rustls::AlertDescription as Alert;
    [
        Alert::CertificateRequired,
        Alert::BadCertificate,
        Alert::UnknownCA,
        Alert::UnsupportedCertificate,
        Alert::CertificateRevoked,
        Alert::CertificateExpired,
        Alert::CertificateUnknown,
        Alert::AccessDenied,
        Alert::DecryptError,
    ]
    .into_iter()
    .any(|alert| reason.contains(&rustls::Error::AlertReceived(alert).to_string()))
}

pub(super) fn incomplete(url: &HttpsUrl, reason: &str) -> String {
    format!(
        "no complete response from {}: {reason}; try again, or ask the server's operator",
        url.endpoint()
    )
}

/// An error and its causes, without repetitions.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

async fn over_h1(
    tls: impl Stream,
    request: Request<Upload>,
    tasks: &mut Connection,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEAD.fields())
        .max_header_size(HEAD.bytes())
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(TokioIo::new(tls))
        .await?;
    run(tasks, connection);
    sender.send_request(request).await
}

async fn over_h2(
    tls: impl Stream,
    request: Request<Upload>,
    tasks: &mut Connection,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(HEAD.list_size())
        .initial_stream_window_size(HTTP_2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP_2_CONNECTION_WINDOW)
        .handshake(TokioIo::new(MergeData::client(tls)))
        .await?;
    run(tasks, connection);
    sender.send_request(request).await
}

fn run(
    tasks: &mut Connection,
    connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
) {
    tasks.spawn(connection.inspect_err(|error| tracing::debug!(%error, "connection ended")));
}

/// The form of the target of a request.
pub(super) enum Form {
    /// RFC 9112, section 3.2.1; the authority is in `Host`.
    Origin,
    /// Scheme and authority are pseudo-fields (RFC 9113, section 8.3.1).
    Absolute,
}

pub(super) fn request(
    url: &HttpsUrl,
    mut fields: HeaderMap,
    form: Form,
    body: Upload,
) -> Result<Request<Upload>, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Usage,
            "usage",
            format!("`{url}` cannot be requested: {error}"),
        )
    };
    let authority = match fields.remove(header::HOST) {
        Some(host) => host,
        None => HeaderValue::from_str(url.authority()).map_err(|error| invalid(&error))?,
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
    let mut request = Request::new(body);
    *request.uri_mut() = uri.map_err(|error| invalid(&error))?;
    if let Form::Origin = form {
        fields.insert(header::HOST, authority);
    }
    *request.headers_mut() = fields;
    Ok(request)
}
