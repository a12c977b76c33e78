//! Sentinels that watch a primary with one replica.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::redis::{Process, free_address, redis_cli, until_listening};
use crate::{Result, child};

/// The name of the primary.
const NAME: &str = "shop";
const COUNT: usize = 3;
/// The time in which they must have found each other.
const START: Duration = Duration::from_secs(60);

/// One Sentinel.
pub(super) struct Sentinel {
    address: SocketAddr,
    _process: Process,
}

/// Starts them, and waits until they know the replica and each other.
pub(super) async fn start(root: &Path, primary: SocketAddr) -> Result<Vec<Sentinel>> {
    let mut sentinels = Vec::new();
    for number in 0..COUNT {
        let directory = root.join(format!("sentinel-{number}"));
        sentinels.push(Sentinel::start(&directory, primary).await?);
    }
    let known = async {
        for sentinel in &sentinels {
            while !sentinel.knows_all() {
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let waited = timeout(START, known).await;
    waited.map_err(|_| "the Sentinels do not find each other")?;
    Ok(sentinels)
}

/// The address of the registry.
pub(super) fn url(sentinels: &[Sentinel]) -> String {
    let hosts = sentinels
        .iter()
        .map(|sentinel| sentinel.address.to_string());
    let hosts: Vec<_> = hosts.collect();
    format!("redis+sentinel://{}/{NAME}", hosts.join("+"))
}

impl Sentinel {
    async fn start(directory: &Path, primary: SocketAddr) -> Result<Self> {
        fs::create_dir(directory)?;
        let address = free_address()?;
        let file = directory.join("sentinel.conf");
        let config = format!(
            "port {}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor {NAME} {} {} 2\n\
             sentinel down-after-milliseconds {NAME} 1000\n\
             sentinel failover-timeout {NAME} 3000\n",
            address.port(),
            directory.display(),
            primary.ip(),
            primary.port(),
        );
        fs::write(&file, config)?;
        let mut command = child::tied("redis-server");
        command.arg(&file).arg("--sentinel");
        let process = Process::start(command)?;
        until_listening(address).await?;
        Ok(Self {
            address,
            _process: process,
        })
    }

    fn knows_all(&self) -> bool {
        let answer = redis_cli(self.address, &["SENTINEL", "MASTER", NAME]).output();
        let answer = answer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let answer = answer.unwrap_or_default();
        let lines: Vec<_> = answer.lines().collect();
        let has = |field, value| lines.windows(2).any(|pair| pair == [field, value]);
        has("num-slaves", "1") && has("num-other-sentinels", "2")
    }

    /// Lets them make the replica the primary, once it is good enough.
    pub(super) async fn fail_over(&self) -> Result {
        let accepted = async {
            loop {
                let output = redis_cli(self.address, &["SENTINEL", "FAILOVER", NAME]).output()?;
                if output.stdout.starts_with(b"OK") {
                    return Ok(());
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(START, accepted).await.map_err(|_| "no failover")?
    }
}
