//! HTTP/3 on one connection of QUIC.

use std::sync::Arc;

use h3::error::{Code, ConnectionError, StreamError};
use h3::quic::{RecvStream as _, SendStream as _};
use h3::server::{Connection, RequestResolver, RequestStream};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::{Method, Request, Response};
use mtls_core::http_io::{CheckFrames, CheckedBidiStream, Http3SendStream, LINGER, LINGER_PAUSE};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;

use super::BoxError;
use super::connection::RequestBody;
use super::connection::activity::IdleLimits;
use super::connection::finish::until_finish;
use super::connection::http3_body::Http3Body;
use super::connection::requests::Requests;
use super::framing::number;
use crate::service::Stopping;

/// Fields that are about one connection of HTTP/1.1 (RFC 9114, section 4.2).
const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

type SendStream = RequestStream<Http3SendStream, Bytes>;

/// Serves the requests of one connection.
pub(super) struct Http3<S> {
    pub(super) requests: Arc<Requests<S>>,
    pub(super) limits: IdleLimits,
}

impl<S, B> Http3<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Serves until the client closes, a limit of time is exceeded, or the server stops.
    pub(super) async fn serve(self, quic: quinn::Connection, stopping: Stopping) {
        let peer = self.requests.info.peer();
        // A head that is a little too large gets its response: the limit of frames is above that.
        let head_size = self.requests.request_head.list_size().into();
        let built = h3::server::builder()
            .max_field_section_size(head_size)
            .build(CheckFrames::new(quic.clone(), 2 * head_size))
            .await;
        let ended = match built {
            Ok(mut http3) => {
                let ended = self.run(&mut http3, stopping).await;
                // Its drop closes the connection.
                let _ = timeout(LINGER, until_delivered(&quic)).await;
                ended
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended.or_else(end_of_client) {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn run(
        &self,
        http3: &mut Connection<CheckFrames, Bytes>,
        mut stopping: Stopping,
    ) -> Result<(), ConnectionError> {
        let activity = &self.requests.activity;
        let mut streams = JoinSet::new();
        let limits = loop {
            tokio::select! {
                biased;
                accepted = http3.accept() => match accepted? {
                    Some(resolver) => self.spawn(&mut streams, resolver),
                    None => return Ok(()),
                },
                Some(_) = streams.join_next() => {}
                () = until_finish(&mut stopping, activity) => break self.idle(),
                _ = activity.expired(self.idle()) => break self.idle().at_the_end(),
            }
        };
        // GOAWAY names the first request that is not processed (RFC 9114, section 5.2): a client repeats
        // that and later ones on another connection.
        http3.shutdown(1).await?;
        while !streams.is_empty() {
            tokio::select! {
                biased;
                accepted = http3.accept() => match accepted? {
                    Some(late) => reject(late),
                    None => return Ok(()),
                },
                Some(_) = streams.join_next() => {}
                _ = activity.expired(limits) => return Ok(()),
            }
        }
        Ok(())
    }

    fn idle(&self) -> IdleLimits {
        IdleLimits {
            header: None,
            ..self.limits
        }
    }

    fn spawn(&self, streams: &mut JoinSet<()>, resolver: RequestResolver<CheckFrames, Bytes>) {
        let requests = Arc::clone(&self.requests);
        let head = self.limits.header.unwrap_or(self.limits.idle);
        streams.spawn(async move {
            let peer = requests.info.peer();
            let Ok(resolved) = timeout(head, resolver.resolve_request()).await else {
                return tracing::debug!(%peer, "the request header did not arrive in time");
            };
            let responded = match resolved {
                Ok((request, stream)) => respond(requests, request, stream).await,
                Err(error) => Err(error),
            };
            if let Err(error) = responded {
                tracing::debug!(%peer, %error, "request ended");
            }
        });
    }
}

/// Tells the client that its request was not processed.
fn reject(mut request: RequestResolver<CheckFrames, Bytes>) {
    let code = Code::H3_REQUEST_REJECTED.value();
    request.frame_stream.stream.stop_sending(code);
    request.frame_stream.reset(code);
}

async fn respond<S, B>(
    requests: Arc<Requests<S>>,
    request: Request<()>,
    stream: RequestStream<CheckedBidiStream, Bytes>,
) -> Result<(), StreamError>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (mut send, mut receive) = stream.split();
    let Ok(length) = well_formed(request.headers()) else {
        receive.stop_sending(Code::H3_MESSAGE_ERROR);
        send.stop_stream(Code::H3_MESSAGE_ERROR);
        return Ok(());
    };
    let is_head = request.method() == Method::HEAD;
    let request = request.map(|()| Http3Body::new(receive, length));
    let activity = requests.activity.clone();
    let response = requests.respond_http3(request).await;
    let (mut parts, body) = response.into_parts();
    complete(&mut parts.headers, &body);
    send.send_response(Response::from_parts(parts, ())).await?;
    activity.note(true);
    let mut body = Box::pin(body);
    while !is_head && let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                send_frame(&mut send, frame).await?;
                activity.note(true);
            }
            Err(error) => {
                tracing::debug!(%error, "the response broke off");
                send.stop_stream(Code::H3_INTERNAL_ERROR);
                return Ok(());
            }
        }
    }
    send.finish().await
}

