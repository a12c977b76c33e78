//! All attacks at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::setpriority_process;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::attack::{Attack, Scene};
use crate::Result;
use crate::load::site::Site;
use crate::prng::Prng;

/// The pause of an attacker between two connections.
const PAUSE: Duration = Duration::from_millis(20);
/// The nice value of the attackers' threads: real ones compute on machines of their own.
const NICE: i32 = 5;
/// Faults that are kept word for word.
const KEPT: usize = 5;

/// Attackers that go on until they are stopped.
pub(super) struct Attackers {
    tasks: JoinSet<(Attack, AttackCount)>,
    stop: watch::Sender<bool>,
    _threads: Threads,
}

/// The attackers' threads. Dropping this waits for none of them.
struct Threads(Option<Runtime>);

/// The connections of one kind of attack.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct AttackCount {
    pub(super) connections: u64,
    /// Those that went as far as they were meant to.
    pub(super) completed: u64,
    /// Attacked clients with a wrong result.
    pub(super) faults: u64,
    /// Some of them.
    pub(super) examples: Vec<String>,
}

impl Attackers {
    pub(super) async fn start(site: &Site, seed: u64) -> Result<Self> {
        let threads = Builder::new_multi_thread()
            .enable_all()
            .on_thread_start(|| {
                // Without it the attackers take more time from the others, and no check depends on it.
                let _ = setpriority_process(None, NICE);
            })
            .build()?;
        let handle = threads.handle().clone();
        let threads = Threads(Some(threads));
        let scene = Arc::new(Scene::new(site, &handle).await?);
        let (stop, stopped) = watch::channel(false);
        let mut seeds = Prng::new(seed);
        let mut tasks = JoinSet::new();
        for attack in Attack::ALL {
            for _ in 0..attack.at_a_time() {
                let (scene, stopped) = (Arc::clone(&scene), stopped.clone());
                let prng = Prng::new(seeds.number());
                let attacking = async move { (attack, go_on(&scene, attack, prng, stopped).await) };
                tasks.spawn_on(attacking, &handle);
            }
        }
        Ok(Self {
            tasks,
            stop,
            _threads: threads,
        })
    }

    /// Waits until all have ended their last connection.
    pub(super) async fn stop(mut self) -> Result<BTreeMap<&'static str, AttackCount>> {
        self.stop.send_replace(true);
        let mut all = BTreeMap::<_, AttackCount>::new();
        while let Some(done) = self.tasks.join_next().await {
            let (attack, count) = done?;
            let total = all.entry(attack.title()).or_default();
            total.connections += count.connections;
            total.completed += count.completed;
            total.faults += count.faults;
            total.examples.extend(count.examples);
            total.examples.truncate(KEPT);
        }
        Ok(all)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn go_on(
    scene: &Scene,
    attack: Attack,
    mut prng: Prng,
    stopped: watch::Receiver<bool>,
) -> AttackCount {
    let mut count = AttackCount::default();
    while !*stopped.borrow() {
        count.connections += 1;
        match scene.act(attack, &mut prng).await {
            Ok(completed) => count.completed += u64::from(completed),
            Err(fault) => {
                count.faults += 1;
                if count.examples.len() < KEPT {
                    count.examples.push(fault);
                }
            }
        }
        sleep(PAUSE).await;
    }
    count
}
