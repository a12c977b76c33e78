//! One engine over a real server, without a fleet.

use std::time::Duration;

use mtls_core::proto::binding::Association;
use mtls_core::registry::fleet::{Beat, Engine, EngineEvent, MAX_KEPT, MachineId};
use mtls_core::registry::redis::RedisEngine;
use mtls_core::registry::{RegistryKey, ServiceId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::fleet::{LIFE, patient_engine_at};
use crate::server::{Server, start};

const SECOND: Duration = Duration::from_secs(1);

async fn connect(server: &Server) -> (RedisEngine, mpsc::Receiver<EngineEvent>) {
    let engine = patient_engine_at(server.port, "shop");
    let (sender, mut events) = mpsc::channel(1_024);
    engine.start(MachineId(1), sender);
    let connected = timeout(Duration::from_secs(30), events.recv()).await;
    assert!(matches!(connected, Ok(Some(EngineEvent::Connected))));
    (engine, events)
}

async fn memory(engine: &RedisEngine, count: u64) -> Duration {
    let beat = Beat {
        incarnation: 1,
        count,
    };
    let membership = engine.join(MachineId(1), beat, LIFE).await;
    membership.expect("connected").memory
}

/// The snapshot brings back the key whose age is the memory, and lacks what came after it.
#[tokio::test]
async fn an_engine_that_restarts_from_a_snapshot_remembers_nothing() {
    let test = "an_engine_that_restarts_from_a_snapshot_remembers_nothing";
    let Some(mut server) = start(test).await else {
        return;
    };
    let (engine, events) = connect(&server).await;
    memory(&engine, 1).await;
    sleep(4 * SECOND).await;
    let before = memory(&engine, 2).await;
    assert!(before > 2 * SECOND, "{before:?}");
    assert_eq!(server.command(&["SAVE"]).await, "OK");
    drop((engine, events));
    server.kill();
    let started = Instant::now();
    server.run().await;
    let (engine, _events) = connect(&server).await;
    let keys = server.command(&["KEYS", "mtls:*:epoch"]).await;
    assert_eq!(keys.lines().count(), 1, "the snapshot was read");
    let after = memory(&engine, 3).await;
    assert!(after <= started.elapsed(), "{after:?}");
}

#[tokio::test]
async fn what_is_kept_about_a_handshake_is_bounded() {
    let Some(server) = start("what_is_kept_about_a_handshake_is_bounded").await else {
        return;
    };
    let (engine, _events) = connect(&server).await;
    let key = RegistryKey {
        service: ServiceId::from_name("shop"),
        association: Association([1; 16]),
    };
    for number in 0..2 * MAX_KEPT {
        let message = vec![number as u8];
        let kept = engine.keep(key, message, 60 * SECOND).await;
        kept.expect("connected");
    }
    let name = server.command(&["KEYS", "mtls:*:c:*"]).await;
    let length = server.command(&["LLEN", &name]).await;
    assert_eq!(length, MAX_KEPT.to_string());
    let kept = engine.kept(key).await.expect("connected");
    assert_eq!(kept.first(), Some(&vec![0]), "the first ones stay");
}

/// Each connection to a read-only replica breaks at the first command that writes.
#[tokio::test]
async fn connections_that_break_at_once_are_made_ever_more_rarely() {
    let test = "connections_that_break_at_once_are_made_ever_more_rarely";
    let Some(server) = start(test).await else {
        return;
    };
    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", "1"]).await, "OK");
    let started = Instant::now();
    let (engine, mut events) = connect(&server).await;
    let mut connections = 1;
    let writes = async {
        for count in 1.. {
            let beat = Beat {
                incarnation: 1,
                count,
            };
            let joined = engine.join(MachineId(1), beat, LIFE).await;
            assert!(joined.is_err(), "a replica is read-only");
            while events.recv().await.is_some_and(|event| {
                let connected = matches!(event, EngineEvent::Connected);
                connections += u64::from(connected);
                !connected
            }) {}
        }
    };
    let _ = timeout(5 * SECOND, writes).await;
    // Five in the first second, and one in each further second.
    let most = 6 + started.elapsed().as_secs();
    assert!(connections <= most, "{connections} connections");
}
