//! The connector for hyper-util's client.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper::rt;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::BoxError;
use super::handover::Handover;
use super::stream::MultipathHttpsStream;
use crate::connector::{MultipathConnector, server_name};
use crate::error::{ApiMisuse, Error};
use crate::path::{Dial, Endpoint, Host, Path};
use crate::verdict::policy::Policy;

/// Connects hyper-util's client: HTTPS with multipath TLS (never mutual TLS).
///
/// Every response carries the verdict on its connection
/// ([`VerdictHandle::from_extensions`](crate::VerdictHandle::from_extensions) finds it). One
/// connector, and so one client, has one policy: the pool gives a request any connection to its
/// host, and none may be weaker than another. Under [`Policy::Prefer`] a connection that was not
/// verified serves the request that it was made for and no other, so that the next one tries again;
/// under [`Policy::Observe`] it is pooled like any other. Plain HTTP has no verdict, and is pooled.
///
/// Many requests at a time to one host that speaks HTTP/2, is not verified, and is let pass by
/// [`Policy::Prefer`] come in each other's way in hyper-util's pool: rarely, one ends with its
/// `Canceled` error and can be sent again. With `pool_max_idle_per_host(0)` that cannot happen.
///
/// Servers may send HTTP/2 DATA frames that are short or empty. Those that arrive together are
/// [merged](crate::http_io::MergeData); for those that arrive one by one while nothing reads them,
/// give hyper-util's client a large `http2_initial_connection_window_size`, or it closes the
/// connection.
///
/// `H` opens the primary streams: by default the connector itself, over its primary path.
///
/// Only a pool that asks a stream what it is, as that of `hyper_util::client::legacy` does, can
/// know what must not be reused; tonic's `Channel` does not ask. Give such a client
/// [`Policy::Require`].
pub struct MultipathHttpsConnector<H = OwnPrimary, D = Path> {
    multipath: MultipathConnector<D>,
    schemes: Schemes,
    handover: Handover,
    http: H,
}

/// Stands for a connector that dials its primary path itself.
#[derive(Clone, Copy, Debug)]
pub struct OwnPrimary(pub(super) ());

/// The URI schemes that a connector accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schemes {
    HttpsOnly,
    HttpsOrHttp,
}

/// The target of a URI.
enum Target {
    Https(Endpoint),
    Http(Endpoint),
}

impl<H, D: Dial> MultipathHttpsConnector<H, D> {
    pub(super) fn new(multipath: MultipathConnector<D>, schemes: Schemes, http: H) -> Self {
        Self {
            multipath,
            schemes,
            handover: Handover::default(),
            http,
        }
    }

    /// The connector beneath, which makes connections of any protocol.
    pub fn multipath(&self) -> &MultipathConnector<D> {
        &self.multipath
    }

    fn target(&self, uri: &Uri) -> Result<Target, Error> {
        let invalid = || ApiMisuse::InvalidUri(uri.to_string());
        let host = uri.host().ok_or_else(invalid)?;
        let host: Host = host.parse().map_err(|_| invalid())?;
        let port = uri.port_u16();
        if uri.scheme() == Some(&Scheme::HTTPS) {
            return Ok(Target::Https(Endpoint::new(host, port.unwrap_or(443))));
        }
        let plain = self.schemes == Schemes::HttpsOrHttp
            && self.multipath.policy() != Policy::Require
            && uri.scheme() == Some(&Scheme::HTTP);
        match plain {
            true => Ok(Target::Http(Endpoint::new(host, port.unwrap_or(80)))),
            false => Err(ApiMisuse::NotHttps(uri.to_string()).into()),
        }
    }
}

type Connecting<T> = BoxFuture<'static, Result<MultipathHttpsStream<T>, Error>>;

impl<D: Dial> Service<Uri> for MultipathHttpsConnector<OwnPrimary, D> {
    type Response = MultipathHttpsStream<D::Stream>;
    type Error = Error;
    type Future = Connecting<D::Stream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let target = self.target(&uri);
        let multipath = self.multipath.clone();
        let handover = self.handover.clone();
        Box::pin(async move {
            let about = |_: &D::Stream| Connected::new();
            match target? {
                Target::Https(to) => {
                    let stream = multipath.connect(&to).await?;
                    Ok(handover.hand_over(stream, multipath.policy(), about).await)
                }
                Target::Http(to) => {
                    let dialed = multipath.primary().dial(&to).await;
                    let dialed = dialed.map_err(|error| Error::Dial(Box::new(error)))?;
                    Ok(MultipathHttpsStream::plain(dialed.stream, about))
                }
            }
        })
    }
}

impl<H, D> Service<Uri> for MultipathHttpsConnector<H, D>
where
    H: Service<Uri>,
    H::Response: Connection + rt::Read + rt::Write + Send + Unpin + 'static,
    H::Future: Send + 'static,
    H::Error: Into<BoxError>,
    D: Dial,
{
    type Response = MultipathHttpsStream<TokioIo<H::Response>>;
    type Error = Error;
    type Future = Connecting<TokioIo<H::Response>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.http.poll_ready(cx).map_err(inner_error)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let target = match self.target(&uri) {
            Ok(target) => target,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let opening = self.http.call(uri);
        let opening = async { opening.await.map(TokioIo::new).map_err(inner_error) };
        let multipath = self.multipath.clone();
        let handover = self.handover.clone();
        Box::pin(async move {
            let about = |io: &TokioIo<H::Response>| io.inner().connected();
            match target {
                Target::Https(to) => {
                    let name = server_name(&to.host)?;
                    let known = multipath.known(&to).await?;
                    let stream = multipath.connect_with_dial(name, opening, known).await?;
                    Ok(handover.hand_over(stream, multipath.policy(), about).await)
                }
                Target::Http(_) => Ok(MultipathHttpsStream::plain(opening.await?, about)),
            }
        })
    }
}

fn inner_error(error: impl Into<BoxError>) -> Error {
    match error.into().downcast::<io::Error>() {
        Ok(error) => Error::Io(*error),
        Err(error) => Error::Io(io::Error::other(error)),
    }
}

impl<H: Clone, D> Clone for MultipathHttpsConnector<H, D> {
    fn clone(&self) -> Self {
        Self {
            multipath: self.multipath.clone(),
            schemes: self.schemes,
            handover: self.handover.clone(),
            http: self.http.clone(),
        }
    }
}

impl<H, D> fmt::Debug for MultipathHttpsConnector<H, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipathHttpsConnector")
            .field("schemes", &self.schemes)
            .finish_non_exhaustive()
    }
}
