//! Trust in the certificates of a case, at its time.

use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::{Endpoint, Host};
use mtls_core::{EvidenceBundle, SavedHandshake, tls_error_message};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};

use super::args::TrustArgs;
use crate::args::TlsArgs;
use crate::connect::roots;
use crate::failure::Failure;
use crate::output::text::printable;

/// The trusted CAs.
pub(super) struct Trust(Arc<WebPkiServerVerifier>);

impl Trust {
    /// # Errors
    /// If the CAs cannot be read.
    pub(super) fn new(args: TrustArgs) -> Result<Self, Failure> {
        let tls = TlsArgs {
            cacert: args.cacert,
            system_roots: args.system_roots,
            ..TlsArgs::default()
        };
        roots::server_verifier(&tls).map(Self)
    }

    /// Describes whether the certificates were trusted for the requested name at the time of the
    /// case.
    ///
    /// # Errors
    /// The problem, if they were not.
    pub(super) fn check(
        &self,
        bundle: &EvidenceBundle,
        handshake: &SavedHandshake<'_>,
    ) -> Result<String, String> {
        let leaf = handshake.chain.first();
        if leaf.is_some_and(|leaf| leaf.spki_sha256.as_ref() == Some(&leaf.sha256)) {
            return Ok("a raw public key (SMKEX): there is no CA to trust".to_owned());
        }
        let name = requested_name(bundle, handshake.path);
        let shown = printable(&name);
        let checked = self.chain(handshake, &name, bundle.unix_time);
        match checked {
            Ok(()) => Ok(format!("the certificates were trusted for {shown} then")),
            Err(reason) => Err(format!(
                "the certificates were NOT trusted for {shown} then: {reason}; name the CAs that \
                 the client trusted with --cacert or --system-roots"
            )),
        }
    }

    fn chain(&self, handshake: &SavedHandshake<'_>, name: &str, time: u64) -> Result<(), String> {
        let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
        let chain = handshake.certificates().unwrap_or_default();
        let (leaf, others) = chain.split_first().ok_or("there is no certificate")?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        let verified = self.0.verify_server_cert(leaf, others, &name, &[], time);
        verified
            .map(drop)
            .map_err(|error| tls_error_message(&error))
    }
}

/// The name that the certificate had to be valid for.
fn requested_name(bundle: &EvidenceBundle, path: &str) -> String {
    let look = bundle.second_look.as_ref();
    if let Some(look) = look.filter(|_| path == "second-look") {
        return look.server_name.clone();
    }
    match bundle.target.parse::<Endpoint>().map(|target| target.host) {
        Ok(Host::Name(name)) => name.as_str().to_owned(),
        Ok(Host::Ip(address)) => address.ip().to_string(),
        // A program gave the name alone.
        Err(_) => bundle.target.clone(),
    }
}
