//! TLS configurations of both ends for tests and benchmarks: full handshakes only, unless configured
//! otherwise.

use std::sync::Arc;

use mtls_certs::{Authority, Leaf};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, ServerConfig};

/// The provider of both ends, with its default hybrid key exchange.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The same provider with these key-exchange groups only.
#[must_use]
pub fn provider_with_groups(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: groups.to_vec(),
        ..aws_lc_rs::default_provider()
    })
}

/// A client that trusts this authority and never resumes.
///
/// # Errors
/// Errors of rustls about an unreadable root.
pub fn client_config(root: &Authority) -> Result<ClientConfig, rustls::Error> {
    Ok(never_resuming(root.client_config(provider())?))
}

/// The same configuration without resumption.
#[must_use]
pub fn never_resuming(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

/// A server with this certificate, that hands out no tickets.
///
/// # Errors
/// Errors of rustls about an unusable certificate or key.
pub fn server_config(
    leaf: &Leaf,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = leaf.server_config(provider)?;
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A server with this certificate, that hands out two stateless tickets, as most servers do.
///
/// # Errors
/// As [`server_config`].
pub fn resuming_server_config(
    leaf: &Leaf,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = leaf.server_config(provider)?;
    config.ticketer = Ticketer::new()?;
    Ok(config)
}
