//! One request over a verified stream: HTTP/2 or HTTP/1.1, as ALPN says (RFC 9113, RFC 9112).

use std::error::Error;
use std::io;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls_core::ClientStream;
use mtls_core::http_io::{HeadLimit, KeepReading, MergeData, find_cause};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::close_notify::CloseNotify;
use super::payload::Upload;
use super::retry::Again;
use crate::args::target::HttpsUrl;
use crate::connect::failure::Failure;
use crate::exit::Exit;

/// The longest head of a response, over HTTP/1.1 and HTTP/2.
const HEAD: HeadLimit = HeadLimit::RESPONSE;
/// Bytes of a response that wait for the output.
const HTTP_2_STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// The largest window (RFC 9113, section 6.9.1): with it `h2` never closes the connection because
/// of short frames that wait (see [`MergeData`]). The window of the only stream bounds the memory.
const HTTP_2_CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// What drives a connection, until this is dropped.
pub(super) type Connection = JoinSet<hyper::Result<()>>;

/// A response; its connection lives as long as this does.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection,
}

/// Why there is no response.
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    /// How to send the request again, which the server has not processed.
    pub(super) again: Option<Again>,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            again: None,
        }
    }
}

/// Sends a request, and waits for the head of the response.
pub(super) async fn ask(
    stream: ClientStream<TcpStream>,
    url: &HttpsUrl,
    method: Method,
    fields: HeaderMap,
    upload: Upload,
) -> Result<Exchange, Unanswered> {
    let watch = upload.watch();
    let tls = stream.into_inner();
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let mut tasks = JoinSet::new();
    let (tls, broken) = KeepReading::new(CloseNotify(tls));
    let io = TokioIo::new(tls);
    let form = if is_h2 { Form::Absolute } else { Form::Origin };
    let mut request = request(url, fields, form, upload)?;
    if watch.length() == Some(0) && expects_content(&method) {
        let none = HeaderValue::from_static("0");
        request.headers_mut().insert(header::CONTENT_LENGTH, none);
    }
    *request.method_mut() = method;
    let sent = match is_h2 {
        true => over_h2(io, request, &mut tasks).await,
        false => over_h1(io, request, &mut tasks).await,
    };
    match sent {
        Ok(response) if !fits(response.headers()) => Err(too_long(url).into()),
        Ok(response) => Ok(Exchange {
            response,
            connection: tasks,
        }),
        Err(error) => {
            let error = cause(error, &mut tasks).await;
            let again = Again::after(&error);
            let failure = watch.failure();
            let failure = failure.unwrap_or_else(|| no_response(url, &error, broken.reason()));
            Err(Unanswered { failure, again })
        }
    }
}

fn fits(fields: &HeaderMap) -> bool {
    let fields = fields.iter();
    HEAD.allows(fields.map(|(name, value)| (name.as_str(), value.as_bytes())))
}

fn too_long(url: &HttpsUrl) -> Failure {
    let reason = format!("its header fields exceed {} bytes", HEAD.bytes());
    Failure::new(Exit::Receive, "receive-error", incomplete(url, &reason))
}

/// Such a request says that it has none (RFC 9110, section 8.6).
fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// A request that was cancelled does not know why; its connection does.
async fn cause(error: hyper::Error, connection: &mut Connection) -> hyper::Error {
    if !error.is_canceled() && !error.is_closed() {
        return error;
    }
    match connection.join_next().await {
        Some(Ok(Err(cause))) => cause,
        _ => error,
    }
}

/// The body of the response broke off.
pub(super) fn broken_off(url: &HttpsUrl, error: Option<&hyper::Error>) -> Failure {
    let Some(error) = error else {
        let reason = "the server ended it before it was complete";
        return Failure::new(Exit::Partial, "partial-response", incomplete(url, reason));
    };
    let (exit, token) = match Cause::of(error) {
        Cause::End | Cause::GoAway => (Exit::Partial, "partial-response"),
        Cause::Reset => (Exit::Http2Stream, "stream-reset"),
        Cause::Other => (Exit::Receive, "receive-error"),
    };
    Failure::new(exit, token, incomplete(url, &chain(error)))
}

