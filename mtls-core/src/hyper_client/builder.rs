//! The steps to a [`MultipathHttpsConnector`], in the order of hyper-rustls.

use std::sync::Arc;

use rustls::ClientConfig;

use super::connector::{MultipathHttpsConnector, OwnPrimary, Schemes};
use super::stream::HTTP_2;
use crate::connector::{ConnectorBuilder, MultipathConnector};
use crate::error::Error;
use crate::path::{Dial, Path};
use crate::side::client::settings::ClientSettings;

const HTTP_1: &[u8] = b"http/1.1";

/// Builds a [`MultipathHttpsConnector`] step by step: the TLS configuration, the settings, the
/// schemes, the protocols, and the source of the primary stream.
///
/// ```
/// use http_body_util::Empty;
/// use hyper::body::Bytes;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use mtls_core::hyper_client::MultipathHttpsConnectorBuilder;
/// use mtls_core::path::Path;
/// use mtls_core::{ClientSettings, Policy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
/// # let config = rustls::ClientConfig::builder_with_provider(provider)
/// #     .with_safe_default_protocol_versions()?
/// #     .with_root_certificates(rustls::RootCertStore::empty())
/// #     .with_no_client_auth();
/// let https = MultipathHttpsConnectorBuilder::new()
///     .with_tls_config(config)
///     .with_settings(ClientSettings::new(Policy::Require).side(Path::source("192.0.2.7".parse()?)?))
///     .https_only()
///     .enable_all_versions()
///     .build()?;
/// let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(https);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct MultipathHttpsConnectorBuilder<State>(State);

/// A builder that lacks a TLS configuration.
#[derive(Debug)]
pub struct WantsTlsConfig(());

/// A builder that lacks the settings.
#[derive(Debug)]
pub struct WantsSettings {
    config: Arc<ClientConfig>,
}

/// A builder that lacks the schemes.
#[derive(Debug)]
pub struct WantsSchemes<D = Path> {
    multipath: ConnectorBuilder<D>,
}

/// A builder that lacks the protocols.
#[derive(Debug)]
pub struct WantsProtocols1<D = Path> {
    multipath: ConnectorBuilder<D>,
    schemes: Schemes,
}

/// A builder with HTTP/1.1, which takes HTTP/2 too.
#[derive(Debug)]
pub struct WantsProtocols2<D = Path>(WantsProtocols1<D>);

/// A builder with all protocols.
#[derive(Debug)]
pub struct WantsProtocols3<D = Path> {
    wanted: WantsProtocols1<D>,
    http1: bool,
}

impl MultipathHttpsConnector {
    /// Starts a builder.
    pub fn builder() -> MultipathHttpsConnectorBuilder<WantsTlsConfig> {
        MultipathHttpsConnectorBuilder::new()
    }
}

impl MultipathHttpsConnectorBuilder<WantsTlsConfig> {
    /// The first step.
    pub fn new() -> Self {
        Self(WantsTlsConfig(()))
    }

    /// Wraps a TLS configuration. It must not name application protocols (ALPN): later steps do.
    pub fn with_tls_config(
        self,
        config: impl Into<Arc<ClientConfig>>,
    ) -> MultipathHttpsConnectorBuilder<WantsSettings> {
        MultipathHttpsConnectorBuilder(WantsSettings {
            config: config.into(),
        })
    }

    /// Takes the builder of a connector, with its TLS configuration and its settings. The
    /// configuration must not name application protocols (ALPN): later steps do.
    pub fn with_connector<D: Dial>(
        self,
        multipath: ConnectorBuilder<D>,
    ) -> MultipathHttpsConnectorBuilder<WantsSchemes<D>> {
        MultipathHttpsConnectorBuilder(WantsSchemes { multipath })
    }
}

impl Default for MultipathHttpsConnectorBuilder<WantsTlsConfig> {
    fn default() -> Self {
        Self::new()
    }
}

impl MultipathHttpsConnectorBuilder<WantsSettings> {
    /// Sets the policy, the paths and the limits of all connections.
    pub fn with_settings<D: Dial>(
        self,
        settings: ClientSettings<D>,
    ) -> MultipathHttpsConnectorBuilder<WantsSchemes<D>> {
        MultipathHttpsConnectorBuilder(WantsSchemes {
            multipath: MultipathConnector::builder(self.0.config, settings),
        })
    }
}

