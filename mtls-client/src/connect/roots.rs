//! The TLS configuration: trusted CAs, client certificate and application protocols.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mtls_core::{RecordingVerifier, pem, tls_error_message};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_native_certs::ErrorKind;

use super::identity::Identity;
use super::provider::provider;
use crate::args::TlsArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// The configuration that the connector wraps.
pub(super) fn client_config(
    tls: &TlsArgs,
    identity: Option<&Identity>,
    protocols: Vec<Vec<u8>>,
) -> Result<Arc<ClientConfig>, Failure> {
    let builder = builder(tls)?;
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(identity.key.clone()),
    };
    config.alpn_protocols = protocols;
    Ok(Arc::new(config))
}

/// The configuration for other servers than the targets, such as nameservers: the same CAs, and no
/// client certificate.
pub(crate) fn plain_config(tls: &TlsArgs) -> Result<Arc<ClientConfig>, Failure> {
    Ok(Arc::new(builder(tls)?.with_no_client_auth()))
}

fn builder(tls: &TlsArgs) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Failure> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3");
    let verifier = RecordingVerifier::new(server_verifier(tls)?);
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

/// The check of a server's certificates against the trusted CAs.
pub(crate) fn server_verifier(tls: &TlsArgs) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    let store = match (&tls.cacert, tls.system_roots) {
        (Some(path), _) => roots_in(path)?,
        (None, true) => system_roots()?,
        (None, false) => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
    verifier
        .build()
        .map_err(|error| Failure::usage("--cacert", error).with_exit(Exit::CaFile))
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        let error = readable(error);
        tracing::warn!(%error, "could not read some of the system's CAs");
    }
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    match added {
        0 => Err(Failure::usage(
            "--system-roots",
            "the system has no CA certificates; install some, or name a file with --cacert",
        )
        .with_exit(Exit::CaFile)),
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

/// Unlike among the system's CAs, every certificate in this file must be valid.
fn roots_in(path: &Path) -> Result<RootCertStore, Failure> {
    let wrong =
        |reason: &dyn fmt::Display| Failure::usage("--cacert", reason).with_exit(Exit::CaFile);
    let mut store = RootCertStore::empty();
    for certificate in pem::certificates(path).map_err(|error| wrong(&error))? {
        store.add(certificate).map_err(|error| {
            let reason = tls_error_message(&error);
            wrong(&format_args!("{}: {reason}", path.display()))
        })?;
    }
    Ok(store)
}
