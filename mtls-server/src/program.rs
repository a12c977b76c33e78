//! What the program does with its command line.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, ServeArgs};
use crate::dev::DevIdentity;
use crate::error::Error;
use crate::identity::Identity;
use crate::options::ServeOptions;
use crate::server::{Drained, Server};

/// Does what the command line says, with a runtime and a log of its own, and says on standard
/// error where it serves.
///
/// # Errors
/// Everything that can keep a server from starting, and [`Error::Interrupted`].
pub fn run(cli: Cli) -> Result<(), Error> {
    start_log(cli.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let result = match cli.command {
        Command::Serve(args) => runtime.block_on(serve(*args)),
    };
    // A read from a slow disk must not hold the end up.
    runtime.shutdown_background();
    result
}

async fn serve(args: ServeArgs) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Runtime)?;
    let prepared = prepare(&args)?;
    let server = Server::bind(prepared.options).await?;
    announce(&args, &server, prepared.dev.as_ref());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = server.run(async {
        // The sender going away means the same.
        let _ = stopped.await;
    });
    let until_second_signal = async {
        let name = signals.next().await;
        say(format_args!(
            "{name}: open requests may finish within {:?}; a second signal ends at once",
            args.limits.shutdown_timeout
        ));
        drop(stop);
        signals.next().await;
    };
    tokio::select! {
        drained = running => {
            if let Drained::CutOff(connections) = drained {
                say(format_args!("the time is over: connections cut off: {connections}"));
            }
            Ok(())
        }
        () = until_second_signal => Err(Error::Interrupted),
    }
}

/// What a command line turned out to mean.
struct Prepared {
    options: ServeOptions,
    dev: Option<DevIdentity>,
}

fn prepare(args: &ServeArgs) -> Result<Prepared, Error> {
    let (identity, dev) = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => (Identity::from_files(cert, key)?, None),
        // The command line has one or the other: --dev here.
        _ => {
            let dev = DevIdentity::mint(&args.listen, args.dev_ca.as_deref())?;
            (dev.identity().clone(), Some(dev))
        }
    };
    let options = ServeOptions {
        listen: args.listen.clone(),
        side_listen: args.side_listen.clone(),
        limits: args.limits.limits(),
        ..ServeOptions::new(&args.dir, identity, args.policy)
    };
    Ok(Prepared { options, dev })
}

fn announce(args: &ServeArgs, server: &Server, dev: Option<&DevIdentity>) {
    for address in server.local_addrs() {
        say(format_args!(
            "serving {} on https://{address}/ (policy {})",
            args.dir.display(),
            args.policy
        ));
    }
    for address in server.side_addrs() {
        say(format_args!("side connections too on {address}"));
    }
    if let Some(dev) = dev {
        let command = client_command(server.local_addr(), dev.ca_file());
        say(format_args!(
            "certificates for this run only; try:\n  {command}"
        ));
    }
}

fn client_command(address: SocketAddr, ca_file: &Path) -> String {
    let port = address.port();
    let url = match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("https://localhost:{port}/"),
        _ => format!("https://{address}/"),
    };
    format!("mtls-client get {url} --cacert {}", ca_file.display())
}

fn say(message: std::fmt::Arguments<'_>) {
    // Serving goes on when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "mtls-server: {message}");
}

fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "warn,mtls_core=debug,mtls_server=debug",
        _ => "debug,mtls_core=trace,mtls_server=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A program that embeds this one may have a log already: then that one is used.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // They would go to standard error as well, and panic when it is closed.
        .log_internal_errors(false)
        .try_init();
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