impl<D: Dial> MultipathHttpsConnectorBuilder<WantsSchemes<D>> {
    /// Refuses any URI but `https`.
    pub fn https_only(self) -> MultipathHttpsConnectorBuilder<WantsProtocols1<D>> {
        self.schemes(Schemes::HttpsOnly)
    }

    /// Accepts `http` URIs too, except under [`Policy::Require`](crate::Policy::Require), because
    /// nothing can verify plain HTTP. Such a response carries no verdict.
    pub fn https_or_http(self) -> MultipathHttpsConnectorBuilder<WantsProtocols1<D>> {
        self.schemes(Schemes::HttpsOrHttp)
    }

    fn schemes(self, schemes: Schemes) -> MultipathHttpsConnectorBuilder<WantsProtocols1<D>> {
        MultipathHttpsConnectorBuilder(WantsProtocols1 {
            multipath: self.0.multipath,
            schemes,
        })
    }
}

impl<D: Dial> MultipathHttpsConnectorBuilder<WantsProtocols1<D>> {
    /// Offers HTTP/1.1.
    pub fn enable_http1(self) -> MultipathHttpsConnectorBuilder<WantsProtocols2<D>> {
        MultipathHttpsConnectorBuilder(WantsProtocols2(self.0))
    }

    /// Offers HTTP/2 alone: a server that does not speak it refuses the connection.
    pub fn enable_http2(self) -> MultipathHttpsConnectorBuilder<WantsProtocols3<D>> {
        MultipathHttpsConnectorBuilder(WantsProtocols3 {
            wanted: self.0,
            http1: false,
        })
    }

    /// Offers HTTP/2 and HTTP/1.1, of which the server chooses.
    pub fn enable_all_versions(self) -> MultipathHttpsConnectorBuilder<WantsProtocols3<D>> {
        MultipathHttpsConnectorBuilder(WantsProtocols3 {
            wanted: self.0,
            http1: true,
        })
    }
}

impl<D: Dial> MultipathHttpsConnectorBuilder<WantsProtocols2<D>> {
    /// Offers HTTP/2 too, and prefers it.
    pub fn enable_http2(self) -> MultipathHttpsConnectorBuilder<WantsProtocols3<D>> {
        MultipathHttpsConnectorBuilder(self.0.0).enable_all_versions()
    }

    /// Builds the connector; it dials the primary path itself.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings.
    pub fn build(self) -> Result<MultipathHttpsConnector<OwnPrimary, D>, Error> {
        self.wrap_connector(OwnPrimary(()))
    }

    /// Builds a connector whose primary streams another connector opens; see
    /// [`MultipathHttpsConnectorBuilder::<WantsProtocols3>::wrap_connector`].
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings.
    pub fn wrap_connector<H>(self, http: H) -> Result<MultipathHttpsConnector<H, D>, Error> {
        self.0.0.finish(&[HTTP_1], http)
    }
}

impl<D: Dial> MultipathHttpsConnectorBuilder<WantsProtocols3<D>> {
    /// Builds the connector; it dials the primary path itself.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings.
    pub fn build(self) -> Result<MultipathHttpsConnector<OwnPrimary, D>, Error> {
        self.wrap_connector(OwnPrimary(()))
    }

    /// Builds a connector whose primary streams another connector opens, such as hyper-util's
    /// `HttpConnector` (after `enforce_http(false)`) or one that goes through a tunnel.
    ///
    /// Nothing is known of the path of such a stream, so verdicts say that its independence is
    /// unknown. The side paths are dialled while the inner connector dials.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] for invalid settings.
    pub fn wrap_connector<H>(self, http: H) -> Result<MultipathHttpsConnector<H, D>, Error> {
        let protocols: &[&[u8]] = match self.0.http1 {
            true => &[HTTP_2, HTTP_1],
            false => &[HTTP_2],
        };
        self.0.wanted.finish(protocols, http)
    }
}

impl<D: Dial> WantsProtocols1<D> {
    fn finish<H>(
        self,
        protocols: &[&[u8]],
        http: H,
    ) -> Result<MultipathHttpsConnector<H, D>, Error> {
        let multipath = self.multipath.alpn(protocols)?.build()?;
        Ok(MultipathHttpsConnector::new(multipath, self.schemes, http))
    }
}
