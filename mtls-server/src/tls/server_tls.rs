//! The certificate of a server, and the CAs of its clients.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::{ClientCa, Identity};
use crate::error::Error;

/// The ALPN name of HTTP/2 (RFC 9113, section 3.1).
pub(crate) const HTTP_2: &[u8] = b"h2";
/// The application protocols that are offered (ALPN), the preferred one first.
pub(crate) const ALPN: [&[u8]; 2] = [HTTP_2, b"http/1.1"];

/// The certificate of a server, and the CAs of its clients.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerTls {
    /// The certificate chain and its key.
    pub identity: Identity,
    /// The CAs of client certificates, which are required then. Default: none.
    pub client_ca: Option<ClientCa>,
}

/// The files of a [`ServerTls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
}

impl From<Identity> for ServerTls {
    fn from(identity: Identity) -> Self {
        Self {
            identity,
            client_ca: None,
        }
    }
}

impl ServerTls {
    /// TLS 1.2 and 1.3, for HTTP/2 and HTTP/1.1.
    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let verifier = match &self.client_ca {
            Some(client_ca) => client_ca.verifier(),
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.identity.resolver());
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

impl TlsFiles {
    /// Reads all of them. Logs a warning for a key that other users can read.
    pub(crate) fn load(&self) -> Result<ServerTls, Error> {
        Ok(ServerTls {
            identity: Identity::from_files(&self.cert, &self.key)?,
            client_ca: self
                .client_ca
                .as_deref()
                .map(ClientCa::from_file)
                .transpose()?,
        })
    }
}
