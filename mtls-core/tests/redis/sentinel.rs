//! A primary with a replica, watched by three Sentinels, and failovers under load.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mtls_core::proto::binding::Association;
use mtls_core::proto::server::{HandshakeKeys, LookupMode};
use mtls_core::registry::fleet::FleetRegistry;
use mtls_core::registry::redis::{RedisEngine, RedisSettings};
use mtls_core::registry::{LookupReply, LookupRequester, PendingRegistry, RegistryKey, ServiceId};
use tokio::time::sleep;

use crate::fleet::{Machine, patient, patient_settings, settle_with};
use crate::server::{Server, command_at, free_port, new_directory, start, start_with};
use crate::traffic::Traffic;

const SECOND: Duration = Duration::from_secs(1);
/// Enough verifications to call a fleet well.
const MANY: u64 = 50;

struct Watched {
    primary: Server,
    replica: Server,
    sentinels: Vec<Sentinel>,
}

/// A process, ended on drop.
struct Sentinel {
    port: u16,
    process: Child,
    directory: PathBuf,
}

impl Sentinel {
    fn start(primary: u16) -> Self {
        let directory = new_directory();
        let port = free_port();
        let file = directory.join("sentinel.conf");
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor shop 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds shop 5000\n\
             sentinel failover-timeout shop 10000\n",
            directory.display()
        );
        fs::write(&file, config).expect("to write");
        let process = Command::new("redis-server")
            .arg(file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        Self {
            port,
            process,
            directory,
        }
    }

    async fn has(&self, field: &str, value: &str) -> bool {
        let answer = command_at(self.port, &["SENTINEL", "MASTER", "shop"]);
        let lines: Vec<_> = answer.lines().collect();
        lines.windows(2).any(|pair| pair == [field, value])
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Watched {
    async fn start(test: &str) -> Option<Self> {
        let primary = start(test).await?;
        let port = primary.port.to_string();
        let replica = start_with(test, &["--replicaof", "127.0.0.1", &port]).await?;
        let sentinels: Vec<_> = (0..3).map(|_| Sentinel::start(primary.port)).collect();
        for sentinel in &sentinels {
            for (field, value) in [("num-slaves", "1"), ("num-other-sentinels", "2")] {
                while !sentinel.has(field, value).await {
                    sleep(SECOND / 10).await;
                }
            }
        }
        Some(Self {
            primary,
            replica,
            sentinels,
        })
    }

    fn machine(&self, number: u16) -> Machine {
        let hosts = self
            .sentinels
            .iter()
            .map(|s| format!("127.0.0.1:{}", s.port));
        let hosts: Vec<_> = hosts.collect();
        let address = format!("redis+sentinel://{}/shop", hosts.join("+"));
        let address = address.parse().expect("an address");
        let settings = RedisSettings::new(address, ServiceId::from_name("shop"));
        let engines = vec![RedisEngine::new(patient(settings))];
        FleetRegistry::start(engines, patient_settings(number)).expect("settings in order")
    }

    async fn machines(&self) -> [Machine; 2] {
        let machines = [1, 2].map(|number| self.machine(number));
        settle_with(&machines, &patient_settings(0)).await;
        machines
    }
}

async fn is_primary(server: &Server) -> bool {
    server.command(&["ROLE"]).await.starts_with("master")
}

#[tokio::test]
async fn a_failover_after_the_primary_was_killed_raises_no_false_alarm() {
    let test = "a_failover_after_the_primary_was_killed_raises_no_false_alarm";
    let Some(mut watched) = Watched::start(test).await else {
        return;
    };
    let machines = watched.machines().await;
    let traffic = Traffic::start(&machines);
    traffic.more_verified(MANY).await;
    watched.primary.kill();
    while !is_primary(&watched.replica).await {
        sleep(SECOND / 10).await;
    }
    traffic.more_verified(MANY).await;
    // It is a primary, and empty, until a Sentinel makes it a replica.
    watched.primary.run().await;
    sleep(2 * SECOND).await;
    traffic.more_verified(MANY).await;
    traffic.finish().await;
}

/// The old primary remains a primary for up to ten seconds, and no connection to it breaks.
#[tokio::test]
async fn machines_follow_a_planned_failover_at_once() {
    let test = "machines_follow_a_planned_failover_at_once";
    let Some(watched) = Watched::start(test).await else {
        return;
    };
    let machines = watched.machines().await;
    let traffic = Traffic::start(&machines);
    traffic.more_verified(MANY).await;
    let sentinel = watched.sentinels[0].port;
    let started = command_at(sentinel, &["SENTINEL", "FAILOVER", "shop"]);
    assert_eq!(started, "OK");
    while !is_primary(&watched.replica).await {
        sleep(SECOND / 100).await;
    }
    // A machine that starts now knows the new primary alone.
    let third = watched.machine(3);
    traffic.more_verified(MANY).await;
    third.ready().await;
    for byte in 0..20 {
        let key = RegistryKey {
            service: ServiceId::from_name("shop"),
            association: Association([byte; 16]),
        };
        let _entry = machines[0].register(key, HandshakeKeys::Older).await;
        let requester = LookupRequester::new([192, 0, 2, 1].into(), false);
        let reply = third.look_up(key, LookupMode::Immediate, requester).await;
        // The other machines do not wait until the old primary becomes a replica.
        assert!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
    }
    let names = watched.replica.command(&["KEYS", "mtls:*:m:*"]).await;
    assert_eq!(names.lines().count(), 3, "{names}");
    traffic.more_verified(MANY).await;
    traffic.finish().await;
}

#[tokio::test]
async fn a_sentinel_that_is_gone_costs_no_connection() {
    let test = "a_sentinel_that_is_gone_costs_no_connection";
    let Some(mut watched) = Watched::start(test).await else {
        return;
    };
    let machine = watched.machine(1);
    machine.ready().await;
    watched.sentinels[0].process.kill().expect("a process");
    let other = watched.machine(2);
    other.ready().await;
    assert_eq!(machine.status().engines[0].errors, 0);
    for sentinel in &mut watched.sentinels[1..] {
        sentinel.process.kill().expect("a process");
    }
    let third = watched.machine(3);
    sleep(2 * SECOND).await;
    assert!(!third.status().lease, "no Sentinel names a server");
    assert!(machine.status().lease && other.status().lease);
}
