//! The registry that several machines share over a Redis server, against the registry in memory.

mod rates;
mod setup;

use std::sync::Arc;
use std::time::Duration;

use mtls_core::registry::ServiceId;
use mtls_core::registry::fleet::{FleetKeys, FleetRegistry, FleetSettings, MachineId};
use mtls_core::registry::redis::{RedisEngine, RedisSettings};
use rustls::ClientConfig;

use super::figure::Figure;
use super::{BenchArgs, note};
use crate::{Result, child};

const BENCHMARK: &str = "registry";

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    for program in ["redis-server", "redis-cli", "setpriv"] {
        if !child::is_installed(program) {
            note(&format!(
                "the registry is skipped: {program} is not installed"
            ));
            return Ok(Vec::new());
        }
    }
    let mut figures = setup::run(args)?;
    figures.extend(rates::run(args)?);
    Ok(figures)
}

/// Starts a machine of a fleet on this engine, and waits until it may complete handshakes.
async fn machine(
    number: u16,
    engine: &str,
    tls: Option<Arc<ClientConfig>>,
) -> Result<FleetRegistry<RedisEngine>> {
    let keys = FleetKeys::new(&[7; FleetKeys::KEY_LEN]);
    let mut settings = FleetSettings::new(MachineId(number), keys);
    // Longer than the measurement, which counts the memory of all records.
    settings.record_life = Duration::from_secs(3_600);
    let mut engine = RedisSettings::new(engine.parse()?, ServiceId::default());
    engine.tls = tls;
    // A machine that is busy by the benchmark alone keeps its connection.
    engine.response_timeout = Duration::from_secs(10);
    let registry = FleetRegistry::start(vec![RedisEngine::new(engine)], settings)?;
    registry.ready().await;
    Ok(registry)
}
