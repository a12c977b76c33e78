//! The command `check`: verifies servers without sending a request.

pub(crate) mod args;
mod progress;
mod table;
pub(crate) mod targets;

use futures_util::{StreamExt, stream};
use mtls_core::path::Endpoint;
use tokio::time::Instant;

use self::args::Args;
use self::progress::Progress;
use self::table::Table;
use crate::args::http3::Http3Args;
use crate::connect::attempt::Attempt;
use crate::connect::client::{Client, SideEndpoint};
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages::{self, Messages, Reports, Warnings};
use crate::runtime;

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let mut settings = super::settings(args.connection)?;
    settings.known_hosts.try_always();
    let mut targets = args.targets;
    for file in &args.input {
        targets.extend(targets::read(file)?);
    }
    let verbose = settings.output.verbose;
    let (jobs, http3) = (args.jobs.into(), args.http3);
    runtime::block_on(verbose, check(&targets, jobs, &http3, &settings))
}

/// Verifies all targets, `jobs` at a time, and reports in the order of the command line.
async fn check(
    targets: &[Endpoint],
    jobs: usize,
    http3: &Http3Args,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let checker = Checker {
        settings,
        client: Client::new(settings)?.with_http3(http3)?,
        messages: Messages::new(settings, Reports::Stdout),
        progress: Progress::new(targets.len(), settings),
        first: targets.first(),
    };
    let mut output = Output::new(targets, &checker);
    let checks = targets.iter().map(|target| checker.check(target));
    let mut attempts = stream::iter(checks).buffered(jobs);
    while let Some(attempt) = attempts.next().await {
        output.write(attempt);
    }
    checker.progress.end();
    checker.client.finish().await;
    Ok(output.end())
}

/// The state that concurrent checks share.
struct Checker<'a> {
    settings: &'a Settings,
    client: Client<'a>,
    messages: Messages<'a>,
    progress: Progress,
    first: Option<&'a Endpoint>,
}

impl Checker<'_> {
    /// Connects, verifies and closes. An interception is reported at once, before slower targets
    /// that precede it on the command line.
    async fn check(&self, target: &Endpoint) -> Attempt {
        let max_time = self.settings.times.max_time;
        let until = max_time.map(|limit| Instant::now() + limit);
        let side_endpoint = match self.first {
            Some(first) if first == target => SideEndpoint::Configured,
            _ => SideEndpoint::Target,
        };
        let warnings = self.client.prefetch([(target, side_endpoint)], until).await;
        let connecting = self.client.connect_any(target, side_endpoint, until);
        let (mut attempt, connection) = connecting.await;
        attempt.notices.extend(warnings);
        self.progress.suspend(|| self.messages.alarm(&attempt));
        // A server that requires verification sees a client that confirms and then closes.
        if let Some(connection) = connection {
            connection.close().await;
        }
        self.progress.advance(&attempt);
        attempt
    }
}

/// The output, in the order of the targets.
struct Output<'a> {
    checker: &'a Checker<'a>,
    /// For several targets, unless --json or --verbose selects reports.
    table: Option<Table>,
    warnings: Warnings,
    /// Failures to write after the table.
    failures: Vec<Failure>,
    worst: Exit,
}

impl<'a> Output<'a> {
    fn new(targets: &[Endpoint], checker: &'a Checker<'a>) -> Self {
        let options = &checker.settings.output;
        let is_table = targets.len() > 1 && !options.json && options.verbose == 0;
        Self {
            checker,
            table: is_table.then(|| Table::new(targets)),
            warnings: Warnings::default(),
            failures: Vec::new(),
            worst: Exit::Success,
        }
    }

    fn write(&mut self, attempt: Attempt) {
        self.worst = self.worst.or_worse(attempt.exit());
        let Checker {
            messages, progress, ..
        } = self.checker;
        let written = progress.suspend(|| {
            messages.notices(&attempt.notices);
            match &mut self.table {
                Some(table) => table.row(&attempt),
                None => messages.verdict(&attempt),
            }
        });
        if let Err(failure) = written {
            self.fail(failure);
        }
        self.warnings.add(&attempt);
        if attempt.evidence.is_none()
            && let Some(failure) = attempt.failure
        {
            self.fail(failure);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.worst = self.worst.or_worse(failure.exit);
        match self.table {
            Some(_) => self.failures.push(failure),
            None => self.checker.progress.suspend(|| messages::error(&failure)),
        }
    }

    fn end(mut self) -> Exit {
        if let Some(table) = &self.table
            && let Err(failure) = table.end()
        {
            self.fail(failure);
        }
        for failure in &self.failures {
            messages::error(failure);
        }
        if !self.checker.settings.output.silent {
            self.warnings.write();
        }
        self.worst
    }
}
