//! A machine that has lost its fleet completes no handshake.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use mtls_certs::Pki;
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode};
use mtls_core::registry::{
    ConfirmedSide, LookupReply, LookupRequester, PendingRegistry, RegisterError, Registration,
    RegistryKey, ServiceId,
};
use mtls_core::{Error, MultipathAcceptor, Policy, SideServiceSettings};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

/// Registers nothing, for this reason.
#[derive(Debug)]
struct Refusing(RegisterError);

impl PendingRegistry for Refusing {
    fn register(
        &self,
        _: RegistryKey,
        _: HandshakeKeys,
    ) -> BoxFuture<'_, Result<Box<dyn Registration>, RegisterError>> {
        ready(Err(self.0)).boxed()
    }

    fn look_up(
        &self,
        _: RegistryKey,
        _: LookupMode,
        _: LookupRequester,
    ) -> BoxFuture<'static, LookupReply> {
        ready(LookupReply::Unavailable).boxed()
    }

    fn confirm(&self, _: ServiceId, _: ConfirmedSide) {}

    fn dispute(&self, _: ServiceId, _: Confirmation) {}
}

/// Whether a plain TLS client completes its handshake, and the acceptor's error.
async fn handshake(policy: Policy, refusal: RegisterError) -> (bool, Option<Error>) {
    let pki = Pki::new(&["localhost"]).expect("a pki");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = pki.server_config(Arc::clone(&provider)).expect("a server");
    let client = pki.client_config(provider).expect("a client");
    let settings = SideServiceSettings::new(policy).registry(Arc::new(Refusing(refusal)));
    let acceptor = MultipathAcceptor::builder(Arc::new(server), settings)
        .build()
        .expect("an acceptor");
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(client));
    let (connected, accepted) = tokio::join!(
        connector.connect(name, near),
        acceptor.accept(far, ([192, 0, 2, 1], 1).into())
    );
    (connected.is_ok(), accepted.err())
}

#[tokio::test]
async fn a_machine_without_its_fleet_refuses_handshakes_under_every_policy() {
    for policy in [Policy::Observe, Policy::Prefer, Policy::Require] {
        let (connected, error) = handshake(policy, RegisterError::Isolated).await;
        assert!(!connected, "{policy:?}: the client got a ServerHello");
        assert!(
            matches!(error, Some(Error::Registry(RegisterError::Isolated))),
            "{policy:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_does_not_answer_leaves_the_handshake_to_the_policy() {
    let (connected, error) = handshake(Policy::Prefer, RegisterError::Unavailable).await;
    assert!(connected, "{error:?}");
}
