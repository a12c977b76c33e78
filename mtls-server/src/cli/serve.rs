//! `mtls-server serve`.

use std::path::PathBuf;

use clap::value_parser;

use super::tls_server::TlsServerArgs;
use crate::error::Error;
use crate::service::InheritedSockets;
use crate::service::sandbox::Sandbox;
use crate::web::{Files, FilesOptions};

/// The options of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Directory to serve; index.html is the page of a directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// List directories that have no index.html
    #[arg(long)]
    pub index: bool,

    /// Serve and list names that begin with a dot too, not only /.well-known/
    #[arg(long)]
    pub hidden: bool,

    /// Disable compression, and ignore FILE.br and FILE.gz beside FILE
    #[arg(long)]
    pub no_compression: bool,

    /// Number of threads that may read files at a time, 1 to 256; further reads wait
    #[arg(
        long,
        value_name = "N",
        default_value = "64",
        value_parser = value_parser!(u16).range(1..=256),
        help_heading = "Limits"
    )]
    pub file_threads: u16,

    /// The options of all commands that terminate TLS.
    #[command(flatten)]
    pub server: TlsServerArgs,
}

impl ServeArgs {
    pub(super) async fn run(self, inherited: InheritedSockets) -> Result<(), Error> {
        let files = self.files()?;
        let activity = format!("serving {}", self.dir.display());
        self.server.serve(inherited, &activity, files, |_| {}).await
    }

    /// The files that it reads; `None` without a sandbox.
    pub(super) fn sandbox(&self) -> Option<Sandbox> {
        Some(self.server.sandbox()?.directory(&self.dir))
    }

    /// The errors that can be found without serving.
    pub(super) fn check(&self) -> Vec<Error> {
        let mut wrong = self.server.check();
        wrong.extend(self.files().err());
        wrong
    }

    fn files(&self) -> Result<Files, Error> {
        let options = FilesOptions {
            index: self.index,
            hidden: self.hidden,
            compress: !self.no_compression,
            threads: self.file_threads.into(),
        };
        let files = Files::new(&self.dir, options)?;
        let identity = &self.server.identity;
        // The file of the certificate may contain the key too.
        let with_key = |file: &&PathBuf| mtls_core::pem::private_key(file).is_ok();
        for key in identity
            .key
            .iter()
            .chain(&identity.smkex_key)
            .chain(identity.cert.iter().filter(with_key))
        {
            files.keep_out(key)?;
        }
        Ok(files)
    }
}
