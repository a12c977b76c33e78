//! The command `hosts`: lists, removes and copies known hosts.

pub(crate) mod args;
mod text;

use std::io;

use mtls_core::known_hosts::{FileStore, KnownHostsError, Listed};
use mtls_core::path::Endpoint;

use self::args::{Args, HostsCommand};
use crate::args::input_file::InputFile;
use crate::connect::failure::unusable_known_hosts;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages;
use crate::output::style::Style;

/// The largest file to import, in bytes.
const MAX_IMPORT: u64 = 4 << 20;

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        HostsCommand::List { json, file } => list(&*file.required()?, json),
        HostsCommand::Show { hosts, file } => show(&*file.required()?, &hosts),
        HostsCommand::Forget { hosts, file } => forget(&*file.required()?, &hosts),
        HostsCommand::Export { file } => export(&*file.required()?),
        HostsCommand::Import { from, file } => import(&*file.required()?, &from),
    }
}

fn list(store: &FileStore, json: bool) -> Result<Exit, Failure> {
    let hosts = store.list().map_err(unusable)?;
    let text = match json {
        true => text::json(&hosts).map_err(|error| not_written(&error.into()))?,
        false => text::table(&hosts, Style::of(&io::stdout())),
    };
    print(&text)?;
    report(store);
    Ok(Exit::Success)
}

fn show(store: &FileStore, hosts: &[Endpoint]) -> Result<Exit, Failure> {
    let listed = store.list().map_err(unusable)?;
    let mut worst = Exit::Success;
    for host in hosts {
        match listed.iter().find(|listed| is_of(listed, host)) {
            Some(listed) => print(&text::details(listed, Style::of(&io::stdout())))?,
            None => worst = worst.or_worse(not_known(store, host)),
        }
    }
    report(store);
    Ok(worst)
}

fn forget(store: &FileStore, hosts: &[Endpoint]) -> Result<Exit, Failure> {
    let mut worst = Exit::Success;
    for host in hosts {
        match store.remove(host).map_err(unusable)? {
            true => messages::note(&format!("{host} is forgotten")),
            false => worst = worst.or_worse(not_known(store, host)),
        }
    }
    report(store);
    Ok(worst)
}

fn export(store: &FileStore) -> Result<Exit, Failure> {
    print(&store.export().map_err(unusable)?)?;
    report(store);
    Ok(Exit::Success)
}

fn import(store: &FileStore, from: &InputFile) -> Result<Exit, Failure> {
    let text = from
        .read_text(MAX_IMPORT)
        .map_err(|error| Failure::usage("FILE", format_args!("{from}: {error}")))?;
    let count = store.import(&text).map_err(|error| {
        let message = format!("could not import {from}: {error}");
        Failure::new(Exit::KnownHost, "known-hosts-unusable", message)
    })?;
    messages::note(&format!("{count} hosts imported from {from}"));
    report(store);
    Ok(Exit::Success)
}

/// Reports that a host has no entry.
fn not_known(store: &FileStore, host: &Endpoint) -> Exit {
    let file = store.file().display();
    let message = format!("{host} is not known: {file} has no entry of it; see `hosts list`");
    let failure = Failure::usage("HOST", message);
    messages::error(&failure);
    failure.exit
}

/// A final dot is ignored, as the store does.
fn is_of(listed: &Listed, host: &Endpoint) -> bool {
    let bare = |endpoint: &Endpoint| endpoint.host.to_string().trim_end_matches('.').to_owned();
    listed.host.port == host.port && bare(&listed.host) == bare(host)
}

fn report(store: &FileStore) {
    for notice in store.take_notices() {
        messages::warn(&notice.to_string());
    }
}

fn print(text: &str) -> Result<(), Failure> {
    messages::print(text).map_err(|error| not_written(&error))
}

fn not_written(error: &io::Error) -> Failure {
    let message = format!("could not write the known hosts to standard output: {error}");
    Failure::new(Exit::Write, "write-error", message)
}

fn unusable(error: KnownHostsError) -> Failure {
    unusable_known_hosts(&error)
}
