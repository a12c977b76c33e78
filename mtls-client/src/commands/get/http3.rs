//! One request over a verified connection of QUIC (RFC 9114).

use bytes::Bytes;
use h3::client::{RequestStream, SendRequest};
use h3::error::{Code, ConnectionError, StreamError};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use mtls_core::http_io::{CheckFrames, CheckedOpenStreams, CheckedRecvStream, Http3SendStream};
use tokio::task::JoinSet;

use super::body::{Http3Body, ResponseBody};
use super::http::{self, Exchange, Form, HEAD, NoResponse};
use super::payload::{Upload, Watch};
use super::retry::Resend;
use crate::args::target::HttpsUrl;
use crate::exit::Exit;
use crate::failure::Failure;

/// Sends a request, and waits for the head of the response.
pub(super) async fn send(
    quic: quinn::Connection,
    url: &HttpsUrl,
    method: Method,
    fields: HeaderMap,
    upload: Upload,
) -> Result<Exchange, NoResponse> {
    let watch = upload.watch();
    let (mut parts, upload) = http::request(url, fields, Form::Absolute, upload)?.into_parts();
    parts.method = method;
    set_length(&mut parts.headers, &parts.method, &watch);
    let head_only = parts.method == Method::HEAD;
    let request = Request::from_parts(parts, ());
    let mut tasks = JoinSet::new();
    let sent = exchange(quic, request, upload, &mut tasks).await;
    match (sent, watch.failure()) {
        (Ok((response, _)), _) if !http::fits(response.headers()) => {
            Err(http::too_long(url).into())
        }
        (Ok((response, stream)), _) => {
            let length = response.headers().get(CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            let body = Http3Body {
                stream,
                length: if head_only { Some(0) } else { length },
                is_complete: false,
            };
            let response = response.map(|()| ResponseBody::Http3(Box::new(body)));
            let connection = Box::new(tasks);
            Ok(Exchange {
                response,
                connection,
            })
        }
        (Err(_), Some(failure)) => Err(failure.into()),
        (Err(error), None) => Err(NoResponse {
            resend: resend(&error),
            failure: failed(url, &error),
        }),
    }
}

/// hyper sets it in other versions.
fn set_length(fields: &mut HeaderMap, method: &Method, watch: &Watch) {
    match watch.length() {
        Some(0) if !http::expects_content(method) => {}
        Some(length) => {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {}
    }
}

type Receive = RequestStream<CheckedRecvStream, Bytes>;
type Send = RequestStream<Http3SendStream, Bytes>;

async fn exchange(
    quic: quinn::Connection,
    request: Request<()>,
    upload: Upload,
    tasks: &mut JoinSet<()>,
) -> Result<(Response<()>, Receive), SendError> {
    let mut requests = connect(quic, tasks).await?;
    let (send, mut receive) = requests.send_request(request).await?.split();
    // The connection closes with the last of these.
    tasks.spawn(async move {
        upload_all(send, upload).await;
        let _requests = requests;
        std::future::pending::<()>().await;
    });
    let response = receive.recv_response().await?;
    Ok((response, receive))
}

async fn connect(
    quic: quinn::Connection,
    tasks: &mut JoinSet<()>,
) -> Result<SendRequest<CheckedOpenStreams, Bytes>, ConnectionError> {
    let head_size = HEAD.list_size().into();
    let (mut driver, requests) = h3::client::builder()
        .max_field_section_size(head_size)
        .build(CheckFrames::new(quic, 2 * head_size))
        .await?;
    tasks.spawn(async move {
        let error = driver.wait_idle().await;
        tracing::debug!(%error, "connection ended");
    });
    Ok(requests)
}

/// Sends a body. A server that wants no more of it responds, and a failure to read it is reported by its
/// watch.
async fn upload_all(mut send: Send, mut upload: Upload) {
    while let Some(frame) = upload.frame().await {
        let Ok(frame) = frame else {
            send.stop_stream(Code::H3_REQUEST_CANCELLED);
            return;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if let Err(error) = send.send_data(data).await {
            tracing::debug!(%error, "the server takes no more of the request body");
            return;
        }
    }
    let _ = send.finish().await;
}

/// The reason why there is no response.
enum SendError {
    Connection(ConnectionError),
    Stream(StreamError),
}

impl From<ConnectionError> for SendError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<StreamError> for SendError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

/// The way to send the request again, if the server has not processed it (RFC 9114, sections 4.1.1
/// and 8.1).
fn resend(error: &SendError) -> Option<Resend> {
    match error {
        SendError::Stream(StreamError::RemoteClosing { .. }) => Some(Resend::Same),
        SendError::Stream(StreamError::RemoteTerminate { code, .. }) => match *code {
            Code::H3_REQUEST_REJECTED => Some(Resend::Same),
            Code::H3_VERSION_FALLBACK => Some(Resend::Http1),
            _ => None,
        },
        _ => None,
    }
}

fn failed(url: &HttpsUrl, error: &SendError) -> Failure {
    match error {
        SendError::Stream(StreamError::HeaderTooBig { .. }) => http::too_long(url),
        SendError::Connection(error)
        | SendError::Stream(StreamError::ConnectionError { 0: error, .. }) => {
            match error.is_h3_no_error() {
                true => http::empty_reply(url),
                false => of_connection(url, error),
            }
        }
        SendError::Stream(error) => of_stream(url, error),
    }
}

/// The failure of a response that ended early.
pub(super) fn of_stream(url: &HttpsUrl, error: &StreamError) -> Failure {
    match error {
        StreamError::ConnectionError { 0: error, .. } => of_connection(url, error),
        error => Failure::new(
            Exit::Http3,
            "http3-error",
            http::incomplete(url, &error.to_string()),
        ),
    }
}

fn of_connection(url: &HttpsUrl, error: &ConnectionError) -> Failure {
    let (exit, token) = match error {
        error if error.is_h3_no_error() => (Exit::Partial, "partial-response"),
        ConnectionError::Timeout { .. } => (Exit::Receive, "receive-error"),
        _ => (Exit::Http3, "http3-error"),
    };
    Failure::new(exit, token, http::incomplete(url, &error.to_string()))
}
