//! The layer that requires a verified connection.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{self, FutureExt, Map, MapOk, Ready, TryFutureExt};
use http::{Extensions, Request, Response};
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use super::explanation::NotVerified;
use crate::stream::VerdictHandle;
use crate::verdict::Outcome;

/// Any error, as tower's middleware returns it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A tower layer that requires a verified connection.
///
/// [`on_server`](Self::on_server) answers any other request with 421 Misdirected Request
/// (RFC 9110, section 15.5.20) and an explanation, as JSON or as plain text by `Accept`; the
/// service behind it never receives such a request. The layer reads the verdict for each request: a
/// server that does not hold connections back may receive the client's Confirm while a connection
/// is in use.
///
/// ```
/// use axum::Router;
/// use axum::routing::{get, post};
/// use mtls_core::tower::RequireVerified;
///
/// let app: Router = Router::new()
///     .route("/pay", post(async || "paid"))
///     .route_layer(RequireVerified::on_server())
///     .route("/", get(async || "for every client"));
/// # let _ = app;
/// ```
///
/// [`on_client`](Self::on_client) refuses any other response with [`NotVerified`]. The request has
/// been sent by then; only [`Policy::Require`](crate::Policy::Require) prevents that.
///
/// ```
/// use hyper_util::client::legacy::Client;
/// use mtls_core::tower::RequireVerified;
/// use tower::ServiceBuilder;
///
/// # fn wrap<C: Clone, B>(client: Client<C, B>) {
/// let client = ServiceBuilder::new().layer(RequireVerified::on_client()).service(client);
/// # let _ = client;
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RequireVerified<End> {
    end: PhantomData<fn() -> End>,
}

/// Marks a [`RequireVerified`] for servers.
#[derive(Clone, Copy, Debug)]
pub enum OnServer {}

/// Marks a [`RequireVerified`] for clients.
#[derive(Clone, Copy, Debug)]
pub enum OnClient {}

impl RequireVerified<OnServer> {
    /// Requires verified connections for requests.
    pub fn on_server() -> Self {
        Self { end: PhantomData }
    }
}

impl RequireVerified<OnClient> {
    /// Requires verified connections for responses.
    pub fn on_client() -> Self {
        Self { end: PhantomData }
    }
}

impl<S> Layer<S> for RequireVerified<OnServer> {
    type Service = RequireVerifiedServer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireVerifiedServer { inner }
    }
}

impl<S> Layer<S> for RequireVerified<OnClient> {
    type Service = RequireVerifiedClient<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireVerifiedClient { inner }
    }
}

/// A server's service behind [`RequireVerified`].
#[derive(Clone, Debug)]
pub struct RequireVerifiedServer<S> {
    inner: S,
}

/// A client's service behind [`RequireVerified`].
#[derive(Clone, Debug)]
pub struct RequireVerifiedClient<S> {
    inner: S,
}

/// A server's response: that of its service, or an explanation.
type Guarded<R> = Response<Either<R, Full<Bytes>>>;

impl<S, B, R> Service<Request<B>> for RequireVerifiedServer<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Guarded<R>;
    type Error = S::Error;
    type Future = future::Either<
        MapOk<S::Future, fn(Response<R>) -> Guarded<R>>,
        Ready<Result<Guarded<R>, S::Error>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match check(request.extensions()) {
            Ok(()) => {
                let served: fn(Response<R>) -> Guarded<R> = |response| response.map(Either::Left);
                future::Either::Left(self.inner.call(request).map_ok(served))
            }
            Err(why) => {
                tracing::debug!(%why, "request refused");
                let response = why.response(request.headers()).map(Either::Right);
                future::Either::Right(future::ready(Ok(response)))
            }
        }
    }
}

impl<S, B, R> Service<Request<B>> for RequireVerifiedClient<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future =
        Map<S::Future, fn(Result<Response<R>, S::Error>) -> Result<Response<R>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.inner.call(request).map(|response| {
            let response = response.map_err(Into::into)?;
            check(response.extensions())?;
            Ok(response)
        })
    }
}

fn check(extensions: &Extensions) -> Result<(), NotVerified> {
    let verdict = VerdictHandle::from_extensions(extensions);
    match verdict.map(VerdictHandle::outcome) {
        Some(Outcome::Verified(_)) => Ok(()),
        _ => Err(NotVerified::new(verdict.map(VerdictHandle::get))),
    }
}
