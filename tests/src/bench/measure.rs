//! The measurements: rounds of small batches, in which the kinds take turns.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

use super::clients::Clients;
use super::progress::Progress;
use super::report::{Report, Series};
use super::samples::Samples;
use super::{BenchArgs, Error, Kind};

/// How long a batch's last closes may take; they belong to its CPU time, but to no latency.
const SETTLE: Duration = Duration::from_millis(10);
/// Connections of each kind before the first measurement.
const WARM_UP: u32 = 50;

/// How much is measured.
pub(super) struct Plan {
    args: BenchArgs,
    batch: u32,
}

impl Plan {
    pub(super) fn new(args: &BenchArgs) -> Self {
        Self {
            args: args.clone(),
            batch: args.connections.get().div_ceil(args.rounds.get()),
        }
    }

    pub(super) async fn run(self, clients: &Clients) -> Result<Report, Error> {
        for kind in Kind::ALL {
            for _ in 0..WARM_UP {
                clients.set_up(kind).await?;
            }
        }
        let rounds = self.args.rounds.get();
        let mut samples = Kind::ALL.map(|_| Samples::default());
        let mut progress = Progress::new(rounds);
        for round in 0..rounds {
            for turn in 0..Kind::ALL.len() {
                // Nobody is always the first.
                let index = (turn + round as usize) % Kind::ALL.len();
                let kind = Kind::ALL[index];
                self.one_at_a_time(clients, kind, &mut samples[index])
                    .await?;
                self.together(clients, kind, &mut samples[index]).await?;
                self.bulk(clients, kind, &mut samples[index]).await?;
            }
            progress.step();
        }
        progress.finish();
        let [plain, fresh, pooled] = samples;
        let series = |kind, samples: &Samples| Series::new(kind, samples, &plain);
        Ok(Report::new(
            self.batch * rounds,
            &self.args,
            [
                series(Kind::Plain, &plain),
                series(Kind::Fresh, &fresh),
                series(Kind::Pooled, &pooled),
            ],
        ))
    }

    async fn one_at_a_time(
        &self,
        clients: &Clients,
        kind: Kind,
        samples: &mut Samples,
    ) -> Result<(), Error> {
        let mut latencies = Vec::with_capacity(self.batch as usize);
        let cpu = cpu_time();
        for _ in 0..self.batch {
            latencies.push(micros(clients.set_up(kind).await?));
        }
        samples.cpu_alone.push(self.cpu_each_since(cpu).await);
        samples
            .batch_latency
            .push(super::report::median(&latencies));
        samples.latency.extend(latencies);
        Ok(())
    }

    async fn together(
        &self,
        clients: &Clients,
        kind: Kind,
        samples: &mut Samples,
    ) -> Result<(), Error> {
        let mut left = self.batch;
        let mut running = JoinSet::new();
        let (cpu, started) = (cpu_time(), Instant::now());
        while left > 0 || !running.is_empty() {
            while left > 0 && running.len() < self.args.concurrency.get() as usize {
                let clients = clients.clone();
                running.spawn(async move { clients.set_up(kind).await });
                left -= 1;
            }
            if let Some(done) = running.join_next().await {
                done??;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        samples.rate.push(f64::from(self.batch) / seconds);
        samples.cpu_together.push(self.cpu_each_since(cpu).await);
        Ok(())
    }

    async fn bulk(
        &self,
        clients: &Clients,
        kind: Kind,
        samples: &mut Samples,
    ) -> Result<(), Error> {
        let megabytes = self.args.megabytes.get();
        let time = clients.send(kind, u64::from(megabytes) << 20).await?;
        samples
            .throughput
            .push(f64::from(megabytes) / time.as_secs_f64());
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// Microseconds of CPU for each connection of a batch.
    async fn cpu_each_since(&self, start: Duration) -> f64 {
        tokio::time::sleep(SETTLE).await;
        micros(cpu_time().saturating_sub(start)) / f64::from(self.batch)
    }
}

/// What the whole process has used, in user space and in the kernel.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
