//! The command `get`.

pub(crate) mod args;
mod close_notify;
mod decode;
mod facts;
mod fetch;
mod fields;
mod form;
mod http;
mod payload;
mod progress;
mod redirect;
mod retry;
pub(crate) mod settings;
mod sink;
mod template;
mod write_out;

use std::io::{self, Write};

use crate::commands::get::settings::Get;
use crate::commands::get::template::{Stream, Template};
use crate::connect::client::{Client, HTTP_1};
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::output::messages::{self, Messages, Reports};
use crate::usage::UsageError;

use self::facts::Facts;
use self::fetch::Fetch;
use self::payload::Payload;

/// Fetches one page after the other.
pub(crate) async fn get(command: &Get, settings: &Settings) -> Result<Exit, UsageError> {
    let client = match command.http1 {
        true => Client::offering(settings, vec![HTTP_1.to_vec()])?,
        false => Client::new(settings)?,
    };
    let mut payload = match Payload::open(&command.payload) {
        Ok(payload) => payload,
        Err(failure) => {
            messages::error(&failure);
            return Ok(failure.exit);
        }
    };
    let reports = match settings.verbose {
        0 => Reports::Nowhere,
        _ => Reports::Stderr,
    };
    let messages = Messages::new(settings, reports);
    let mut worst = Exit::Success;
    for (number, page) in command.pages.iter().enumerate() {
        let fetch = Fetch::new(command, page, &client, messages, &mut payload);
        let facts = fetch.run(settings.max_time, number).await;
        worst = worst.or_worse(facts.exit);
        if let Err(failure) = write_out(&command.write_out, &facts) {
            messages::error(&failure);
            worst = worst.or_worse(failure.exit);
        }
    }
    Ok(worst)
}

fn write_out(template: &Template, facts: &Facts) -> Result<(), Failure> {
    for (stream, text) in write_out::told(template, facts) {
        match stream {
            Stream::Stdout => messages::print(&text).map_err(|error| not_written(&error))?,
            // Whoever does not read standard error need not.
            Stream::Stderr => drop(io::stderr().lock().write_all(text.as_bytes())),
        }
    }
    Ok(())
}

fn not_written(error: &io::Error) -> Failure {
    let message = format!("could not write to standard output what --write-out asks for: {error}.");
    Failure::new(Exit::Write, "write-error", message)
}
