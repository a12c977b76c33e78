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

pub(crate) fn engine_at(port: u16, fleet: &str) -> RedisEngine {
    let address = format!("redis://127.0.0.1:{port}")
        .parse()
        .expect("an address");
    RedisEngine::new(RedisSettings::new(address, ServiceId::from_name(fleet)))
}

/// Starts a machine on the servers' ports.
pub(crate) fn machine(number: u16, fleet: &str, ports: &[u16]) -> Machine {
    machine_with(fleet_settings(number), fleet, ports)
}

fn machine_with(settings: FleetSettings, fleet: &str, ports: &[u16]) -> Machine {
    let engines = ports.iter().map(|port| engine_at(*port, fleet)).collect();
    FleetRegistry::start(engines, settings).expect("settings in order")
}

/// Two machines that ask again for as long as a busy host needs to answer.
pub(crate) async fn two_patient_machines(fleet: &str, servers: &[&Server]) -> [Machine; 2] {
    let ports: Vec<_> = servers.iter().map(|server| server.port).collect();
    let machines = [1, 2].map(|number| {
        let mut settings = fleet_settings(number);
        settings.ride_out = LIFE;
        machine_with(settings, fleet, &ports)
    });
    settle(&machines).await;
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
    for machine in machines {
        machine.ready().await;
    }
    // The engines remember since the first heartbeat, which a ready machine sent a lease ago.
    sleep(LIFE - fleet_settings(0).lease + Duration::from_secs(1)).await;
}
