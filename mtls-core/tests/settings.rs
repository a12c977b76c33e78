//! Invalid settings are refused when a connector, an acceptor or a relay is built, and the error names
//! the setting.

use std::sync::Arc;
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path};
use mtls_core::proto::binding::{Binding, Bindings};
use mtls_core::relay::{ClientRelay, ServerRelay};
use mtls_core::{
    ApiMisuse, ClientSettings, Error, MultipathAcceptor, MultipathConnector, Policy,
    SideServiceSettings,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn client_config() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

fn server_config() -> Arc<ServerConfig> {
    let pki = Pki::new(&["127.0.0.1"]).expect("a pki");
    Arc::new(pki.server_config(provider()).expect("a configuration"))
}

fn valid() -> ClientSettings {
    ClientSettings::new(Policy::Require).side(Path::system())
}

fn misuse<T>(built: Result<T, Error>) -> Option<ApiMisuse> {
    match built {
        Ok(_) => None,
        Err(Error::ApiMisuse(misuse)) => Some(misuse),
        Err(other) => panic!("expected a misuse, got {other:?}"),
    }
}

#[test]
fn a_connector_and_a_relay_refuse_the_same_invalid_settings() {
    let zero = Duration::ZERO;
    let cases = [
        (valid(), None),
        (valid().side_idle_timeout(zero), None),
        (
            ClientSettings::new(Policy::Require),
            Some(ApiMisuse::NoSidePath),
        ),
        (
            valid().deadline(zero),
            Some(ApiMisuse::ZeroDuration("deadline")),
        ),
        (
            valid().handshake_timeout(zero),
            Some(ApiMisuse::ZeroDuration("handshake_timeout")),
        ),
        (
            valid().max_verifications_per_side_connection(0),
            Some(ApiMisuse::ZeroLimit(
                "max_verifications_per_side_connection",
            )),
        ),
        (valid().bindings(Bindings(0)), Some(ApiMisuse::NoBinding)),
    ];
    let config = client_config();
    for (settings, expected) in cases {
        let connector = MultipathConnector::builder(Arc::clone(&config), settings.clone());
        assert_eq!(misuse(connector.build()), expected);
        let relay = ClientRelay::builder(&provider(), settings).build();
        assert_eq!(misuse(relay), expected);
    }
}

#[test]
fn an_acceptor_and_a_relay_refuse_the_same_invalid_settings() {
    let valid = || SideServiceSettings::new(Policy::Prefer);
    let zero = Duration::ZERO;
    let duration = |name| Some(ApiMisuse::ZeroDuration(name));
    let limit = |name| Some(ApiMisuse::ZeroLimit(name));
    let cases = [
        (valid(), None),
        (valid().deadline(zero), duration("deadline")),
        (
            valid().handshake_timeout(zero),
            duration("handshake_timeout"),
        ),
        (valid().early_wait(zero), duration("early_wait")),
        (valid().confirm_wait(zero), duration("confirm_wait")),
        (
            valid().side_idle_timeout(zero),
            duration("side_idle_timeout"),
        ),
        (
            valid().side_unconfirmed_timeout(zero),
            duration("side_unconfirmed_timeout"),
        ),
        (
            valid().max_verifications_per_side_connection(0),
            limit("max_verifications_per_side_connection"),
        ),
        (
            valid().max_side_connections(0),
            limit("max_side_connections"),
        ),
        (
            valid().max_side_connections_per_peer(0),
            limit("max_side_connections_per_peer"),
        ),
        (valid().bindings(Bindings(0)), Some(ApiMisuse::NoBinding)),
    ];
    let config = server_config();
    let target: Endpoint = "192.0.2.1:443".parse().expect("an endpoint");
    for (settings, expected) in cases {
        let acceptor = MultipathAcceptor::builder(Arc::clone(&config), settings.clone());
        assert_eq!(misuse(acceptor.build()), expected);
        let relay = ServerRelay::builder(&provider(), target.clone(), settings).build();
        assert_eq!(misuse(relay), expected);
    }
}

#[test]
fn relays_refuse_settings_without_the_hello_binding() {
    let client = valid().bindings(Binding::Exporter);
    let relay = ClientRelay::builder(&provider(), client.clone()).build();
    assert_eq!(misuse(relay), Some(ApiMisuse::NoBinding));
    let server = SideServiceSettings::new(Policy::Require).bindings(Binding::Exporter);
    let target: Endpoint = "192.0.2.1:443".parse().expect("an endpoint");
    let relay = ServerRelay::builder(&provider(), target, server.clone()).build();
    assert_eq!(misuse(relay), Some(ApiMisuse::NoBinding));

    let connector = MultipathConnector::builder(client_config(), client).build();
    assert_eq!(misuse(connector), None);
    let acceptor = MultipathAcceptor::builder(server_config(), server).build();
    assert_eq!(misuse(acceptor), None);
}
