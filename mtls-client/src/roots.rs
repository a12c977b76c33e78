//! The TLS configuration: which CAs are trusted, which certificate is shown, and which application
//! protocols are offered.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::exit::Exit;
use crate::identity;
use crate::options::{Roots, Settings, UsageError};

/// The cryptography of all connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The configuration that the connector wraps.
pub(crate) fn client_config(
    settings: &Settings,
    protocols: Vec<Vec<u8>>,
) -> Result<Arc<ClientConfig>, UsageError> {
    let store = match &settings.roots {
        Roots::Mozilla => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::System => system_roots()?,
        Roots::File(path) => roots_in(path)?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3");
    let builder = builder.with_root_certificates(store);
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity::load(identity, settings.silent)?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| identity::unusable(identity, &error))?
        }
    };
    config.alpn_protocols = protocols;
    Ok(Arc::new(config))
}

fn system_roots() -> Result<RootCertStore, UsageError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's CAs could not be read");
    }
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    match added {
        0 => Err(UsageError::new(
            "--system-roots",
            "the system has no CA certificates; install them, or name a file with --cacert",
        )
        .exits_with(Exit::CaFile)),
        _ => Ok(store),
    }
}

/// Unlike the system's, every certificate of the caller's own must make sense.
fn roots_in(path: &Path) -> Result<RootCertStore, UsageError> {
    let wrong = |reason: &dyn std::fmt::Display| {
        UsageError::new("--cacert", format_args!("`{}`: {reason}", path.display()))
            .exits_with(Exit::CaFile)
    };
    let mut store = RootCertStore::empty();
    let pem = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    for certificate in pem {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        store.add(certificate).map_err(|error| wrong(&error))?;
    }
    match store.is_empty() {
        true => Err(wrong(
            &"there is no certificate in it; a PEM file is expected",
        )),
        false => Ok(store),
    }
}
