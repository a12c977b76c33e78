//! The command `get`: fetches https URLs over verified connections.

pub(crate) mod args;
mod body;
mod close_notify;
mod content;
mod decode;
mod facts;
mod fetch;
mod fields;
mod form;
mod head;
mod http;
mod http3;
mod payload;
mod progress;
mod redirect;
mod retry;
mod settings;
mod sink;
mod template;
mod write_out;

use std::io;

use tokio::time::Instant;

use self::args::Args;
use self::facts::Facts;
use self::fetch::Fetch;
use self::payload::Payload;
use self::settings::Get;
use self::template::{Stream, Template};
use crate::connect::client::{Client, HTTP_1};
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages::{self, Messages, Reports};
use crate::runtime;

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let output = args.connection.output.clone();
    let get = Get::new(&args, &output)?;
    let settings = super::settings(args.connection)?;
    runtime::block_on(output.verbose, fetch_all(&get, &settings))
}

/// Fetches one page after the other.
async fn fetch_all(get: &Get, settings: &Settings) -> Result<Exit, Failure> {
    let client = match get.http1 {
        true => Client::offering(settings, vec![HTTP_1.to_vec()])?,
        false => Client::new(settings)?,
    };
    let client = client.with_http3(&get.http3)?;
    let mut payload = Payload::open(&get.content)?;
    let reports = match settings.output.verbose {
        0 => Reports::None,
        _ => Reports::Stderr,
    };
    let messages = Messages::new(settings, reports);
    let max_time = settings.times.max_time;
    let until = max_time.map(|limit| Instant::now() + limit);
    let urls = get.pages.iter().map(|page| page.url.endpoint());
    let connections = urls.map(|endpoint| (endpoint, get.side_endpoint(endpoint)));
    messages.notices(&client.prefetch(connections, until).await);
    let mut worst = Exit::Success;
    for (number, page) in get.pages.iter().enumerate() {
        let fetch = Fetch::new(get, page, &client, messages, &mut payload);
        let facts = fetch.run(max_time, number).await;
        worst = worst.or_worse(facts.exit);
        if let Err(failure) = write_out(&get.write_out, &facts) {
            messages::error(&failure);
            worst = worst.or_worse(failure.exit);
        }
    }
    client.finish().await;
    Ok(worst)
}

fn write_out(template: &Template, facts: &Facts) -> Result<(), Failure> {
    for (stream, text) in write_out::rendered(template, facts) {
        match stream {
            Stream::Stdout => messages::print(&text).map_err(|error| not_written(&error))?,
            Stream::Stderr => messages::print_error(&text),
        }
    }
    Ok(())
}

fn not_written(error: &io::Error) -> Failure {
    let message = format!("could not write the output of --write-out to standard output: {error}");
    Failure::new(Exit::Write, "write-error", message)
}
