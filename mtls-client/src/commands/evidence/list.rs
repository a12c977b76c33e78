//! `evidence list`: the cases in a directory.

use std::path::Path;

use mtls_core::{EvidenceBundle, EvidenceReason};
use serde::Serialize;

use super::{file, print};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages;
use crate::output::style::Style;
use crate::output::table::Table;
use crate::output::text::printable;
use crate::output::time::utc;

/// One case as JSON.
#[derive(Serialize)]
struct Line<'a> {
    file: String,
    unix_time: u64,
    kind: &'static str,
    target: &'a str,
    reason: &'a str,
}

/// Lists the cases; the exit status is that of the worst file.
pub(super) fn run(dir: &Path, json: bool) -> Result<Exit, Failure> {
    let mut table = Table::new(["TIME", "TARGET", "CASE", "REASON", "FILE"]);
    let mut lines = String::new();
    let mut worst = Exit::Success;
    for path in file::in_dir(dir)? {
        let bundle = match file::read(&path) {
            Ok(case) => case.bundle,
            Err(failure) => {
                messages::error(&failure);
                worst = worst.or_worse(failure.exit);
                continue;
            }
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let line = Line {
            file: name.clone().into_owned(),
            unix_time: bundle.unix_time,
            kind: kind(&bundle),
            target: &bundle.target,
            reason: &bundle.reason,
        };
        if let Ok(line) = serde_json::to_string(&line) {
            lines += &(line + "\n");
        }
        let cells = [&bundle.target, &bundle.reason, &*name].map(|text| printable(text).into());
        let [target, reason, name] = cells;
        table.row([
            utc(bundle.unix_time).into(),
            target,
            kind(&bundle).into(),
            reason,
            name,
        ]);
    }
    if !json {
        lines.clear();
        table.write(&mut lines, Style::of(&std::io::stdout()));
    }
    print(&lines)?;
    Ok(worst)
}

/// `interception` or `suspicion`.
pub(super) fn kind(bundle: &EvidenceBundle) -> &'static str {
    match bundle.finding() {
        Some(EvidenceReason::Interception(_)) => "interception",
        Some(EvidenceReason::Resumption(_)) => "suspicion",
        _ => "unknown",
    }
}
