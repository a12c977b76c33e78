//! The command `paths`: lists the network paths of this machine, tests them, and reports which pairs
//! are independent.

pub(crate) mod args;
mod findings;
mod text;
mod trial;

use std::io;

use mtls_core::path::survey::{Survey, pairs};
use tokio::time::timeout;

use self::args::Args;
use self::findings::{Findings, NOT_KNOWN, SCHEMA};
use self::trial::Trial;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages;
use crate::output::style::Style;
use crate::runtime;

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    runtime::block_on(args.output.verbose, paths(args))
}

/// Reads the interfaces and routes, and tests the paths if there is a target.
async fn paths(args: Args) -> Result<Exit, Failure> {
    let output = args.output.clone();
    let survey = Survey::take();
    let (findings, failures) = match args.target.clone() {
        None => (untested(survey.map_err(unavailable)?)?, Vec::new()),
        Some(target) => {
            let survey = survey.map_err(|error| warn(output.silent, &error)).ok();
            let max_time = args.times.max_time;
            let activity = format!("testing paths to {target}");
            let trial = Trial::new(args, target, survey)?.run();
            match max_time {
                None => trial.await,
                Some(limit) => timeout(limit, trial)
                    .await
                    .map_err(|_| Failure::max_time(&activity))?,
            }
        }
    };
    let mut worst = Exit::Success;
    if let Err(failure) = write(&findings, output.json) {
        messages::error(&failure);
        worst = failure.exit;
    }
    for failure in &failures {
        messages::error(failure);
        worst = worst.or_worse(failure.exit);
    }
    Ok(worst)
}

/// The findings without a target: from the routes alone.
fn untested(mut survey: Survey) -> Result<Findings, Failure> {
    let candidates = survey.candidates(None).map_err(unavailable)?;
    let pairs = pairs(&candidates, &survey.interfaces);
    Ok(Findings {
        schema: SCHEMA,
        interfaces: survey.interfaces,
        suggestion: findings::untested_suggestion(&pairs),
        candidates,
        target: None,
        paths: Vec::new(),
        pairs,
        not_known: NOT_KNOWN,
    })
}

fn write(findings: &Findings, json: bool) -> Result<(), Failure> {
    let text = match json {
        true => serde_json::to_string(findings)
            .map(|line| line + "\n")
            .map_err(|error| not_written(&error.into()))?,
        false => text::text(findings, Style::of(&io::stdout())),
    };
    messages::print(&text).map_err(|error| not_written(&error))
}

fn not_written(error: &io::Error) -> Failure {
    let message = format!("could not write the report to standard output: {error}");
    Failure::new(Exit::Write, "write-error", message)
}

fn unavailable(error: io::Error) -> Failure {
    let reason = format!(
        "could not read the interfaces and routes of this machine: {error}; name a TARGET, and the \
         paths to test with --side"
    );
    Failure::usage("paths", reason)
}

fn warn(silent: bool, error: &io::Error) {
    if !silent {
        messages::warn(&format!(
            "could not read the interfaces and routes of this machine: {error}; paths are not \
             found automatically, and next hops are not shown"
        ));
    }
}
