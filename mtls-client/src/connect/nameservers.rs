//! The nameservers of paths: `--dns`.

use std::sync::Arc;

use mtls_core::path::{MAX_NAMESERVERS, Nameserver, Path, PathKind};
use rustls::ClientConfig;

use super::roots;
use crate::args::TlsArgs;
use crate::args::dns::DnsServer;
use crate::failure::Failure;

/// The nameservers of all paths.
#[derive(Clone, Debug)]
pub(super) struct Nameservers {
    servers: Vec<DnsServer>,
    /// For DNS over TLS and over HTTPS.
    tls: Option<Arc<ClientConfig>>,
}

impl Nameservers {
    pub(super) fn new(servers: Vec<DnsServer>, tls: &TlsArgs) -> Result<Self, Failure> {
        let count = |path: &Option<PathKind>| servers.iter().filter(|s| s.path == *path).count();
        if servers
            .iter()
            .any(|server| count(&server.path) > MAX_NAMESERVERS)
        {
            let reason = format!("more than {MAX_NAMESERVERS} nameservers for one path; omit some");
            return Err(Failure::usage("--dns", reason));
        }
        let encrypted = |server: &DnsServer| !matches!(server.server, Nameserver::Plain(_));
        let config = servers.iter().any(encrypted);
        let config = config.then(|| roots::plain_config(tls)).transpose()?;
        Ok(Self {
            servers,
            tls: config,
        })
    }

    pub(super) fn apply(&self, path: Path) -> Path {
        let of = |kind: Option<&PathKind>| -> Vec<_> {
            let servers = self.servers.iter();
            let servers = servers.filter(|server| server.path.as_ref() == kind);
            servers.map(|server| server.server.clone()).collect()
        };
        let servers = match of(Some(path.kind())) {
            none if none.is_empty() => of(None),
            own => own,
        };
        let path = path.nameservers(servers);
        match &self.tls {
            Some(tls) => path.nameserver_tls(Arc::clone(tls)),
            None => path,
        }
    }

    /// Refuses a nameserver for a path that is not among these: another nameserver would resolve
    /// the names instead.
    pub(super) fn check_used(&self, paths: &[&Path]) -> Result<(), Failure> {
        let mut kinds = self
            .servers
            .iter()
            .filter_map(|server| server.path.as_ref());
        let is_used = |kind: &&PathKind| paths.iter().any(|path| path.kind() == *kind);
        match kinds.find(|kind| !is_used(kind)) {
            Some(kind) => Err(Failure::usage(
                "--dns",
                format_args!("`{kind}` is neither the path of --primary nor one of --side"),
            )),
            None => Ok(()),
        }
    }
}
