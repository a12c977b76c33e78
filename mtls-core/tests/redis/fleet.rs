//! Machines of a fleet over these servers.

use std::time::Duration;

use mtls_core::registry::ServiceId;
use mtls_core::registry::fleet::{FleetKeys, FleetRegistry, FleetSettings, MachineId};
use mtls_core::registry::redis::{RedisEngine, RedisSettings};
use tokio::time::sleep;

use crate::server::Server;

pub(crate) type Machine = FleetRegistry<RedisEngine>;

pub(crate) const LIFE: Duration = Duration::from_secs(9);

pub(crate) fn fleet_settings(machine: u16) -> FleetSettings {
    let keys = FleetKeys::new(&[7; FleetKeys::KEY_LEN]);
    let mut settings = FleetSettings::new(MachineId(machine), keys);
    settings.member_life = LIFE;
    settings.lease = LIFE / 3;
    settings.heartbeat = Duration::from_millis(250);
    settings
}

/// Settings of a machine that no stall separates from its fleet.
pub(crate) fn patient_settings(machine: u16) -> FleetSettings {
    let mut settings = fleet_settings(machine);
    settings.member_life = 2 * LIFE;
    settings.lease = settings.member_life / 3;
    settings.ride_out = settings.member_life;
    settings
}

/// Waits for an engine as long as a busy host may take.
pub(crate) fn patient(mut settings: RedisSettings) -> RedisSettings {
    settings.response_timeout = 2 * LIFE;
    settings.connect_timeout = 2 * LIFE;
    settings
}

pub(crate) fn patient_engine_at(port: u16, fleet: &str) -> RedisEngine {
    RedisEngine::new(patient(redis_settings(port, fleet)))
}

fn redis_settings(port: u16, fleet: &str) -> RedisSettings {
    let address = format!("redis://127.0.0.1:{port}")
        .parse()
        .expect("an address");
    RedisSettings::new(address, ServiceId::from_name(fleet))
}

fn engine_at(port: u16, fleet: &str) -> RedisEngine {
    RedisEngine::new(redis_settings(port, fleet))
}

/// Starts a machine on the servers' ports.
pub(crate) fn machine(number: u16, fleet: &str, ports: &[u16]) -> Machine {
    let engines = ports.iter().map(|port| engine_at(*port, fleet)).collect();
    FleetRegistry::start(engines, fleet_settings(number)).expect("settings in order")
}

/// Two machines that ask again, and wait, for as long as a busy host needs to answer.
pub(crate) async fn two_patient_machines(fleet: &str, servers: &[&Server]) -> [Machine; 2] {
    let ports: Vec<_> = servers.iter().map(|server| server.port).collect();
    let machines = [1, 2].map(|number| {
        let engines = ports.iter().map(|port| patient_engine_at(*port, fleet));
        FleetRegistry::start(engines.collect(), patient_settings(number)).expect("in order")
    });
    settle_with(&machines, &patient_settings(0)).await;
    machines
}

/// Two machines over engines that have forgotten nothing for a life, so that they can be certain.
pub(crate) async fn two_machines(fleet: &str, servers: &[&Server]) -> [Machine; 2] {
    let ports: Vec<_> = servers.iter().map(|server| server.port).collect();
    let machines = [1, 2].map(|number| machine(number, fleet, &ports));
    settle(&machines).await;
    machines
}

pub(crate) async fn settle(machines: &[Machine]) {
    settle_with(machines, &fleet_settings(0)).await;
}

pub(crate) async fn settle_with(machines: &[Machine], settings: &FleetSettings) {
    for machine in machines {
        machine.ready().await;
    }
    // The engines remember since the first heartbeat, which a ready machine sent a lease ago.
    sleep(settings.member_life - settings.lease + Duration::from_secs(1)).await;
}
