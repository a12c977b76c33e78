//! The TLS configuration: which CAs are trusted, which certificate is shown, and which application
//! protocols are offered.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mtls_core::{pem, tls_error_message};
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_native_certs::ErrorKind;

use crate::connect::identity;
use crate::connect::settings::{Roots, Settings};
use crate::exit::Exit;
use crate::usage::UsageError;

/// The cryptography of all connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The configuration that the connector wraps.
pub(crate) fn client_config(
    settings: &Settings,
    protocols: Vec<Vec<u8>>,
) -> Result<Arc<ClientConfig>, UsageError> {
    let builder = builder(&settings.roots)?;
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            builder.with_client_cert_resolver(identity::load(identity, settings.silent)?)
        }
    };
    config.alpn_protocols = protocols;
    Ok(Arc::new(config))
}

/// The configuration for nameservers with TLS: the same CAs, and no client certificate.
pub(crate) fn nameserver_config(roots: &Roots) -> Result<Arc<ClientConfig>, UsageError> {
    Ok(Arc::new(builder(roots)?.with_no_client_auth()))
}

fn builder(roots: &Roots) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, UsageError> {
    let store = match roots {
        Roots::Mozilla => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::System => system_roots()?,
        Roots::File(path) => roots_in(path)?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3");
    Ok(builder.with_root_certificates(store))
}

fn system_roots() -> Result<RootCertStore, UsageError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        let error = readable(error);
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

/// The error without the content of the file, which the parser's own error quotes.
fn readable(error: &rustls_native_certs::Error) -> String {
    match &error.kind {
        ErrorKind::Pem(_) => format!("{}: a PEM file is damaged", error.context),
        _ => error.to_string(),
    }
}

/// Unlike the system's, every certificate of the caller's own must make sense.
fn roots_in(path: &Path) -> Result<RootCertStore, UsageError> {
    let wrong =
        |reason: &dyn fmt::Display| UsageError::new("--cacert", reason).exits_with(Exit::CaFile);
    let mut store = RootCertStore::empty();
    for certificate in pem::certificates(path).map_err(|error| wrong(&error))? {
        store.add(certificate).map_err(|error| {
            let reason = tls_error_message(&error);
            wrong(&format_args!("{}: {reason}", path.display()))
        })?;
    }
    Ok(store)
}
