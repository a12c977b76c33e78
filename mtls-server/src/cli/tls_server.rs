//! Arguments and actions of the commands that terminate TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes};
use hyper::{Request, Response};
use mtls_core::{MultipathAcceptor, Policy, SideServiceSettings};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tower_service::Service;

use super::advertise::AdvertiseArgs;
use super::common::{IdentityArgs, ListenArgs, PolicyArgs, StatusArgs};
use super::registry::RegistryArgs;
use crate::arguments::positive;
use crate::error::Error;
use crate::service::sandbox::Sandbox;
use crate::service::{
    InheritedSockets, Limits, Monitor, Program, Server, ServerOptions, Transport, notify,
    open_files, print_line,
};
use crate::tls::{
    Cause, ClientCa, DevIdentity, Reloaded, Reloader, ServerTls, TlsFiles, smkex_key,
};
use crate::web::{BoxError, HttpLimits, RequestBody, Site};

/// Sockets of a connection: its own, a second one to detect a disconnect, and one to a target.
const SOCKETS: u64 = 3;

/// The options of a server that terminates TLS.
#[derive(Debug, clap::Args)]
#[command(mut_arg("policy", |arg| arg.default_value_if("smkex", "true", "require")))]
pub struct TlsServerArgs {
    /// The listen addresses.
    #[command(flatten)]
    pub listen: ListenArgs,

    /// Serve HTTP/3 too, over QUIC on the UDP ports of the --listen addresses, and name it in the
    /// Alt-Svc field of other responses
    ///
    /// Clients verify QUIC connections over side connections to the TCP port of the same number.
    #[arg(long)]
    pub http3: bool,

    /// Port to name in Alt-Svc, where clients reach the UDP port under another number
    #[arg(long, value_name = "PORT", requires = "http3")]
    pub http3_port: Option<u16>,

    /// The identity of the server, and the CAs of its clients.
    #[command(flatten)]
    pub identity: IdentityArgs,

    /// The policy.
    #[command(flatten)]
    pub policy: PolicyArgs,

    /// Report a resumed session of a verified connection as verified, until this time after the
    /// verification (weaker)
    ///
    /// Clients with --inherit open no side connection for such a connection, and --policy require
    /// refuses it without this option. Verified handshakes are remembered in memory, and not by the
    /// other machines of a fleet.
    #[arg(long, value_name = "TIME", value_parser = positive, conflicts_with = "smkex")]
    pub inherit: Option<Duration>,

    /// The request to be remembered.
    #[command(flatten)]
    pub advertise: AdvertiseArgs,

    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,

    /// The status page.
    #[command(flatten)]
    pub status: StatusArgs,

    /// The limits.
    #[command(flatten)]
    pub limits: Limits,

    /// The limits of HTTP.
    #[command(flatten)]
    pub http: HttpLimits,
}

impl TlsServerArgs {
    /// Serves requests with `service` until a signal ends it. `activity` describes it in the log and
    /// on the status page: "serving /srv/www". With a status page, `observe` starts what that shows
    /// of the service.
    pub(super) async fn serve<S, B>(
        self,
        inherited: InheritedSockets,
        activity: &str,
        service: S,
        observe: impl FnOnce(&mut Program),
    ) -> Result<(), Error>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError> + Send,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut program = Program::begin(self.limits.shutdown_timeout, inherited)?;
        self.check_policy()?;
        let connections = self.limits.connections;
        open_files::allow(connections, SOCKETS, "--max-connections");
        self.status.open(&mut program)?;
        self.registry.open(&mut program).await?;
        let mut source = self.identity.source(&self.listen)?;
        let mut options = self.options(&mut source, program.monitor())?;
        options.inherited = program.take_inherited();
        options.shares_registry = program.monitor().shares_registry();
        let mut site = self.advertise.apply(Site::new(service, &self.http));
        if self.http3 {
            site = site.http3(self.http3_port);
        }
        let server = Server::bind(options, site).await?;
        self.show(activity, &server, program.monitor());
        self.announce(activity, &server);
        if self.status.status.is_some() {
            observe(&mut program);
        }
        // The file of its CA exists until this is dropped.
        let _dev = source.maintain(server.acceptor(), server.local_addr(), &mut program)?;
        program.run(|shutdown| server.run(shutdown)).await
    }

    fn options(
        &self,
        source: &mut TlsSource,
        monitor: &Arc<Monitor>,
    ) -> Result<ServerOptions, Error> {
        Ok(ServerOptions {
            listen: self.listen.listen.clone(),
            side_listen: self.listen.side_listen.clone(),
            mptcp: self.listen.mptcp,
            accept_proxy: self.listen.accept_proxy.clone(),
            limits: self.limits,
            inherit: self.inherit,
            http3: self.http3,
            ..source.options(self.policy.side_settings(monitor), monitor)?
        })
    }

    /// Connects the status page to the server.
    fn show<S>(&self, activity: &str, server: &Server<S>, monitor: &Monitor) {
        let open = server.open_connections();
        monitor.count_open(move || open.count());
        monitor.count_accepted(server.accepted_connections());
        monitor.describe(json!({
            "does": activity,
            "policy": self.policy.policy,
            "listen": server.local_addrs(),
            "side_listen": server.side_addrs(),
            "http3_listen": server.http3_addrs(),
        }));
    }

    fn announce<S>(&self, activity: &str, server: &Server<S>) {
        let policy = self.policy.policy;
        for address in server.local_addrs() {
            print_line(format_args!(
                "{activity} on https://{address}/ (policy {policy})"
            ));
        }
        for address in server.http3_addrs() {
            print_line(format_args!("HTTP/3 too on UDP {address}"));
        }
        for address in server.side_addrs() {
            print_line(format_args!("side connections too on {address}"));
        }
    }

    /// The files that these options name; `None` without a sandbox.
    pub(super) fn sandbox(&self) -> Option<Sandbox> {
        let sandbox = (!self.listen.no_sandbox).then(Sandbox::new)?;
        Some(self.registry.allow(self.identity.allow(sandbox)))
    }

    /// The errors that can be found without serving.
    pub(super) fn check(&self) -> Vec<Error> {
        let checks = [
            self.check_policy(),
            self.status.check(),
            self.identity.check(),
        ];
        checks.into_iter().filter_map(Result::err).collect()
    }

    /// The addresses to listen on.
    pub(super) fn addresses(&self) -> Vec<(SocketAddr, Transport)> {
        self.listen.addresses(&self.status)
    }

    fn check_policy(&self) -> Result<(), Error> {
        match (self.identity.smkex, self.policy.policy) {
            (false, _) | (true, Policy::Require) => Ok(()),
            (true, policy) => Err(Error::SmkexPolicy(policy)),
        }
    }
}

