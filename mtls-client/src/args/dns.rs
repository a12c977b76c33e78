//! `--dns`: a nameserver, for one path or for all.

use std::str::FromStr;

use mtls_core::path::{Nameserver, NameserverError, PathKind, PathSpecError};

/// A nameserver from the command line: `[PATH=]ADDR`.
#[derive(Clone, Debug)]
pub(crate) struct DnsServer {
    /// `None`: every path without its own nameserver.
    pub(crate) path: Option<PathKind>,
    pub(crate) server: Nameserver,
}

impl FromStr for DnsServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The address of a nameserver has no `=`.
        let (path, server) = match text.rsplit_once('=') {
            Some((path, server)) => (Some(path), server),
            None => (None, text),
        };
        let path = path.map(str::parse).transpose();
        Ok(Self {
            path: path.map_err(|error: PathSpecError| error.to_string())?,
            server: server
                .parse()
                .map_err(|error: NameserverError| error.to_string())?,
        })
    }
}
