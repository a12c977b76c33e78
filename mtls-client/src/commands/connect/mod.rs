//! The command `connect`.

pub(crate) mod args;
mod pipe;
pub(crate) mod settings;
mod standard;

use std::io::IsTerminal;
use std::time::Duration;

use mtls_core::ClientStream;
use mtls_core::path::Endpoint;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use self::pipe::{Broken, Pipe};
use crate::commands::connect::settings::{Connect, Sending};
use crate::connect::channel_bindings::ChannelBindings;
use crate::connect::client::{Client, Whose};
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::output::messages::{self, Messages, Reports};
use crate::usage::UsageError;

/// How long a server may take to hear that nobody reads any more.
const FAREWELL: Duration = Duration::from_millis(500);

/// Connects, verifies, and then joins the standard streams to the server.
pub(crate) async fn connect(command: &Connect, settings: &Settings) -> Result<Exit, UsageError> {
    let client = Client::offering(settings, command.alpn.clone())?;
    let reports = match command.brief || settings.verbose > 0 {
        true => Reports::Stderr,
        false => Reports::Nowhere,
    };
    let messages = Messages::new(settings, reports).all_to_stderr();
    let until = settings.max_time.map(|limit| Instant::now() + limit);
    let (mut attempt, stream) = client.connect(&command.target, Whose::First, until).await;
    attempt.bindings = stream.as_ref().map(ChannelBindings::of);
    if let Err(failure) = messages.tell(&attempt) {
        messages::error(&failure);
    }
    let exit = attempt.exit();
    let Some(stream) = stream else {
        return Ok(exit);
    };
    let piping = pipe_standard_streams(stream, command, settings);
    let piped = match until {
        None => piping.await,
        Some(until) => timeout_at(until, piping).await.unwrap_or_else(|_| {
            let doing = format!("the connection to {} was open", command.target);
            Err(Failure::max_time(&doing))
        }),
    };
    match piped {
        Ok(()) => Ok(exit),
        Err(failure) => {
            messages::error(&failure);
            Ok(exit.or_worse(failure.exit))
        }
    }
}

async fn pipe_standard_streams(
    stream: ClientStream<TcpStream>,
    command: &Connect,
    settings: &Settings,
) -> Result<(), Failure> {
    let sends = command.sending != Sending::Nothing;
    let stdin = sends.then(standard::input).transpose();
    let stdin = stdin.map_err(|error| unreadable(&error))?;
    let stdout = standard::output().map_err(|error| unwritable(&error))?;
    let waits_for_keys =
        command.sending == Sending::All && !settings.silent && std::io::stdin().is_terminal();
    let tell_end = || {
        standard::close_output();
        if waits_for_keys {
            messages::hint(&format!(
                "{} has ended its side; end yours with Ctrl-D",
                command.target
            ));
        }
    };
    let (from_server, to_server) = tokio::io::split(stream.into_inner());
    let mut pipe = Pipe::new(from_server, to_server);
    pipe.run(stdin, command.sending, stdout, tell_end)
        .await
        .map_err(|broken| explain(&broken, &command.target))?;
    // Where nobody reads any more, or nothing was sent, the server has not heard of an end yet.
    let _ = timeout(FAREWELL, pipe.to_server.shutdown()).await;
    Ok(())
}

fn explain(broken: &Broken, target: &Endpoint) -> Failure {
    match broken {
        Broken::Stdin(error) => unreadable(error),
        Broken::Stdout(error) => unwritable(error),
        Broken::CutShort {
            received,
            told_end,
            error,
        } => {
            let advice = match (received, told_end) {
                (0, true) => {
                    "Some servers answer nobody who has ended: --ignore-eof does not tell them."
                }
                _ => "What came may be cut short; ask for it again.",
            };
            let message = format!(
                "the connection to {target} broke off after {received} bytes: {}. {advice}",
                cause(error)
            );
            Failure::new(Exit::Receive, "receive-error", message)
        }
        Broken::NotSent { accepted, error } => Failure::new(
            Exit::Send,
            "send-error",
            format!(
                "{target} ended the connection before standard input did: {error}. It took at \
                 most {accepted} bytes."
            ),
        ),
    }
}

/// rustls says in three sentences, with a link, what this says in one.
fn cause(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            "it closed without TLS's closing message (close_notify)".into()
        }
        _ => error.to_string(),
    }
}

fn unreadable(error: &std::io::Error) -> Failure {
    let message = format!(
        "could not read standard input: {error}. What was sent of it is cut short, and the server \
         can see that. With --no-stdin nothing is sent."
    );
    Failure::new(Exit::Read, "read-error", message)
}

fn unwritable(error: &std::io::Error) -> Failure {
    let message =
        format!("could not write to standard output: {error}. Send it elsewhere with `>`.");
    Failure::new(Exit::Write, "write-error", message)
}
