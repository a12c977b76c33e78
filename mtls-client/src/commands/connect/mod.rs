//! The command `connect`: connects standard input and output to a server.

pub(crate) mod args;
mod pipe;
mod standard;

use std::io::{self, IsTerminal};

use mtls_core::ClientStream;
use mtls_core::path::{Endpoint, Host, HostName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::args::Args;
use self::pipe::{Ending, InputMode, Pipe, PipeError};
use crate::args::resolve::ResolveOverride;
use crate::connect::channel_bindings::ChannelBindings;
use crate::connect::client::{Client, SideEndpoint};
use crate::connect::close::{close, shutdown};
use crate::connect::path_set::PathSet;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages::{self, Messages, Reports};
use crate::runtime;

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let mut settings = super::settings(args.connection)?;
    let target = match args.servername {
        Some(name) => named(&args.target, name, &mut settings.paths)?,
        None => args.target,
    };
    let command = Connect {
        target,
        brief: args.brief,
        protocols: args.alpn.into_iter().map(String::into_bytes).collect(),
        input: match (args.no_stdin, args.ignore_eof) {
            (true, _) => InputMode::None,
            (false, true) => InputMode::IgnoreEof,
            (false, false) => InputMode::Full,
        },
        settings: &settings,
    };
    runtime::block_on(settings.output.verbose, command.run())
}

/// The target under another name: each path uses the address for the name.
fn named(target: &Endpoint, name: HostName, paths: &mut PathSet) -> Result<Endpoint, Failure> {
    match &target.host {
        Host::Ip(address) => {
            let address = ResolveOverride::new(name.clone(), target.port, address.clone());
            paths.resolve(&address);
            Ok(Endpoint::new(Host::Name(name), target.port))
        }
        Host::Name(host) => Err(Failure::usage(
            "--servername",
            format_args!(
                "`{}` is a name, not an address; connect to {}:{} and give its address with \
                 --resolve",
                host.as_str(),
                name.as_str(),
                target.port
            ),
        )),
    }
}

struct Connect<'a> {
    target: Endpoint,
    brief: bool,
    protocols: Vec<Vec<u8>>,
    input: InputMode,
    settings: &'a Settings,
}

impl Connect<'_> {
    /// Connects, verifies, and then connects the standard streams to the server.
    async fn run(self) -> Result<Exit, Failure> {
        let client = Client::offering(self.settings, self.protocols.clone())?;
        let reports = match self.brief || self.settings.output.verbose > 0 {
            true => Reports::Stderr,
            false => Reports::None,
        };
        let messages = Messages::new(self.settings, reports).json_to_stderr();
        let max_time = self.settings.times.max_time;
        let until = max_time.map(|limit| Instant::now() + limit);
        let side_endpoint = SideEndpoint::Configured;
        let warnings = client.prefetch([(&self.target, side_endpoint)], until);
        messages.notices(&warnings.await);
        let connecting = client.connect(&self.target, side_endpoint, until);
        let (mut attempt, stream) = connecting.await;
        attempt.bindings = stream.as_ref().map(ChannelBindings::of);
        if let Err(failure) = messages.result(&attempt) {
            messages::error(&failure);
        }
        let exit = attempt.exit();
        let Some(stream) = stream else {
            return Ok(exit);
        };
        match self.pipe_until(stream, until).await {
            Ok(()) => Ok(exit),
            Err(failure) => {
                messages::error(&failure);
                Ok(exit.or_worse(failure.exit))
            }
        }
    }

    async fn pipe_until(
        &self,
        stream: ClientStream<TcpStream>,
        until: Option<Instant>,
    ) -> Result<(), Failure> {
        let piping = self.pipe(stream);
        match until {
            None => piping.await,
            Some(until) => timeout_at(until, piping).await.unwrap_or_else(|_| {
                let activity = format!("the connection to {} was open", self.target);
                Err(Failure::max_time(&activity))
            }),
        }
    }

    async fn pipe(&self, stream: ClientStream<TcpStream>) -> Result<(), Failure> {
        let reads = self.input != InputMode::None;
        let stdin = reads.then(standard::input).transpose();
        let stdin = stdin.map_err(|error| unreadable(&error))?;
        let stdout = standard::output().map_err(|error| unwritable(&error))?;
        let (from_server, to_server) = tokio::io::split(stream.into_inner());
        let mut pipe = Pipe::new(from_server, to_server);
        let piped = pipe.run(stdin, self.input, stdout, || self.server_ended());
        let piped = piped.await;
        let tls = pipe.from_server.unsplit(pipe.to_server);
        match piped {
            Ok(Ending::BothEnded) => close(tls).await,
            Ok(Ending::ReaderClosed) => shutdown(tls).await,
            // Without close_notify, so that the server detects the truncation.
            Err(PipeError::Stdin(_)) => close(tls.into_inner().0).await,
            Err(_) => {}
        }
        piped.map_err(|error| explain(&error, &self.target))?;
        Ok(())
    }

    fn server_ended(&self) {
        standard::close_output();
        let waits_for_keys = self.input == InputMode::Full && io::stdin().is_terminal();
        if waits_for_keys && !self.settings.output.silent {
            messages::note(&format!(
                "{} has closed its sending half; close yours with Ctrl-D",
                self.target
            ));
        }
    }
}

fn explain(error: &PipeError, target: &Endpoint) -> Failure {
    match error {
        PipeError::Stdin(error) => unreadable(error),
        PipeError::Stdout(error) => unwritable(error),
        PipeError::CutShort {
            received,
            server_knew_end,
            error,
        } => {
            let remedy = match (received, server_knew_end) {
                (0, true) => {
                    "some servers do not answer a client that has closed its sending half, which \
                     --ignore-eof prevents"
                }
                _ => "the data may be cut short, so request it again",
            };
            let message = format!(
                "connection to {target} lost after {received} bytes: {}; {remedy}",
                cause(error)
            );
            Failure::new(Exit::Receive, "receive-error", message)
        }
        PipeError::NotSent { accepted, error } => Failure::new(
            Exit::Send,
            "send-error",
            format!(
                "{target} closed the connection before standard input ended: {error}; it accepted \
                 at most {accepted} bytes"
            ),
        ),
    }
}

/// Shortens the text of rustls, which has three sentences and a link.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed it without close_notify".into(),
        _ => error.to_string(),
    }
}

fn unreadable(error: &io::Error) -> Failure {
    let message = format!(
        "could not read standard input: {error}; the data is cut short, which the server can \
         detect: use --no-stdin to send none"
    );
    Failure::new(Exit::Read, "read-error", message)
}

fn unwritable(error: &io::Error) -> Failure {
    let message = format!("could not write to standard output: {error}; redirect it with `>`");
    Failure::new(Exit::Write, "write-error", message)
}
