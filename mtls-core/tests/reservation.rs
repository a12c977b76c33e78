//! The server reserves a handshake before it computes its flight.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mtls_certs::Pki;
use mtls_core::proto::binding::Association;
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode};
use mtls_core::registry::{
    ConfirmedSide, LookupReply, LookupRequester, MemoryRegistry, PendingRegistry, RegisterError,
    Registration, RegistryKey, Reservation, ServiceId,
};
use mtls_core::{MultipathAcceptor, Policy, SideServiceSettings};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsConnector;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Reserve(Association),
    ChooseCertificate,
    Register(Association),
}

#[derive(Clone, Debug, Default)]
struct Steps(Arc<Mutex<Vec<Step>>>);

impl Steps {
    fn push(&self, step: Step) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(step);
    }
}

/// A registry that records the steps.
#[derive(Debug, Default)]
struct Recording {
    registry: Arc<MemoryRegistry>,
    steps: Steps,
}

#[derive(Debug)]
struct Reserved {
    registry: Arc<MemoryRegistry>,
    key: RegistryKey,
    steps: Steps,
}

impl Reservation for Reserved {
    fn register(
        self: Box<Self>,
        keys: HandshakeKeys,
    ) -> BoxFuture<'static, Result<Box<dyn Registration>, RegisterError>> {
        self.steps.push(Step::Register(self.key.association));
        async move { self.registry.register(self.key, keys).await }.boxed()
    }
}

impl PendingRegistry for Recording {
    fn reserve(&self, key: RegistryKey) -> Option<Box<dyn Reservation>> {
        self.steps.push(Step::Reserve(key.association));
        Some(Box::new(Reserved {
            registry: Arc::clone(&self.registry),
            key,
            steps: self.steps.clone(),
        }))
    }

    fn register(
        &self,
        _: RegistryKey,
        _: HandshakeKeys,
    ) -> BoxFuture<'_, Result<Box<dyn Registration>, RegisterError>> {
        unreachable!("there is a reservation")
    }

    fn look_up(
        &self,
        key: RegistryKey,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> BoxFuture<'static, LookupReply> {
        self.registry.look_up(key, mode, requester)
    }

    fn confirm(&self, service: ServiceId, confirmed: ConfirmedSide) {
        self.registry.confirm(service, confirmed);
    }

    fn dispute(&self, service: ServiceId, dispute: Confirmation) {
        self.registry.dispute(service, dispute);
    }
}

/// Chosen while rustls computes the server's flight.
#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    steps: Steps,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.steps.push(Step::ChooseCertificate);
        Some(Arc::clone(&self.key))
    }
}

#[tokio::test]
async fn a_handshake_is_reserved_before_the_server_computes_its_flight() {
    let pki = Pki::new(&["localhost"]).expect("a pki");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let registry = Recording::default();
    let steps = registry.steps.clone();
    let (chain, key) = (pki.server.chain_der(), pki.server.key_der());
    let key = CertifiedKey::from_der(chain, key, &provider).expect("a certificate");
    let mut server = pki.server_config(Arc::clone(&provider)).expect("a server");
    server.cert_resolver = Arc::new(Certificate {
        key: Arc::new(key),
        steps: steps.clone(),
    });
    let client = pki.client_config(provider).expect("a client");
    let settings = SideServiceSettings::new(Policy::Observe).registry(Arc::new(registry));
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
    connected.expect("a handshake");
    accepted.expect("a handshake");
    let steps = steps.0.lock().unwrap_or_else(PoisonError::into_inner);
    let [
        Step::Reserve(reserved),
        Step::ChooseCertificate,
        Step::Register(registered),
    ] = steps[..]
    else {
        panic!("{steps:?}");
    };
    assert_eq!(reserved, registered);
}
