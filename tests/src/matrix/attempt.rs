//! Runs the attacks of a cell.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::cell::{Attempt, Cell, Outcome};
use super::deployment::Deployment;
use super::mptcp;
use super::site::Site;
use super::variants::tries;
use crate::Result;

/// More than one attempt takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a cell: each variant of the attack, on a client of its own.
pub(super) async fn run_cell(cell: Cell) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for number in 0..tries(&cell) {
        let started = Instant::now();
        let attempt = match timeout(PATIENCE, attempt(&cell, number)).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(error)) => failed(&error.to_string()),
            Err(_) => failed("it took too long: is this machine very busy?"),
        };
        attempts.push(Attempt {
            milliseconds: started.elapsed().as_millis() as u64,
            ..attempt
        });
    }
    attempts
}

fn failed(why: &str) -> Attempt {
    Attempt {
        result: Outcome::Failed,
        attack: "the experiment failed".to_owned(),
        client: why.to_owned(),
        attackers: Vec::new(),
        milliseconds: 0,
    }
}

async fn attempt(cell: &Cell, number: usize) -> Result<Attempt> {
    if cell.protocol.uses_namespaces() {
        return mptcp::attempt(cell, number).await;
    }
    let site = Site::open(cell.protocol, cell.trust).await?;
    let deployment = Deployment::start(cell, &site, number).await?;
    let victim = site.victim(deployment.primary, &deployment.sides)?;
    let outcome = site.fetch(&victim).await?;
    drop(victim);
    let sides_count = cell.protocol.is_multipath() && outcome.accepted_certificate();
    let sides_count = sides_count && !deployment.ends_before_sides();
    deployment.wait_for_client(sides_count).await?;
    let attackers = deployment.reports();
    Ok(Attempt {
        result: outcome.against(&attackers),
        attack: deployment.attack().join("; "),
        client: outcome.description().to_owned(),
        attackers,
        milliseconds: 0,
    })
}
