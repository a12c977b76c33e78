//! `mtls-server serve`.

use std::path::PathBuf;

use super::common::{HttpArgs, IdentityArgs, LimitArgs, ListenArgs, PolicyArgs};
use crate::error::Error;
use crate::service::{Program, Server, ServerOptions, say};
use crate::web::{Files, Site};

/// The options of `serve`, as typed.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The directory; index.html stands for a directory, and nothing is ever listed
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenArgs,

    /// Whose server it is.
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

impl ServeArgs {
    pub(super) async fn run(self) -> Result<(), Error> {
        let program = Program::begin(self.limits.shutdown_timeout)?;
        let loaded = self.identity.load(&self.listen)?;
        let files = self.files()?;
        let options = ServerOptions {
            listen: self.listen.listen.clone(),
            side_listen: self.listen.side_listen.clone(),
            limits: self.limits.limits(),
            ..ServerOptions::new(loaded.identity.clone(), self.policy.policy)
        };
        let site = Site::new(files, &self.http.limits());
        let server = Server::bind(options, site).await?;
        self.announce(&server);
        loaded.announce(server.local_addr());
        program.run(server).await
    }

    /// What can be told to be wrong without serving.
    pub(super) fn check(&self) -> Vec<Error> {
        let checks = [self.identity.check(), self.files().map(drop)];
        checks.into_iter().filter_map(Result::err).collect()
    }

    fn files(&self) -> Result<Files, Error> {
        let files = Files::new(&self.dir)?;
        if let Some(key) = &self.identity.key {
            files.keep_out(key)?;
        }
        Ok(files)
    }

    fn announce<H: crate::service::Handler>(&self, server: &Server<H>) {
        for address in server.local_addrs() {
            say(format_args!(
                "serving {} on https://{address}/ (policy {})",
                self.dir.display(),
                self.policy.policy
            ));
        }
        for address in server.side_addrs() {
            say(format_args!("side connections too on {address}"));
        }
    }
}
