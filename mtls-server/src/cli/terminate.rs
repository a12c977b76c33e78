//! `mtls-server terminate`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::tls_server::TlsServerArgs;
use crate::arguments::positive;
use crate::error::Error;
use crate::service::sandbox::Sandbox;
use crate::service::{Backend, Health, InheritedSockets, Program};
use crate::target::Target;
use crate::tls::{roots_from_file, system_roots};
use crate::web::{TargetLimits, Terminate, TerminateOptions};

/// Examples for the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-server terminate --target http://127.0.0.1:3000 --dev
      try it with a program on this machine
  mtls-server terminate --target unix:/run/app.sock --cert server.pem --key server.key \\
      --listen 0.0.0.0:443
      forward to a program that listens on a Unix socket
  mtls-server terminate --target h2c://127.0.0.1:50051 --cert server.pem --key server.key
      forward to a gRPC server
  mtls-server terminate --target https://app.internal:8443 --target-ca ca.pem \\
      --cert server.pem --key server.key
      forward to another machine over TLS

The target receives the verdict in the request field Multipath-Verdict, and the client's address in
X-Forwarded-For and Forwarded. Values of these fields from clients are dropped.";

/// The options of `terminate`.
#[derive(Debug, clap::Args)]
pub struct TerminateArgs {
    /// Target of the requests: http://HOST:PORT, h2c://HOST:PORT (HTTP/2 without TLS),
    /// https://HOST:PORT, or unix:PATH
    #[arg(long, value_name = "URL")]
    pub target: Target,

    /// Trust the CAs in this PEM file for an https target, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub target_ca: Option<PathBuf>,

    /// Allow plaintext to another machine: an attacker on the way can read and change requests
    #[arg(long)]
    pub unsafe_target: bool,

    /// With --status, interval of the connections that check whether the target is up
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = positive)]
    pub health_interval: Duration,

    /// The limits of requests to the target.
    #[command(flatten)]
    pub target_limits: TargetLimits,

    /// The options of all commands that terminate TLS.
    #[command(flatten)]
    pub server: TlsServerArgs,
}

impl TerminateArgs {
    pub(super) async fn run(self, inherited: InheritedSockets) -> Result<(), Error> {
        let terminate = self.terminate()?;
        let activity = format!("passing requests to {}", self.target);
        let interval = self.health_interval;
        let observe = |program: &mut Program| {
            program.background(terminate.clone().watch(interval));
            let health = Arc::clone(terminate.health());
            program.monitor().set_backend(TargetBackend(health));
        };
        self.server
            .serve(inherited, &activity, terminate.clone(), observe)
            .await
    }

    /// The files that it reads; `None` without a sandbox.
    pub(super) fn sandbox(&self) -> Option<Sandbox> {
        let mut sandbox = self.server.sandbox()?.names();
        if self.target.is_socket() {
            sandbox = sandbox.socket();
        }
        Some(match &self.target_ca {
            Some(file) => sandbox.file(file),
            None => sandbox,
        })
    }

    /// The errors that can be found without serving.
    pub(super) fn check(&self) -> Vec<Error> {
        let mut wrong = self.server.check();
        wrong.extend(self.terminate().err());
        wrong
    }

    fn terminate(&self) -> Result<Terminate, Error> {
        let mut options = TerminateOptions::new(self.target.clone());
        options.roots = match (self.target.needs_roots(), &self.target_ca) {
            (true, Some(file)) => roots_from_file(file)?,
            (true, None) => system_roots()?,
            (false, Some(_)) => return Err(Error::UnusedTargetCa),
            (false, None) => options.roots,
        };
        options.unsafe_target = self.unsafe_target;
        options.limits = self.target_limits;
        Terminate::new(options)
    }
}

/// The target, as the status page shows it.
struct TargetBackend(Arc<Health>);

impl Backend for TargetBackend {
    fn up(&self) -> Option<bool> {
        self.0.state().up
    }

    fn bytes(&self) -> Option<(u64, u64)> {
        None
    }

    fn status(&self) -> serde_json::Value {
        json!({ "health": self.0.state() })
    }
}
