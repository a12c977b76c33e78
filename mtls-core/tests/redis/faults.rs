//! Engines that stop, die, forget and fill up under load: no client sees an interception that
//! there is not, none is answered with other secrets, and the fleet is well afterwards.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::fleet::{machine, settle, two_machines, two_patient_machines};
use crate::server::{Server, start};
use crate::traffic::{Tally, Traffic};

/// Enough verifications to call a fleet well.
const MANY: u64 = 50;
const SECOND: Duration = Duration::from_secs(1);

/// Traffic before, during and after a fault of one engine.
async fn with_fault<F>(test: &str, fault: impl FnOnce(Server) -> F)
where
    F: Future<Output = Server>,
{
    let Some(server) = start(test).await else {
        return;
    };
    let machines = two_machines("shop", &[&server]).await;
    let traffic = Traffic::start(&machines);
    traffic.more_verified(MANY).await;
    let _server = fault(server).await;
    traffic.more_verified(MANY).await;
    traffic.finish().await;
}

#[tokio::test]
async fn an_engine_that_hangs_raises_no_false_alarm() {
    with_fault(
        "an_engine_that_hangs_raises_no_false_alarm",
        async |server: Server| {
            server.pause();
            sleep(2 * SECOND).await;
            server.resume();
            server
        },
    )
    .await;
}

#[tokio::test]
async fn an_engine_that_is_killed_and_comes_back_empty_raises_no_false_alarm() {
    let test = "an_engine_that_is_killed_and_comes_back_empty_raises_no_false_alarm";
    with_fault(test, async |mut server: Server| {
        for pause in [0, 1, 2] {
            server.kill();
            sleep(pause * SECOND).await;
            server.run().await;
            sleep(SECOND).await;
        }
        server
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_is_flushed_raises_no_false_alarm() {
    with_fault(
        "an_engine_that_is_flushed_raises_no_false_alarm",
        async |server: Server| {
            for _ in 0..20 {
                assert_eq!(server.command(&["FLUSHALL"]).await, "OK");
                sleep(SECOND / 10).await;
            }
            server
        },
    )
    .await;
}

#[tokio::test]
async fn an_engine_out_of_memory_raises_no_false_alarm() {
    with_fault(
        "an_engine_out_of_memory_raises_no_false_alarm",
        async |server: Server| {
            assert_eq!(
                server.command(&["CONFIG", "SET", "maxmemory", "1"]).await,
                "OK"
            );
            sleep(2 * SECOND).await;
            assert_eq!(
                server.command(&["CONFIG", "SET", "maxmemory", "0"]).await,
                "OK"
            );
            server
        },
    )
    .await;
}

#[tokio::test]
async fn an_engine_that_becomes_a_replica_raises_no_false_alarm() {
    let test = "an_engine_that_becomes_a_replica_raises_no_false_alarm";
    with_fault(test, async |server: Server| {
        assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", "1"]).await, "OK");
        sleep(2 * SECOND).await;
        assert_eq!(server.command(&["REPLICAOF", "NO", "ONE"]).await, "OK");
        server
    })
    .await;
}

/// A policy that evicts forgets records while the engine answers.
#[tokio::test]
async fn an_engine_that_starts_to_evict_raises_no_false_alarm() {
    let test = "an_engine_that_starts_to_evict_raises_no_false_alarm";
    with_fault(test, async |server: Server| {
        for (name, value) in [("maxmemory-policy", "allkeys-random"), ("maxmemory", "1")] {
            assert_eq!(server.command(&["CONFIG", "SET", name, value]).await, "OK");
        }
        sleep(2 * SECOND).await;
        for (name, value) in [("maxmemory", "0"), ("maxmemory-policy", "noeviction")] {
            assert_eq!(server.command(&["CONFIG", "SET", name, value]).await, "OK");
        }
        server
    })
    .await;
}

/// A registry that takes a missing record for *unknown* raises an alarm for every handshake here.
#[tokio::test]
async fn a_machine_that_alone_loses_the_engine_raises_no_false_alarm() {
    let test = "a_machine_that_alone_loses_the_engine_raises_no_false_alarm";
    let Some(server) = start(test).await else {
        return;
    };
    let cable = Cable::new(server.port).await;
    let machines = [
        machine(1, "shop", &[cable.port]),
        machine(2, "shop", &[server.port]),
    ];
    settle(&machines).await;
    let traffic = Traffic::start(&machines);
    traffic.more_verified(MANY).await;
    cable.plug(false);
    let refused = |tally: &Tally| tally.refused.load(Ordering::Relaxed);
    while refused(&traffic.tally) == 0 {
        sleep(SECOND / 10).await;
    }
    cable.plug(true);
    traffic.more_verified(MANY).await;
    traffic.finish().await;
}

#[tokio::test]
async fn two_engines_that_are_killed_in_turn_cost_no_verification() {
    let test = "two_engines_that_are_killed_in_turn_cost_no_verification";
    let (Some(mut one), Some(mut other)) = (start(test).await, start(test).await) else {
        return;
    };
    // A stall is no fault of an engine, and must cost nothing here.
    let machines = two_patient_machines("shop", &[&one, &other]).await;
    let traffic = Traffic::start(&machines);
    traffic.more_verified(MANY).await;
    for _ in 0..2 {
        for server in [&mut one, &mut other] {
            server.kill();
            traffic.more_verified(MANY).await;
            server.run().await;
            // Both are connected again before the other one goes.
            let connected = || {
                let all = machines.iter().flat_map(|machine| machine.status().engines);
                all.into_iter().all(|engine| engine.connected)
            };
            while !connected() {
                sleep(SECOND / 10).await;
            }
            traffic.more_verified(MANY).await;
        }
    }
    let tally = traffic.finish().await;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&tally.refused), 0, "{tally:?}");
    assert_eq!(count(&tally.unavailable), 0, "{tally:?}");
    assert_eq!(count(&tally.unconfirmed), 0, "{tally:?}");
}

/// A connection that can be cut, in front of a server.
struct Cable {
    port: u16,
    plugged: watch::Sender<bool>,
}

impl Cable {
    async fn new(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let plugged = watch::Sender::new(true);
        let seen = plugged.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(relay(near, server, seen.clone()));
            }
        });
        Self { port, plugged }
    }

    fn plug(&self, plugged: bool) {
        self.plugged.send_replace(plugged);
    }
}

async fn relay(mut near: TcpStream, server: u16, mut plugged: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = plugged.wait_for(|plugged| !plugged) => {}
    }
}