fn no_response(url: &HttpsUrl, error: &hyper::Error, broken: Option<&str>) -> Failure {
    let reason = chain(error);
    if wants_a_certificate(&reason) {
        let message = format!(
            "{} wants a client certificate: {reason}. Name one with --cert FILE and --key FILE, \
             or ask the server's operator which it takes.",
            url.endpoint()
        );
        return Failure::new(Exit::Receive, "client-certificate-refused", message);
    }
    if let Some(reason) = broken {
        let message = format!(
            "{} closed the connection before it had taken the whole request: {reason}. It may not \
             allow that much; ask its operator.",
            url.endpoint()
        );
        return Failure::new(Exit::Send, "send-error", message);
    }
    let (exit, token) = match Cause::of(error) {
        Cause::End => return empty_reply(url),
        Cause::GoAway => (Exit::Http2, "http2-error"),
        Cause::Reset => (Exit::Http2Stream, "stream-reset"),
        Cause::Other => (Exit::Receive, "receive-error"),
    };
    Failure::new(exit, token, incomplete(url, &reason))
}

fn empty_reply(url: &HttpsUrl) -> Failure {
    let message = format!(
        "{} closed the connection without an answer. Try again, or ask the server's operator.",
        url.endpoint()
    );
    Failure::new(Exit::EmptyReply, "empty-reply", message)
}

/// What ended an exchange, below what hyper says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The connection ended, with close_notify or without.
    End,
    /// An HTTP/2 connection error, of either end's.
    GoAway,
    /// An HTTP/2 stream error, of either end's.
    Reset,
    Other,
}

impl Cause {
    fn of(error: &hyper::Error) -> Self {
        let http2 = find_cause::<h2::Error>(error);
        // h2 does not name the system's error as its source.
        let system = http2.map_or_else(|| find_cause(error), h2::Error::get_io);
        match (system, http2) {
            (Some(error), _) => Self::of_system(error),
            (None, Some(error)) if error.is_reset() => Self::Reset,
            (None, Some(_)) => Self::GoAway,
            (None, None) if error.is_incomplete_message() => Self::End,
            (None, None) if error.is_canceled() || error.is_closed() => Self::End,
            (None, None) => Self::Other,
        }
    }

    /// A stream of h2's whose connection has ended is a broken pipe.
    fn of_system(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::End,
            _ => Self::Other,
        }
    }
}

/// TLS 1.3 servers look at the client's certificate when the client's handshake is over. The alert
/// is looked for in the words, which is all that HTTP/2 leaves of it.
fn wants_a_certificate(reason: &str) -> bool {
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

fn incomplete(url: &HttpsUrl, reason: &str) -> String {
    format!(
        "no complete response from {}: {reason}. Try again, or ask the server's operator.",
        url.endpoint()
    )
}

/// An error with what caused it, each said once.
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

async fn over_h1<S: Stream>(
    io: TokioIo<S>,
    request: Request<Upload>,
    tasks: &mut Connection,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEAD.fields())
        .max_header_size(HEAD.bytes())
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(io)
        .await?;
    tasks.spawn(async move {
        let end = connection.await;
        if let Err(error) = &end {
            tracing::debug!(%error, "the connection ended");
        }
        end
    });
    sender.send_request(request).await
}

async fn over_h2<S: Stream>(
    io: TokioIo<S>,
    request: Request<Upload>,
    tasks: &mut Connection,
) -> hyper::Result<Response<Incoming>> {
    let io = TokioIo::new(MergeData::client(io.into_inner()));
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(HEAD.list_size())
        .initial_stream_window_size(HTTP_2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP_2_CONNECTION_WINDOW)
        .handshake(io)
        .await?;
    tasks.spawn(async move {
        let end = connection.await;
        if let Err(error) = &end {
            tracing::debug!(%error, "the connection ended");
        }
        end
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
    body: Upload,
) -> Result<Request<Upload>, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Usage,
            "usage",
            format!("`{url}` cannot be asked for: {error}."),
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
