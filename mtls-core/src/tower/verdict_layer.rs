//! The layer that adds the verdict to responses.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Extensions, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::connect_info::MultipathConnectInfo;
use super::verdict_field::{VERDICT_FIELD, verdict_field};
use crate::stream::VerdictHandle;

/// A tower layer that adds the field [`Multipath-Verdict`](VERDICT_FIELD) to each response.
///
/// A response to a request without a verdict, as over plain HTTP, is unchanged, except that the field
/// is removed: only this layer may state a verdict.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use mtls_core::tower::VerdictLayer;
///
/// let app: Router = Router::new().route("/", get(async || "hello")).layer(VerdictLayer);
/// # let _ = app;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct VerdictLayer;

/// A service behind [`VerdictLayer`].
#[derive(Clone, Debug)]
pub struct VerdictService<S> {
    inner: S,
}

pin_project! {
    /// The future of a [`VerdictService`].
    #[derive(Debug)]
    pub struct VerdictFuture<F> {
        #[pin]
        inner: F,
        source: Option<Source>,
    }
}

/// The source of the value, which is read when the response is ready.
#[derive(Clone, Debug)]
enum Source {
    Connection(MultipathConnectInfo),
    Handle(VerdictHandle),
}

impl Source {
    fn of(extensions: &Extensions) -> Option<Self> {
        match MultipathConnectInfo::from_extensions(extensions) {
            Some(info) => Some(Self::Connection(info.clone())),
            None => {
                let verdict = VerdictHandle::from_extensions(extensions);
                verdict.cloned().map(Self::Handle)
            }
        }
    }

    fn value(&self) -> HeaderValue {
        match self {
            Self::Connection(info) => info.verdict_field(),
            Self::Handle(verdict) => verdict_field(&verdict.outcome()),
        }
    }
}

impl<S> Layer<S> for VerdictLayer {
    type Service = VerdictService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VerdictService { inner }
    }
}

impl<S, B, R> Service<Request<B>> for VerdictService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = VerdictFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        VerdictFuture {
            source: Source::of(request.extensions()),
            inner: self.inner.call(request),
        }
    }
}

impl<F, R, E> Future for VerdictFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let fields = response.headers_mut();
        match this.source {
            Some(source) => fields.insert(VERDICT_FIELD, source.value()),
            None => fields.remove(VERDICT_FIELD),
        };
        Poll::Ready(Ok(response))
    }
}
