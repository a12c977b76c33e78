//! `--dns`: the nameservers of paths.

use std::sync::Arc;

use mtls_core::path::{MAX_NAMESERVERS, Nameserver, Path, PathKind};
use rustls::ClientConfig;

use crate::connect::settings::Roots;

use crate::connect::roots;
use crate::usage::UsageError;

/// The nameservers that were named.
#[derive(Clone, Debug)]
pub(crate) struct Nameservers {
    named: Vec<Named>,
    /// For those with TLS.
    tls: Option<Arc<ClientConfig>>,
}

/// A nameserver, and the path that it is for; `None`: every path without one of its own.
#[derive(Clone, Debug)]
struct Named {
    path: Option<PathKind>,
    server: Nameserver,
}

impl Nameservers {
    pub(crate) fn understand(texts: &[String], trusted: &Roots) -> Result<Self, UsageError> {
        let named = texts.iter().map(|text| Named::parse(text));
        let named = named.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let of_path =
            |path: &Option<PathKind>| named.iter().filter(|named| named.path == *path).count();
        if named
            .iter()
            .any(|named| of_path(&named.path) > MAX_NAMESERVERS)
        {
            return Err(wrong(format!(
                "more than {MAX_NAMESERVERS} nameservers for one path; leave some of them out"
            )));
        }
        let encrypted = |named: &Named| !matches!(named.server, Nameserver::Plain(_));
        let tls = named
            .iter()
            .any(encrypted)
            .then(|| roots::nameserver_config(trusted));
        Ok(Self {
            tls: tls.transpose()?,
            named,
        })
    }

    pub(crate) fn apply(&self, path: Path) -> Path {
        let of = |kind: Option<&PathKind>| -> Vec<_> {
            let named = self.named.iter();
            let named = named.filter(|named| named.path.as_ref() == kind);
            named.map(|named| named.server.clone()).collect()
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

    /// Refuses a nameserver for a path that is not among these: its name would be resolved by
    /// another one.
    pub(crate) fn check_used(&self, paths: &[&Path]) -> Result<(), UsageError> {
        let kinds = self.named.iter().filter_map(|named| named.path.as_ref());
        let is_used = |kind: &&PathKind| paths.iter().any(|path| path.kind() == *kind);
        match kinds.into_iter().find(|kind| !is_used(kind)) {
            Some(kind) => Err(wrong(format!(
                "`{kind}` is neither the path of --primary nor one of --side"
            ))),
            None => Ok(()),
        }
    }
}

impl Named {
    /// Parses `[PATH=]ADDR`. No nameserver has a `=`.
    fn parse(text: &str) -> Result<Self, String> {
        let (path, server) = match text.rsplit_once('=') {
            Some((path, server)) => (Some(path), server),
            None => (None, text),
        };
        let path = path.map(str::parse).transpose();
        Ok(Self {
            path: path.map_err(|error: mtls_core::path::PathSpecError| error.to_string())?,
            server: server
                .parse()
                .map_err(|error: mtls_core::path::NameserverError| error.to_string())?,
        })
    }
}

fn wrong(reason: String) -> UsageError {
    UsageError::new("--dns", reason)
}
