//! The command `check`.

pub(crate) mod args;
mod progress;
mod table;
pub(crate) mod targets;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use mtls_core::ClientStream;
use mtls_core::path::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use self::progress::Progress;
use self::table::Table;
use crate::commands::check::targets::Check;
use crate::connect::attempt::Attempt;
use crate::connect::client::{Client, Whose};
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::output::messages::{self, Messages, Reports, Warnings};
use crate::usage::UsageError;

/// How long a server has to end a connection that was ended here.
const FAREWELL: Duration = Duration::from_millis(500);

/// Verifies all targets, and tells their verdicts in the order of the command line.
pub(crate) async fn check(command: &Check, settings: &Settings) -> Result<Exit, UsageError> {
    let round = Round {
        settings,
        client: Client::new(settings)?,
        messages: Messages::new(settings, Reports::Stdout),
        progress: Progress::new(command.targets.len(), settings),
        first: command.targets.first(),
    };
    let mut output = Output::new(command, settings, &round);
    let targets = command.targets.iter();
    let mut attempts =
        stream::iter(targets.map(|target| round.check(target))).buffered(command.jobs);
    while let Some(attempt) = attempts.next().await {
        output.take(attempt);
    }
    round.progress.end();
    Ok(output.end())
}

/// What the checks share that are under way.
struct Round<'a> {
    settings: &'a Settings,
    client: Client<'a>,
    messages: Messages<'a>,
    progress: Progress,
    first: Option<&'a Endpoint>,
}

impl Round<'_> {
    /// Connects, verifies, and parts. An interception is told at once, before those that were
    /// named earlier and take longer.
    async fn check(&self, target: &Endpoint) -> Attempt {
        let until = self.settings.max_time.map(|limit| Instant::now() + limit);
        let whose = match self.first {
            Some(first) if first == target => Whose::First,
            _ => Whose::Another,
        };
        let (attempt, stream) = self.client.connect(target, whose, until).await;
        self.progress.aside(|| self.messages.alarm(&attempt));
        if let Some(stream) = stream {
            let _ = timeout(FAREWELL, part(stream)).await;
        }
        self.progress.advance(&attempt);
        attempt
    }
}

/// Ends the connection in order: a server that requires verification sees a client that confirms
/// and then goes, not one that vanishes. What it still sends is thrown away.
async fn part(mut stream: ClientStream<TcpStream>) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut nothing = [0; 1024];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

/// What is told, in the order of the targets.
struct Output<'a> {
    round: &'a Round<'a>,
    /// For several targets, where nobody asked for more.
    table: Option<Table>,
    warnings: Warnings,
    /// What went wrong, told after the table.
    failures: Vec<Failure>,
    worst: Exit,
}

impl<'a> Output<'a> {
    fn new(command: &Check, settings: &Settings, round: &'a Round<'a>) -> Self {
        let is_table = command.targets.len() > 1 && !settings.json && settings.verbose == 0;
        Self {
            round,
            table: is_table.then(|| Table::new(&command.targets)),
            warnings: Warnings::default(),
            failures: Vec::new(),
            worst: Exit::Success,
        }
    }

    fn take(&mut self, attempt: Attempt) {
        self.worst = self.worst.or_worse(attempt.exit());
        let Round {
            messages, progress, ..
        } = self.round;
        let told = progress.aside(|| match &mut self.table {
            Some(table) => table.row(&attempt),
            None => messages.verdict(&attempt),
        });
        if let Err(failure) = told {
            self.note(failure);
        }
        self.warnings.take(&attempt);
        if attempt.evidence.is_none()
            && let Some(failure) = attempt.failure
        {
            self.note(failure);
        }
    }

    fn note(&mut self, failure: Failure) {
        self.worst = self.worst.or_worse(failure.exit);
        match self.table {
            Some(_) => self.failures.push(failure),
            None => self.round.progress.aside(|| messages::error(&failure)),
        }
    }

    fn end(mut self) -> Exit {
        if let Some(table) = &self.table
            && let Err(failure) = table.end()
        {
            self.note(failure);
        }
        for failure in &self.failures {
            messages::error(failure);
        }
        if !self.round.settings.silent {
            self.warnings.tell();
        }
        self.worst
    }
}
