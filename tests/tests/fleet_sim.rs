//! The real connector, and the acceptors of two machines of a fleet, in virtual time: the TLS
//! connection reaches one machine, and the side connection the other.

use std::time::Duration;

use mtls_core::registry::fleet::MachineId;
use mtls_core::registry::fleet::double::MemoryStore;
use mtls_core::{Error, Policy};
use mtls_lab::sim::{Client, Interceptor, Lab};
use tokio::time::sleep;

const RTT: Duration = Duration::from_millis(20);
/// The two machines know each other.
const JOINED: Duration = Duration::from_secs(7);
/// They may be certain about what the other one holds.
const CERTAIN: Duration = Duration::from_secs(32);

fn fleet(store: &MemoryStore) -> Lab {
    Lab {
        fleet: Some(store.clone()),
        ..Lab::honest(RTT, &[RTT])
    }
}

/// The result of one connection under `require`, in a word.
async fn connect(client: &Client) -> &'static str {
    let connector = client
        .connector(Policy::Require)
        .build()
        .expect("a connector");
    match connector.connect(&client.target()).await {
        Ok(stream) if stream.verdict().verified().is_some() => "verified",
        Ok(_) => "unverified",
        Err(Error::Interception(_)) => "interception",
        Err(_) => "refused",
    }
}

#[test]
fn a_side_connection_to_another_machine_verifies() {
    let store = MemoryStore::default();
    let outcome = fleet(&store).run(|client| async move {
        sleep(JOINED).await;
        connect(&client).await
    });
    assert_eq!(outcome.client, "verified");
}

#[test]
fn no_fault_of_the_engine_is_taken_for_an_interception() {
    let store = MemoryStore::default();
    let faults = store.clone();
    let outcome = fleet(&store).run(|client| async move {
        sleep(CERTAIN).await;
        let mut words = vec![connect(&client).await];
        faults.cut(MachineId(0));
        words.push(connect(&client).await);
        faults.mend(MachineId(0));
        sleep(Duration::from_secs(1)).await;
        words.push(connect(&client).await);
        faults.restart_empty();
        words.push(connect(&client).await);
        faults.stop();
        words.push(connect(&client).await);
        words
    });
    let expected = ["verified", "refused", "verified", "verified", "refused"];
    assert_eq!(outcome.client, expected);
}

#[test]
fn a_man_in_the_middle_is_detected_by_a_machine_that_they_do_not_reach() {
    let store = MemoryStore::default();
    let lab = Lab {
        interceptor: Interceptor::Terminates,
        ..fleet(&store)
    };
    let outcome = lab.run(|client| async move {
        sleep(CERTAIN).await;
        connect(&client).await
    });
    assert_eq!(outcome.client, "interception");
}
