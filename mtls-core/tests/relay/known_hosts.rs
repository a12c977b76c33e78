//! Known hosts of a relay, which checks no certificate.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use mtls_core::Policy;
use mtls_core::known_hosts::{Change, HostEntry, KnownHosts, KnownHostsError, Support};
use mtls_core::path::Endpoint;

use crate::world::*;

const NOW: u64 = 1_700_000_000;

#[derive(Debug, Default)]
struct Store(Mutex<HashMap<String, HostEntry>>);

impl Store {
    fn get(&self, host: &Endpoint) -> Option<HostEntry> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&host.to_string()).cloned()
    }
}

impl KnownHosts for Store {
    fn lookup<'a>(
        &'a self,
        host: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Option<HostEntry>, KnownHostsError>> {
        ready(Ok(self.get(host))).boxed()
    }

    fn record<'a>(
        &'a self,
        host: &'a Endpoint,
        change: Change,
    ) -> BoxFuture<'a, Result<(), KnownHostsError>> {
        let changed = change.apply(self.get(host), NOW);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match changed {
            Some(entry) => entries.insert(host.to_string(), entry),
            None => entries.remove(&host.to_string()),
        };
        ready(Ok(())).boxed()
    }
}

/// The attacker answers the DNS queries of a client that resolves names itself: it requests the
/// attacker's address, with the server's name in its ClientHello.
#[tokio::test]
async fn a_server_name_that_only_the_client_states_changes_no_entry() {
    let world = World::new();
    let (server, _verdicts) = library_server(&world.server, Policy::Prefer).await;
    let store = Arc::new(Store::default());
    let remembering = settings(Policy::Prefer)
        .primary(path_to(server))
        .side(path_to(server))
        .known_hosts(store.clone())
        .remember(Duration::from_secs(24 * 3600));
    let relay = client_relay(remembering).build().expect("a relay");

    let through = async |to: Endpoint| {
        let (client, tunnel) = begin(&relay, to).await;
        let mut tls = shake_hands(&world.client, client).await.expect("TLS");
        assert_eq!(ask(&mut tls).await.expect("an answer"), QUESTION);
        drop(tls);
        tunnel.await.expect("a report")
    };
    through(target(server)).await;
    let entry = store.get(&target(server)).expect("a remembered host");
    assert_eq!(
        (entry.support, &entry.side_endpoint),
        (Support::Greets, &None)
    );

    let attacker = SocketAddr::from(([127, 0, 0, 2], server.port()));
    let tcp = bind([127, 0, 0, 2], server.port()).await;
    let _attacker = library_server_on(tcp, &world.rogue, Policy::Prefer);
    let report = through(attacker.into()).await;
    assert!(
        report
            .verdict
            .is_some_and(|verdict| verdict.verified().is_some())
    );
    assert_eq!(store.get(&target(server)), Some(entry));
}
