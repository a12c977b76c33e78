//! Registries that answer later, or not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode};
use mtls_core::registry::{
    ConfirmedSide, LookupReply, LookupRequester, MemoryRegistry, PendingRegistry, RegisterError,
    Registration, RegistryKey, ServiceId,
};
use mtls_core::{ApiMisuse, Error, MultipathAcceptor, MultipathListener, Policy};
use tokio::sync::Semaphore;

use super::world::*;

/// A registry that acknowledges each registration when the test allows it.
#[derive(Debug)]
struct Slow {
    memory: MemoryRegistry,
    allowed: Semaphore,
    begun: Semaphore,
    refuses: Option<RegisterError>,
}

impl Slow {
    fn new(refuses: Option<RegisterError>) -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryRegistry::default(),
            allowed: Semaphore::new(0),
            begun: Semaphore::new(0),
            refuses,
        })
    }
}

impl PendingRegistry for Slow {
    fn register(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
    ) -> BoxFuture<'_, Result<Box<dyn Registration>, RegisterError>> {
        async move {
            self.begun.add_permits(1);
            self.allowed.acquire().await.expect("open").forget();
            match self.refuses {
                Some(error) => Err(error),
                None => self.memory.register(key, keys).await,
            }
        }
        .boxed()
    }

    fn look_up(
        &self,
        key: RegistryKey,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> BoxFuture<'static, LookupReply> {
        self.memory.look_up(key, mode, requester)
    }

    fn confirm(&self, service: ServiceId, confirmed: ConfirmedSide) {
        self.memory.confirm(service, confirmed);
    }

    fn dispute(&self, service: ServiceId, dispute: Confirmation) {
        self.memory.dispute(service, dispute);
    }
}

#[tokio::test]
async fn no_datagram_of_the_server_leaves_before_the_registry_has_acknowledged() {
    let world = World::new();
    let registry = Slow::new(None);
    let settings = patient(Policy::Require).registry(Arc::clone(&registry) as _);
    let served = serve(&world.server, settings).await;
    let nat = Nat::before(served.address).await;
    let settings = through_127_0_0_2(Policy::Require, served.address);
    let connector = connector(&world.client, settings);
    let connecting = tokio::spawn(async move { connector.connect(&target(served.address)).await });
    registry.begun.acquire().await.expect("open").forget();
    // The flight is written by now; time for it to arrive, if it left.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(nat.from_server.load(Ordering::SeqCst), 0);
    assert!(!connecting.is_finished());
    registry.allowed.add_permits(1);
    let connection = connecting.await.expect("no panic").expect("verified");
    assert!(nat.from_server.load(Ordering::SeqCst) > 0);
    request(connection.get_ref()).await;
}

#[tokio::test]
async fn a_machine_without_its_fleet_sends_no_flight() {
    let world = World::new();
    let registry = Slow::new(Some(RegisterError::Isolated));
    registry.allowed.add_permits(1);
    let settings = patient(Policy::Observe).registry(Arc::clone(&registry) as _);
    let served = serve(&world.server, settings).await;
    let client = plain_client(&world.client);
    let refused = client
        .connect(served.address, HOST)
        .expect("a connection")
        .await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(served.bytes(), 0);
}

#[tokio::test]
async fn an_endpoint_that_cannot_hold_datagrams_is_refused_with_a_slow_registry() {
    let world = World::new();
    let registry = Slow::new(None);
    let settings = patient(Policy::Require).registry(registry);
    let acceptor = MultipathAcceptor::builder(world.server.clone(), settings);
    let acceptor = acceptor.build().expect("an acceptor");
    let quic = quic_acceptor(&acceptor);
    let (tcp, udp) = sockets([127, 0, 0, 1]).await;
    let address = tcp.local_addr().expect("an address");
    drop(udp);
    let endpoint = plain_server(&world.server, address);
    let _sides = MultipathListener::new(acceptor, tcp, Default::default());
    let connecting = plain_client(&world.client)
        .connect(address, HOST)
        .expect("a connection");
    let incoming = endpoint.accept().await.expect("a client");
    let refused = quic.accept(incoming).await;
    assert!(
        matches!(refused, Err(Error::ApiMisuse(ApiMisuse::QuicEndpoint))),
        "{refused:?}"
    );
    drop(connecting);
}
