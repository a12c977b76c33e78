//! The registries in this crate keep the contract of `PendingRegistry`.

use std::sync::Arc;

use mtls_core::registry::MemoryRegistry;
use mtls_core::registry::contract::{Machines, check};

use crate::world::Fleet;

#[tokio::test(start_paused = true)]
async fn the_registry_in_memory_keeps_the_contract() {
    check(async || {
        let registry = Arc::new(MemoryRegistry::default());
        Machines::new(registry.clone(), registry)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_machines_over_one_engine_keep_the_contract() {
    check(async || machines(1).await).await;
}

#[tokio::test(start_paused = true)]
async fn two_machines_over_two_engines_keep_the_contract() {
    check(async || machines(2).await).await;
}

#[tokio::test(start_paused = true)]
async fn two_machines_over_an_engine_that_lost_its_records_keep_the_contract_of_found() {
    let fleet = Fleet::new(2, 1).await;
    let key = fleet.key(1);
    let _entry = fleet.register(0, key).await.expect("a lease");
    fleet.stores[0].evict_records();
    fleet.assert_found(1, key).await;
}

async fn machines(engines: usize) -> Machines {
    let fleet = Fleet::new(2, engines).await;
    let [here, there] = [0, 1].map(|machine| Arc::new(fleet.machines[machine].clone()));
    Machines::new(here, there)
}
