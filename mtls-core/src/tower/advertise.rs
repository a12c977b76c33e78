//! The layer by which a server requests to be remembered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::HeaderName;
use http::{Extensions, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::connect_info::MultipathConnectInfo;
use crate::known_hosts::{Advertisement, FIELD_NAME};
use crate::stream::VerdictHandle;

/// `Multipath-TLS`.
pub const KNOWN_HOSTS_FIELD: HeaderName = HeaderName::from_static(FIELD_NAME);

/// A tower layer that adds the field [`Multipath-TLS`](KNOWN_HOSTS_FIELD) to each response: clients that
/// have verified the connection then remember the server ([`known_hosts`](crate::known_hosts)).
///
/// A response to a request over plain HTTP is unchanged, except that the field is removed.
///
/// ```
/// use std::time::Duration;
///
/// use axum::Router;
/// use axum::routing::get;
/// use mtls_core::known_hosts::Advertisement;
/// use mtls_core::tower::AdvertiseLayer;
///
/// let half_a_year = Duration::from_secs(180 * 24 * 3600);
/// let layer = AdvertiseLayer::new(&Advertisement::new(half_a_year));
/// let app: Router = Router::new().route("/", get(async || "hello")).layer(layer);
/// # let _ = app;
/// ```
#[derive(Clone, Debug)]
pub struct AdvertiseLayer {
    value: HeaderValue,
}

/// A service behind [`AdvertiseLayer`].
#[derive(Clone, Debug)]
pub struct AdvertiseService<S> {
    inner: S,
    value: HeaderValue,
}

pin_project! {
    /// The future of an [`AdvertiseService`].
    #[derive(Debug)]
    pub struct AdvertiseFuture<F> {
        #[pin]
        inner: F,
        value: Option<HeaderValue>,
    }
}

impl AdvertiseLayer {
    /// A layer that adds this value.
    pub fn new(advertisement: &Advertisement) -> Self {
        Self {
            value: advertised(advertisement),
        }
    }
}

/// The value of [`KNOWN_HOSTS_FIELD`].
fn advertised(advertisement: &Advertisement) -> HeaderValue {
    // A number, and a host in ASCII. An empty value would be ignored.
    HeaderValue::try_from(advertisement.to_string())
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

impl From<&Advertisement> for HeaderValue {
    fn from(advertisement: &Advertisement) -> Self {
        advertised(advertisement)
    }
}

fn is_over_tls(extensions: &Extensions) -> bool {
    MultipathConnectInfo::from_extensions(extensions).is_some()
        || VerdictHandle::from_extensions(extensions).is_some()
}

impl<S> Layer<S> for AdvertiseLayer {
    type Service = AdvertiseService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AdvertiseService {
            inner,
            value: self.value.clone(),
        }
    }
}

impl<S, B, R> Service<Request<B>> for AdvertiseService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = AdvertiseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let value = is_over_tls(request.extensions()).then(|| self.value.clone());
        AdvertiseFuture {
            inner: self.inner.call(request),
            value,
        }
    }
}

impl<F, R, E> Future for AdvertiseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let fields = response.headers_mut();
        match this.value.take() {
            Some(value) => fields.insert(KNOWN_HOSTS_FIELD, value),
            None => fields.remove(KNOWN_HOSTS_FIELD),
        };
        Poll::Ready(Ok(response))
    }
}