/// Fields that make a request malformed.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// The length of a request's body, if its fields are well-formed: none is about one connection (RFC 9114,
/// section 4.2), and there is one length at most (section 4.1.2). The HTTP library checks neither.
fn well_formed(fields: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let is_trailers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if HOP_BY_HOP.iter().any(|name| fields.contains_key(name))
        || !fields.get_all(TE).iter().all(is_trailers)
    {
        return Err(Malformed);
    }
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(length), None) => {
            let length = length.to_str().ok().and_then(number);
            length.map(Some).ok_or(Malformed)
        }
        _ => Err(Malformed),
    }
}

async fn send_frame(
    send: &mut SendStream,
    frame: hyper::body::Frame<Bytes>,
) -> Result<(), StreamError> {
    match frame.into_data() {
        Ok(data) if data.is_empty() => Ok(()),
        Ok(data) => send.send_data(data).await,
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => send.send_trailers(trailers).await,
            Err(_) => Ok(()),
        },
    }
}

/// The fields that hyper sets and removes over HTTP/2.
fn complete<B: Body>(fields: &mut HeaderMap, body: &B) {
    for name in HOP_BY_HOP {
        fields.remove(name);
    }
    if let (false, Some(length)) = (body.is_end_stream(), body.size_hint().exact()) {
        fields
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    if let Ok(now) = HeaderValue::try_from(now) {
        fields.entry(DATE).or_insert(now);
    }
}

/// Completes when the client has closed, or has acknowledged everything: a close discards data that is
/// on its way. quinn does not report that, so it counts as done when no packet has come for a while.
async fn until_delivered(quic: &quinn::Connection) {
    let mut received = None;
    while received != Some(quic.stats().udp_rx.datagrams) {
        received = Some(quic.stats().udp_rx.datagrams);
        if timeout(LINGER_PAUSE, quic.closed()).await.is_ok() {
            return;
        }
    }
}

fn end_of_client(error: ConnectionError) -> Result<(), ConnectionError> {
    match error.is_h3_no_error() {
        true => Ok(()),
        false => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(fields: &[(&'static str, &'static str)]) -> Result<Option<u64>, Malformed> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            map.append(name, HeaderValue::from_static(value));
        }
        well_formed(&map)
    }

    #[test]
    fn requests_with_fields_of_one_connection_or_an_ambiguous_length_are_malformed() {
        assert_eq!(checked(&[("x", "y"), ("te", "Trailers")]), Ok(None));
        assert_eq!(checked(&[("content-length", "7")]), Ok(Some(7)));
        for fields in [
            &[("connection", "close")][..],
            &[("keep-alive", "5")],
            &[("proxy-connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "websocket")],
            &[("te", "gzip")],
            &[("te", "trailers"), ("te", "gzip")],
            &[("content-length", "x")],
            &[("content-length", "+2")],
            &[("content-length", "")],
            &[("content-length", "2, 2")],
            &[("content-length", "2"), ("content-length", "2")],
            &[("content-length", "2"), ("content-length", "3")],
        ] {
            assert_eq!(checked(fields), Err(Malformed), "{fields:?}");
        }
    }
}
