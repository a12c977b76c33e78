//! The requests of one connection.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALT_SVC, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use mtls_core::http_io::HeadLimit;
use mtls_core::page::{Notice, VERDICT_PATH, VerdictPage};
use mtls_core::tower::{KNOWN_HOSTS_FIELD, Media, MultipathConnectInfo, VERDICT_FIELD};
use tokio::io::AsyncWriteExt;
use tower_service::Service;

use super::activity::{Activity, TimedBody};
use super::http1::Signals;
use super::http3_body::Http3Body;
use super::{RequestBody, Takeover, well_formed};
use crate::web::BoxError;

const FAILED: Notice<&str> = Notice {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    text: "The server failed to respond to the request. Try again later.",
};
const HEAD_TOO_LONG: Notice<&str> = Notice {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    text: "The header fields of the request are too long. Delete the cookies of this site, and try \
           again.",
};

/// The body of a response: of an application's service, or of this server's own page.
pub(in crate::web) type SiteBody<B> = TimedBody<Either<Full<Bytes>, B>>;

/// Responds to the requests of one connection with the service of an application.
#[derive(Debug)]
pub(in crate::web) struct Requests<S> {
    pub(in crate::web) service: S,
    pub(in crate::web) info: MultipathConnectInfo,
    pub(in crate::web) activity: Activity,
    pub(in crate::web) request_head: HeadLimit,
    pub(in crate::web) signals: Signals,
    pub(in crate::web) takeover: Takeover,
    /// The value of `Multipath-TLS`.
    advertised: Option<HeaderValue>,
    /// The value of `Alt-Svc`.
    alternative: Option<HeaderValue>,
}

impl<S> Requests<S> {
    pub(in crate::web) fn new(
        service: S,
        info: MultipathConnectInfo,
        activity: Activity,
        request_head: HeadLimit,
    ) -> Self {
        Self {
            service,
            info,
            activity,
            request_head,
            signals: Signals::default(),
            takeover: Takeover::default(),
            advertised: None,
            alternative: None,
        }
    }

    pub(in crate::web) fn alternative(mut self, value: Option<HeaderValue>) -> Self {
        self.alternative = value;
        self
    }

    pub(in crate::web) fn advertise(mut self, value: Option<HeaderValue>) -> Self {
        self.advertised = value;
        self
    }

    /// Whether the head of a request is within the limit. The HTTP library checks that of HTTP/1.1.
    fn fits<B>(&self, request: &Request<B>) -> bool {
        let uri = request.uri();
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let start = [
            (":method", request.method().as_str()),
            (":path", path),
            (
                ":authority",
                uri.authority().map_or("", |host| host.as_str()),
            ),
        ];
        let start = start.map(|(name, value)| (name, value.as_bytes()));
        let fields = request.headers().iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        request.version() < Version::HTTP_2
            || self.request_head.allows(start.into_iter().chain(fields))
    }
}

impl<S, B> Requests<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
{
    /// The response, with the verdict.
    ///
    /// Records the request at once: hyper reads its body before it polls the future for the first
    /// time.
    pub(in crate::web) fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<SiteBody<B>>, Infallible>> {
        let has_body = !request.body().is_end_stream();
        let number = self.activity.begin_request(has_body);
        let version = request.version();
        let activity = self.activity.clone();
        let request = request.map(|body| RequestBody::new(body, version, number, activity));
        self.finish(request)
    }

    /// The response to a request over HTTP/3.
    pub(in crate::web) async fn respond_http3(
        self: Arc<Self>,
        request: Request<Http3Body>,
    ) -> Response<SiteBody<B>> {
        self.activity.begin_request(false);
        let activity = self.activity.clone();
        let request = request.map(|body| RequestBody::http3(body, activity));
        let Ok(response) = self.finish(request).await;
        response
    }

    async fn finish(
        self: Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<SiteBody<B>>, Infallible> {
        let upgrade = request.extensions().get::<OnUpgrade>().cloned();
        if upgrade.is_some() {
            self.signals.allow_upgrade().await;
            request.extensions_mut().insert(self.takeover.clone());
        }
        let mut response = self.dispatch(request).await;
        if let (Some(upgrade), false) = (upgrade, switches(&response)) {
            self.takeover.run(close(upgrade));
        }
        let fields = response.headers_mut();
        fields.insert(VERDICT_FIELD, self.info.verdict_field());
        if let Some(value) = &self.advertised {
            fields.insert(KNOWN_HOSTS_FIELD, value.clone());
        }
        if let Some(value) = &self.alternative {
            // That of the service is for its own alternative.
            fields.entry(ALT_SVC).or_insert_with(|| value.clone());
        }
        Ok(response.map(|body| TimedBody::new(body, self.activity.clone())))
    }

    async fn dispatch(
        &self,
        mut request: Request<RequestBody>,
    ) -> Response<Either<Full<Bytes>, B>> {
        let (method, headers) = (request.method(), request.headers());
        if !self.fits(&request) {
            let media = Media::negotiate(headers, &[Media::Text, Media::Html]);
            return HEAD_TOO_LONG.response(method, media).map(Either::Left);
        }
        if let Err(malformed) = well_formed::check(&request) {
            return malformed.response(&request).map(Either::Left);
        }
        if request.uri().path() == VERDICT_PATH {
            let response = VerdictPage.response(method, headers, Some(&self.info));
            return response.map(Either::Left);
        }
        let method = method.clone();
        request.extensions_mut().insert(self.info.clone());
        let _awaited = self.activity.awaited();
        match call(&self.service, request).await {
            Ok(response) => response.map(Either::Right),
            Err(error) => {
                let error: BoxError = error.into();
                tracing::error!(error, "the service failed to respond to a request");
                FAILED.response(&method, Media::Text).map(Either::Left)
            }
        }
    }
}

async fn call<S, B>(service: &S, request: Request<RequestBody>) -> Result<Response<B>, S::Error>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
{
    let mut service = service.clone();
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

fn switches<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// Ends a connection that is not upgraded after all: hyper leaves that to the holder of the upgrade.
async fn close(upgrade: OnUpgrade) {
    if let Ok(upgraded) = upgrade.await {
        // A client that is gone needs no close_notify.
        let _ = TokioIo::new(upgraded).shutdown().await;
    }
}