/// The source of a server's certificates.
enum TlsSource {
    Files(Box<Reloader>),
    Dev(Box<DevIdentity>, Option<ClientCa>),
    /// With the key of `--smkex-key`.
    Smkex(Option<PrivateKeyDer<'static>>),
}

impl TlsSource {
    fn options(
        &mut self,
        sides: SideServiceSettings,
        monitor: &Monitor,
    ) -> Result<ServerOptions, Error> {
        let tls = match self {
            Self::Files(reloader) => reloader.load()?,
            Self::Dev(dev, client_ca) => ServerTls {
                client_ca: client_ca.clone(),
                ..dev.identity().clone().into()
            },
            Self::Smkex(key) => {
                return Ok(ServerOptions {
                    sides,
                    ..ServerOptions::smkex(key.take())
                });
            }
        };
        monitor.set_certificate_end(tls.identity.not_after());
        Ok(ServerOptions::new(tls, sides))
    }

    /// Reloads files when they change, and prints a client command for certificates of this run.
    fn maintain(
        self,
        acceptor: &MultipathAcceptor,
        address: SocketAddr,
        program: &mut Program,
    ) -> Result<Option<Box<DevIdentity>>, Error> {
        Ok(match self {
            Self::Files(reloader) => {
                let (acceptor, hangup) = (acceptor.clone(), program.hangup());
                let monitor = Arc::clone(program.monitor());
                let done =
                    move |cause, reloaded: Reloaded| report_reload(&monitor, cause, &reloaded);
                let spawned = reloader.spawn(acceptor, hangup, done);
                spawned.map_err(Error::Runtime)?;
                None
            }
            Self::Smkex(_) => {
                let url = client_url(address);
                print_line(format_args!(
                    "no certificate, any client verifies over its side paths (SMKEX); try:\n  \
                     mtls-client get --smkex {url}"
                ));
                None
            }
            Self::Dev(dev, _) => {
                let command = client_command(address, dev.ca_file());
                print_line(format_args!(
                    "certificates for this run only; try:\n  {command}"
                ));
                Some(dev)
            }
        })
    }
}

impl IdentityArgs {
    fn source(&self, listen: &ListenArgs) -> Result<TlsSource, Error> {
        if self.smkex {
            let key = self.smkex_key.as_deref().map(smkex_key::open);
            return Ok(TlsSource::Smkex(key.transpose()?));
        }
        if let Some(files) = self.files() {
            return Ok(TlsSource::Files(Box::new(Reloader::new(files))));
        }
        let client_ca = self.client_ca.as_deref();
        let client_ca = client_ca.map(ClientCa::from_file).transpose()?;
        let dev = DevIdentity::mint(&listen.listen, self.dev_ca.as_deref())?;
        Ok(TlsSource::Dev(Box::new(dev), client_ca))
    }

    /// `None` with --dev and --smkex.
    fn files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: self.cert.clone()?,
            key: self.key.clone()?,
            client_ca: self.client_ca.clone(),
        })
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(file) = self.smkex_key.as_deref().filter(|file| file.exists()) {
            return smkex_key::open(file).map(drop);
        }
        match (self.files(), &self.client_ca) {
            (Some(files), _) => files.load().map(drop),
            (None, Some(client_ca)) => ClientCa::from_file(client_ca).map(drop),
            (None, None) => Ok(()),
        }
    }
}

fn report_reload(monitor: &Monitor, cause: Cause, reloaded: &Reloaded) {
    if cause == Cause::Signal {
        notify::ready();
    }
    monitor.count_reload(matches!(reloaded, Reloaded::Fresh(_)));
    let why = match cause {
        Cause::Signal => "SIGHUP",
        Cause::Changed => "the files have changed",
    };
    match reloaded {
        Reloaded::Fresh(tls) => {
            monitor.set_certificate_end(tls.identity.not_after());
            print_line(format_args!(
                "{why}: new connections get the certificate that ends {}",
                tls.identity.ends()
            ));
        }
        Reloaded::Kept(error) => print_line(format_args!(
            "{why}: nothing was reloaded, the certificate from before stays in use: {error}"
        )),
    }
}

fn client_command(address: SocketAddr, ca_file: &Path) -> String {
    let url = client_url(address);
    format!("mtls-client get {url} --cacert {}", ca_file.display())
}

fn client_url(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("https://localhost:{port}/"),
        _ => format!("https://{address}/"),
    }
}
