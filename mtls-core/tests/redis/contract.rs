//! Machines over Redis keep the contract of `PendingRegistry`.

use std::sync::Arc;

use futures_util::future::join_all;
use mtls_core::registry::contract::{Machines, check};

use crate::fleet::two_patient_machines;
use crate::server::start;

/// More than there are checks.
const FLEETS: usize = 20;

#[tokio::test]
async fn two_machines_over_redis_keep_the_contract() {
    let Some(server) = start("two_machines_over_redis_keep_the_contract").await else {
        return;
    };
    // Each check has a fleet of its own on the same engine.
    let fleets = (0..FLEETS).map(|number| {
        let server = &server;
        async move { two_patient_machines(&format!("fleet {number}"), &[server]).await }
    });
    let mut fleets = join_all(fleets).await;
    check(async || {
        let [here, there] = fleets.pop().expect("a fleet for each check");
        Machines::new(Arc::new(here), Arc::new(there))
    })
    .await;
}

#[tokio::test]
async fn two_machines_over_two_servers_keep_the_contract() {
    let test = "two_machines_over_two_servers_keep_the_contract";
    let (Some(one), Some(other)) = (start(test).await, start(test).await) else {
        return;
    };
    let fleets = (0..FLEETS).map(|number| {
        let servers = [&one, &other];
        async move { two_patient_machines(&format!("fleet {number}"), &servers).await }
    });
    let mut fleets = join_all(fleets).await;
    check(async || {
        let [here, there] = fleets.pop().expect("a fleet for each check");
        Machines::new(Arc::new(here), Arc::new(there))
    })
    .await;
}
