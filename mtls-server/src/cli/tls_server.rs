//! What every command that ends TLS is told, and does.

use std::net::SocketAddr;
use std::path::Path;

use super::common::{HttpArgs, IdentityArgs, LimitArgs, ListenArgs, PolicyArgs};
use crate::error::Error;
use crate::service::{Program, Server, ServerOptions, say};
use crate::tls::{Cause, ClientCa, DevIdentity, Reloaded, Reloader, ServerTls, TlsFiles};
use crate::web::{Respond, Site};

/// The options of a server that ends TLS, as typed.
#[derive(Debug, clap::Args)]
pub struct TlsServerArgs {
    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenArgs,

    /// Whose server it is, and whose clients.
    #[command(flatten)]
    pub identity: IdentityArgs,

    /// What to do with connections that are not verified.
    #[command(flatten)]
    pub policy: PolicyArgs,

    /// The bounds.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// The bounds of HTTP.
    #[command(flatten)]
    pub http: HttpArgs,
}

impl TlsServerArgs {
    /// Serves until a signal ends it. What it does is said for each address: "serving /srv/www".
    pub(super) async fn serve(self, does: &str, respond: impl Respond) -> Result<(), Error> {
        let mut program = Program::begin(self.limits.shutdown_timeout)?;
        let source = self.identity.source(&self.listen)?;
        let options = ServerOptions {
            listen: self.listen.listen.clone(),
            side_listen: self.listen.side_listen.clone(),
            limits: self.limits.limits(),
            ..ServerOptions::new(source.load()?, self.policy.policy)
        };
        let site = Site::new(respond, &self.http.limits());
        let server = Server::bind(options, site).await?;
        for address in server.local_addrs() {
            let policy = self.policy.policy;
            say(format_args!(
                "{does} on https://{address}/ (policy {policy})"
            ));
        }
        for address in server.side_addrs() {
            say(format_args!("side connections too on {address}"));
        }
        // For as long as its CA's file is to stay.
        let _dev = match source {
            TlsSource::Files(reloader) => {
                let (acceptor, hangup) = (server.acceptor().clone(), program.hangup());
                program.background(reloader.run(acceptor, hangup, say_reloaded));
                None
            }
            TlsSource::Dev(dev, _) => {
                let command = client_command(server.local_addr(), dev.ca_file());
                say(format_args!(
                    "certificates for this run only; try:\n  {command}"
                ));
                Some(dev)
            }
        };
        program.run(server).await
    }

    /// What can be told to be wrong without serving.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.identity.check()
    }
}

/// Where a server's TLS comes from.
enum TlsSource {
    Files(Box<Reloader>),
    Dev(Box<DevIdentity>, Option<ClientCa>),
}

impl TlsSource {
    fn load(&self) -> Result<ServerTls, Error> {
        match self {
            Self::Files(reloader) => reloader.load(),
            Self::Dev(dev, client_ca) => Ok(ServerTls {
                client_ca: client_ca.clone(),
                ..dev.identity().clone().into()
            }),
        }
    }
}

impl IdentityArgs {
    fn source(&self, listen: &ListenArgs) -> Result<TlsSource, Error> {
        if let Some(files) = self.files() {
            return Ok(TlsSource::Files(Box::new(Reloader::new(files))));
        }
        let client_ca = self.client_ca.as_deref();
        let client_ca = client_ca.map(ClientCa::from_file).transpose()?;
        let dev = DevIdentity::mint(&listen.listen, self.dev_ca.as_deref())?;
        Ok(TlsSource::Dev(Box::new(dev), client_ca))
    }

    /// `None` with --dev.
    fn files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: self.cert.clone()?,
            key: self.key.clone()?,
            client_ca: self.client_ca.clone(),
        })
    }

    fn check(&self) -> Result<(), Error> {
        match (self.files(), &self.client_ca) {
            (Some(files), _) => files.load().map(drop),
            (None, Some(client_ca)) => ClientCa::from_file(client_ca).map(drop),
            (None, None) => Ok(()),
        }
    }
}

fn say_reloaded(cause: Cause, reloaded: Reloaded) {
    let why = match cause {
        Cause::Asked => "SIGHUP",
        Cause::Changed => "the files have changed",
    };
    match reloaded {
        Reloaded::Fresh(tls) => say(format_args!(
            "{why}: new connections get the certificate that ends {}",
            tls.identity.ends()
        )),
        Reloaded::Kept(error) => say(format_args!(
            "{why}: nothing was reloaded, the certificate from before stays in use: {error}"
        )),
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
