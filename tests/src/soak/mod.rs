//! `mtls-lab soak`: servers, relays and the proxy as real processes, under honest and hostile traffic,
//! and what must be true afterwards.

mod attack;
mod attacks;
mod failing;
mod report;

use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use self::attacks::Attackers;
use self::report::{Report, Service};
use crate::load::browse::Browsers;
use crate::load::fleet::Fleet;
use crate::load::site::{Site, settle};
use crate::load::traffic::Pace;
use crate::{Result, child};

/// The time between two renewals of the certificates.
const RENEWAL: Duration = Duration::from_secs(1);

/// Load the servers, the relay and the proxy with honest and hostile clients, and check what must hold.
///
/// Starts mtls-server serve and terminate (both with --http3) and passthrough, mtls-client proxy, and a fleet
/// of two servers on two Redis engines, on loopback ports, and ends them afterwards. Without redis-server
/// the fleet is omitted, and named on standard error. The exit status is 0 if every verdict was right at
/// both ends, every attack was detected, every honest request was answered, every process returned to its level
/// (descriptors, threads, memory, pending handshakes, open connections), and the 99th percentile of honest
/// connections, of each kind with 20 or more, stayed within the limit. It is 0 too where setpriv is missing
/// and nothing ran: standard error says SKIPPED.
#[derive(Args, Clone, Debug)]
pub struct SoakArgs {
    /// Duration of the traffic in seconds
    #[arg(long = "for", value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub duration: Duration,
    /// Number of honest connections, in place of a duration
    #[arg(long, value_name = "NUMBER", conflicts_with = "duration")]
    pub connections: Option<NonZeroU32>,
    /// Number of honest connections of each kind before the measurement of the idle system, and in it
    #[arg(long, value_name = "NUMBER", default_value = "25")]
    pub warm_up: NonZeroU32,
    /// Honest connections per second
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    pub rate: NonZeroU32,
    /// Limit of the 99th percentile of honest connections, as a multiple of the idle system's; 0 for none
    #[arg(long, value_name = "FACTOR", default_value_t = 10.0)]
    pub factor: f64,
    /// Seed of the order and of the content of attacks
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub seed: u64,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.parse() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a number of seconds of at least 1, such as 60 or 60s".to_owned()),
    }
}

/// Runs the traffic, and prints what was found.
#[must_use]
pub fn run(args: &SoakArgs) -> ExitCode {
    if !child::is_installed("setpriv") {
        let _ = writeln!(io::stderr(), "SKIPPED: setpriv is not installed");
        return ExitCode::SUCCESS;
    }
    let runtime = Builder::new_multi_thread().enable_all().build();
    let report = match runtime.map_err(Into::into) {
        Ok(runtime) => runtime.block_on(soak(args)),
        Err(error) => Err(error),
    };
    match report.and_then(|report| Ok((report.print(args.json)?, report))) {
        Ok(((), report)) if report.is_sound() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: the soak failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(args: &SoakArgs) -> Result<Report> {
    let mut site = Site::start().await?;
    let skipped = match Fleet::missing_program() {
        Some(program) => Some(format!("the fleet: {program} is not installed")),
        None => site.start_fleet().await.map(|()| None)?,
    };
    if let Some(skipped) = &skipped {
        say(&format!("skipped {skipped}"));
    }
    let browsers = Browsers::new(&site)?;
    say("warming up");
    let pace = Pace::per_second(args.rate);
    let warm_up = pace.count(args.warm_up.get().saturating_mul(browsers.kinds()));
    browsers.run(warm_up).await?;
    let before = settle(&site, None).await?;
    say("measuring the idle system");
    let idle = browsers.run(warm_up).await?;
    say("attacking");
    let attackers = Attackers::start(&site, args.seed).await?;
    let loaded = browsers.run(match args.connections {
        Some(connections) => pace.count(connections.get()),
        None => pace.until(Instant::now() + args.duration),
    });
    let mut renewals = 0;
    let loaded = tokio::select! {
        loaded = loaded => loaded?,
        error = renew(&site, &mut renewals) => return Err(error),
    };
    let attacks = attackers.stop().await?;
    say("waiting until every process is idle");
    let after = settle(&site, Some(&before)).await?;
    let services = site.services().map(|process| process.name);
    let services = services.zip(before.into_iter().zip(after));
    let services = services.map(|(name, (before, after))| Service {
        name,
        before,
        after,
    });
    Ok(Report {
        factor: args.factor,
        idle,
        loaded,
        attacks,
        renewals,
        services: services.collect(),
        skipped,
    })
}

/// Renews certificates, until one is not renewed.
async fn renew(site: &Site, renewals: &mut u64) -> Box<dyn Error + Send + Sync> {
    loop {
        sleep(RENEWAL).await;
        if let Err(error) = site.renew() {
            return error;
        }
        *renewals += 1;
    }
}

fn say(what: &str) {
    let _ = writeln!(io::stderr(), "soak: {what}");
}
