//! The command `paths`: which ways lead out of this machine, and which two of them are two.

pub(crate) mod args;
mod findings;
pub(crate) mod settings;
mod text;
mod trial;

use std::io;

use mtls_core::path::survey::{Survey, pairs};
use tokio::time::timeout;

use self::findings::{Findings, NOT_KNOWN, SCHEMA};
use self::trial::Trial;
use crate::commands::paths::settings::Paths;
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::output::messages;
use crate::output::style::Style;
use crate::usage::UsageError;

/// Looks at the machine, and tries its ways against the target where there is one.
pub(crate) async fn paths(command: &Paths, settings: &Settings) -> Result<Exit, UsageError> {
    let survey = Survey::take();
    let (findings, failures) = match &command.target {
        None => (untried(survey.map_err(unknown)?)?, Vec::new()),
        Some(target) => {
            let survey = survey.map_err(|error| warn(settings, &error)).ok();
            let trial = Trial::new(command, settings, target, survey).run();
            let tried = match settings.max_time {
                None => Ok(trial.await),
                Some(limit) => timeout(limit, trial).await,
            };
            match tried {
                Ok(tried) => tried,
                Err(_) => {
                    let failure = Failure::max_time(&format!("trying paths to {target}"));
                    messages::error(&failure);
                    return Ok(failure.exit);
                }
            }
        }
    };
    let mut worst = Exit::Success;
    if let Err(failure) = tell(&findings, settings) {
        messages::error(&failure);
        worst = failure.exit;
    }
    for failure in &failures {
        messages::error(failure);
        worst = worst.or_worse(failure.exit);
    }
    Ok(worst)
}

/// What the routes alone tell.
fn untried(mut survey: Survey) -> Result<Findings, UsageError> {
    let candidates = survey.candidates(None).map_err(unknown)?;
    let pairs = pairs(&candidates, &survey.interfaces);
    Ok(Findings {
        schema: SCHEMA,
        interfaces: survey.interfaces,
        suggestion: findings::suggestion_untried(&pairs),
        candidates,
        target: None,
        paths: Vec::new(),
        pairs,
        not_known: NOT_KNOWN,
    })
}

fn tell(findings: &Findings, settings: &Settings) -> Result<(), Failure> {
    let text = match settings.json {
        true => serde_json::to_string(findings)
            .map(|line| line + "\n")
            .map_err(|error| unwritten(&error.into()))?,
        false => text::text(findings, Style::of(&io::stdout())),
    };
    messages::print(&text).map_err(|error| unwritten(&error))
}

fn unwritten(error: &io::Error) -> Failure {
    let message = format!("could not write what was found to standard output: {error}.");
    Failure::new(Exit::Write, "write-error", message)
}

fn unknown(error: io::Error) -> UsageError {
    let reason = format!(
        "the system does not tell its interfaces and routes: {error}; name a TARGET and, with \
         --side, the paths to try"
    );
    UsageError::new("paths", reason)
}

fn warn(settings: &Settings, error: &io::Error) {
    if !settings.silent {
        messages::warn(&format!(
            "the machine's own routes are not known, so no path is found by itself and no next \
             hop is told: {error}"
        ));
    }
}
