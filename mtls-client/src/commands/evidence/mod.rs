//! The command `evidence`: lists, explains, checks and exports saved cases, without a network.

pub(crate) mod args;
mod export;
mod file;
mod list;
mod show;
mod trust;

use std::path::{Path, PathBuf};

use mtls_core::SavedHandshake;

use self::args::{Action, Args, TrustArgs};
use self::file::SavedCase;
use self::trust::Trust;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages;
use crate::output::time::utc;

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    match args.action {
        Action::List { dir, json } => list::run(&dir, json),
        Action::Show { file } => print(&show::text(&file::read(&file)?.bundle)),
        Action::Verify { files, trust } => verify(&files, trust),
        Action::Export { file, dir } => {
            export::run(&file::read(&file)?, &dir)?;
            print(&format!("Exported: {}\n", dir.display()))
        }
    }
}

fn print(text: &str) -> Result<Exit, Failure> {
    let written = messages::print(text);
    let failure = |error| {
        let message = format!("could not write to standard output: {error}");
        Failure::new(Exit::Write, "write-error", message)
    };
    written.map(|()| Exit::Success).map_err(failure)
}

/// Checks every file, and exits with the worst result.
fn verify(files: &[PathBuf], trust: TrustArgs) -> Result<Exit, Failure> {
    let trust = Trust::new(trust)?;
    let mut worst = Exit::Success;
    for path in files {
        match file::read(path) {
            Ok(case) => worst = worst.or_worse(report(path, &case, &trust)?),
            Err(failure) => {
                messages::error(&failure);
                worst = worst.or_worse(failure.exit);
            }
        }
    }
    Ok(worst)
}

/// Prints what a valid case proves. Certificates that are not trusted are the only problem that it
/// can have.
fn report(path: &Path, case: &SavedCase, trust: &Trust) -> Result<Exit, Failure> {
    let mut exit = Exit::Success;
    let bundle = &case.bundle;
    let mut text = format!(
        "{}: valid\n  No byte has changed since it was saved ({}).\n",
        path.display(),
        utc(bundle.unix_time)
    );
    for handshake in bundle.handshakes() {
        text += &format!("  {}: {}\n", handshake.path, signed(&handshake));
        let trusted = trust.check(bundle, &handshake);
        if trusted.is_err() {
            exit = Exit::NotTrusted;
        }
        let trusted = trusted.unwrap_or_else(|problem| problem);
        text += &format!("  {}: {trusted}\n", handshake.path);
    }
    if bundle.handshakes().next().is_none() {
        text += "  It has no certificates: a relay saw none.\n";
    }
    print(&text)?;
    Ok(exit)
}

fn signed(handshake: &SavedHandshake<'_>) -> String {
    match handshake.signature {
        Some(signature) => format!("the key of the certificate made the signature {signature}"),
        None => "no signature was kept, so the certificates are only the reporter's statement"
            .to_owned(),
    }
}
