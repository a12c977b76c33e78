//! `mtls-server passthrough`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Endpoint;
use serde_json::json;

use super::common::{ListenArgs, PolicyArgs, StatusArgs};
use super::registry::RegistryArgs;
use crate::arguments::positive;
use crate::error::Error;
use crate::passthrough::{Passthrough, PassthroughOptions, TunnelLimits};
use crate::service::sandbox::Sandbox;
use crate::service::{InheritedSockets, Monitor, Program, Transport, open_files, print_line};

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-server passthrough --listen 192.0.2.7:443 --target 127.0.0.1:8443
      relay to nginx, HAProxy or any other TLS 1.3 server; TLS and side connections on one port
  mtls-server passthrough --listen 192.0.2.7:443 --side-listen 198.51.100.7:443 --target 127.0.0.1:8443
      accept side connections on an address in a second network too
  mtls-server passthrough --target 127.0.0.1:8443 --policy require
      refuse clients without a verified connection
  mtls-server passthrough --target 127.0.0.1:8443 --send-proxy
      send the clients' addresses to the target (nginx: listen 127.0.0.1:8443 ssl proxy_protocol)

Exit status: 0 stopped by a signal and drained, 1 failed (the message says why), 2 wrong command
line.";

/// The options of `passthrough`.
#[derive(Debug, clap::Args)]
pub struct PassthroughArgs {
    /// The listen addresses.
    #[command(flatten)]
    pub listen: ListenArgs,

    /// TLS 1.3 server to relay to
    #[arg(long, value_name = "HOST:PORT")]
    pub target: Endpoint,

    /// The policy.
    #[command(flatten)]
    pub policy: PolicyArgs,

    /// Send a PROXY protocol header (version 2) with the client's address before each connection;
    /// the target must expect it
    #[arg(long)]
    pub send_proxy: bool,

    /// Interval of the connections that check whether the target is up
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = positive)]
    pub health_interval: Duration,

    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,

    /// The status page.
    #[command(flatten)]
    pub status: StatusArgs,

    /// The limits.
    #[command(flatten)]
    pub limits: TunnelLimits,
}

impl PassthroughArgs {
    pub(super) async fn run(self, inherited: InheritedSockets) -> Result<(), Error> {
        let mut program = Program::begin(self.limits.shutdown_timeout, inherited)?;
        self.status.open(&mut program)?;
        self.registry.open(&mut program).await?;
        // The two ends of a tunnel.
        open_files::allow(self.limits.tunnels, 2, "--max-tunnels");
        let mut options = self.options(program.monitor());
        options.inherited = program.take_inherited();
        options.shares_registry = program.monitor().shares_registry();
        let passthrough = Passthrough::bind(options).await?;
        self.show(&passthrough, program.monitor());
        self.announce(&passthrough);
        program.run(|shutdown| passthrough.run(shutdown)).await
    }

    /// The files that it reads; `None` without a sandbox.
    pub(super) fn sandbox(&self) -> Option<Sandbox> {
        let sandbox = (!self.listen.no_sandbox).then(Sandbox::new)?;
        Some(self.registry.allow(sandbox.names()))
    }

    /// The errors that can be found without serving.
    pub(super) fn check(&self) -> Vec<Error> {
        self.status.check().err().into_iter().collect()
    }

    /// The addresses to listen on.
    pub(super) fn addresses(&self) -> Vec<(SocketAddr, Transport)> {
        self.listen.addresses(&self.status)
    }

    /// Connects the status page to the passthrough.
    fn show(&self, passthrough: &Passthrough, monitor: &Monitor) {
        let watch = passthrough.watch();
        monitor.set_backend(watch.clone());
        monitor.count_open(move || watch.open());
        monitor.count_accepted(passthrough.accepted_connections());
        monitor.describe(json!({
            "does": format!("passing through to {}", self.target),
            "policy": self.policy.policy,
            "listen": passthrough.local_addrs(),
            "side_listen": passthrough.side_addrs(),
        }));
    }

    fn options(&self, monitor: &Arc<Monitor>) -> PassthroughOptions {
        let sides = self.policy.side_settings(monitor);
        PassthroughOptions {
            listen: self.listen.listen.clone(),
            side_listen: self.listen.side_listen.clone(),
            mptcp: self.listen.mptcp,
            accept_proxy: self.listen.accept_proxy.clone(),
            send_proxy: self.send_proxy,
            health_interval: self.health_interval,
            limits: self.limits,
            ..PassthroughOptions::new(self.target.clone(), sides)
        }
    }

    fn announce(&self, passthrough: &Passthrough) {
        for address in passthrough.local_addrs() {
            print_line(format_args!(
                "passing through to {} on {address} (policy {})",
                self.target, self.policy.policy
            ));
        }
        for address in passthrough.side_addrs() {
            print_line(format_args!("side connections too on {address}"));
        }
    }
}
