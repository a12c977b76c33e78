//! The measurements: rounds in which the kinds take turns.

use std::time::Duration;

use super::client::Clients;
use super::middle::{Middle, Middles};
use super::report::{Report, Series};
use super::samples::Samples;
use super::{Error, RelayArgs};
use crate::bench::progress::Progress;
use crate::bench::report::median;

/// How long the last closes of a turn may take.
const SETTLE: Duration = Duration::from_millis(10);
/// Connections of each kind before the first measurement.
const WARM_UP: u32 = 10;

/// How much is measured.
pub(super) struct Plan {
    args: RelayArgs,
    middles: Vec<Middle>,
}

impl Plan {
    pub(super) fn new(args: &RelayArgs, middles: &Middles) -> Self {
        Self {
            args: args.clone(),
            middles: middles.all().cloned().collect(),
        }
    }

    pub(super) async fn run(self, clients: &Clients) -> Result<Report, Error> {
        for middle in &self.middles {
            for _ in 0..WARM_UP {
                clients.set_up(middle.kind).await?;
            }
        }
        let rounds = self.args.rounds.get();
        let count = self.middles.len();
        let mut samples: Vec<_> = (0..count).map(|_| Samples::default()).collect();
        let mut progress = Progress::new(rounds);
        for round in 0..rounds {
            for turn in 0..count {
                // Nobody is always the first.
                let index = (turn + round as usize) % count;
                self.turn(clients, &self.middles[index], &mut samples[index])
                    .await?;
            }
            progress.step();
        }
        progress.finish();
        let kinds = self.middles.iter().map(|middle| middle.kind);
        let series = Series::all(kinds, &samples);
        Ok(Report::new(&self.args, series))
    }

    async fn turn(
        &self,
        clients: &Clients,
        middle: &Middle,
        samples: &mut Samples,
    ) -> Result<(), Error> {
        let mut latencies = Vec::new();
        for _ in 0..self.args.connections.get() {
            let (_, time) = clients.set_up(middle.kind).await?;
            latencies.push(time.as_secs_f64() * 1e6);
        }
        samples.latency.push(median(&latencies));
        tokio::time::sleep(SETTLE).await;

        let megabytes = self.args.megabytes.get();
        let before = middle.cpu_time();
        let time = clients
            .download(middle.kind, u64::from(megabytes) << 20)
            .await?;
        let used = middle.cpu_time().zip(before);
        let megabytes = f64::from(megabytes);
        samples.throughput.push(megabytes / time.as_secs_f64());
        samples.cpu.extend(used.map(|(after, before)| {
            after.saturating_sub(before).as_secs_f64() * 1e3 * 1024.0 / megabytes
        }));
        tokio::time::sleep(SETTLE).await;

        let messages = self.args.messages.get();
        let time = clients.ask(middle.kind, messages).await?;
        samples
            .messages
            .push(f64::from(messages) / time.as_secs_f64());
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }
}
