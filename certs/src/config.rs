//! Configurations of rustls, with the caller's cryptography.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use crate::{Authority, Leaf, Pki};

impl Pki {
    /// Returns the configuration of a client that trusts both authorities, as a client does whose
    /// list of authorities includes a rogue one.
    ///
    /// # Errors
    ///
    /// Returns the error of rustls where `provider` has no cipher suite for TLS 1.3 and TLS 1.2.
    pub fn client_config(
        &self,
        provider: impl Into<Arc<CryptoProvider>>,
    ) -> Result<ClientConfig, Error> {
        client_config(&[&self.ca, &self.rogue_ca], provider.into())
    }

    /// Returns the configuration of the server, with [`server`](Pki::server).
    ///
    /// # Errors
    ///
    /// As [`Leaf::server_config`].
    pub fn server_config(
        &self,
        provider: impl Into<Arc<CryptoProvider>>,
    ) -> Result<ServerConfig, Error> {
        self.server.server_config(provider)
    }

    /// Returns the configuration of the man in the middle, with [`rogue`](Pki::rogue).
    ///
    /// # Errors
    ///
    /// As [`Leaf::server_config`].
    pub fn rogue_config(
        &self,
        provider: impl Into<Arc<CryptoProvider>>,
    ) -> Result<ServerConfig, Error> {
        self.rogue.server_config(provider)
    }

    /// Returns the roots of a client that trusts both authorities.
    ///
    /// # Errors
    ///
    /// As [`Authority::roots`].
    pub fn roots(&self) -> Result<RootCertStore, Error> {
        roots(&[&self.ca, &self.rogue_ca])
    }
}

impl Authority {
    /// Returns the configuration of a client that trusts only this authority.
    ///
    /// # Errors
    ///
    /// As [`Pki::client_config`].
    pub fn client_config(
        &self,
        provider: impl Into<Arc<CryptoProvider>>,
    ) -> Result<ClientConfig, Error> {
        client_config(&[self], provider.into())
    }

    /// Returns the roots of a peer that trusts only this authority.
    ///
    /// # Errors
    ///
    /// Returns the error of rustls about a certificate that cannot be a root.
    pub fn roots(&self) -> Result<RootCertStore, Error> {
        roots(&[self])
    }
}

impl Leaf {
    /// Returns the configuration of a server with this certificate, which asks for none of the client.
    ///
    /// # Errors
    ///
    /// Returns the error of rustls where `provider` has no cipher suite for TLS 1.3 and TLS 1.2, or
    /// does not support the key.
    pub fn server_config(
        &self,
        provider: impl Into<Arc<CryptoProvider>>,
    ) -> Result<ServerConfig, Error> {
        ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain_der(), self.key_der())
    }
}

fn client_config(
    authorities: &[&Authority],
    provider: Arc<CryptoProvider>,
) -> Result<ClientConfig, Error> {
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(authorities)?)
        .with_no_client_auth())
}

fn roots(authorities: &[&Authority]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.cert_der())?;
    }
    Ok(roots)
}
