//! `--resolve`: addresses for a host and port.

use std::str::FromStr;

use mtls_core::path::{Endpoint, Host, HostAddress, HostName, Path};

/// Addresses to use for a host and port: `HOST:PORT:ADDR[,ADDR]…`, as in curl.
#[derive(Clone, Debug)]
pub(crate) struct ResolveOverride {
    host: HostName,
    port: u16,
    addresses: Vec<HostAddress>,
}

impl ResolveOverride {
    pub(crate) fn new(host: HostName, port: u16, address: HostAddress) -> Self {
        Self {
            host,
            port,
            addresses: vec![address],
        }
    }

    /// The path with these addresses.
    pub(crate) fn apply(&self, path: Path) -> Path {
        self.addresses.iter().fold(path, |path, address| {
            path.resolve(self.host.clone(), self.port, address.clone())
        })
    }
}

impl FromStr for ResolveOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(addresses)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("expected HOST:PORT:ADDR, got `{text}`"));
        };
        let endpoint: Endpoint = format!("{host}:{port}")
            .parse()
            .map_err(|error| format!("expected HOST:PORT:ADDR, got `{text}`: {error}"))?;
        let Host::Name(host) = endpoint.host else {
            return Err(format!("`{host}` is an address; write a host name"));
        };
        let addresses = addresses.split(',').map(|address| match address.parse() {
            Ok(Host::Ip(address)) => Ok(address),
            _ => Err(format!("`{address}` is not an IP address")),
        });
        Ok(Self {
            host,
            port: endpoint.port,
            addresses: addresses.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_of_every_form_are_parsed() {
        for (text, addresses) in [
            ("example.org:443:192.0.2.1", 1),
            ("example.org:443:2001:db8::1", 1),
            ("example.org:443:[2001:db8::1]", 1),
            ("example.org:443:192.0.2.1,2001:db8::1", 2),
        ] {
            let parsed: ResolveOverride = text.parse().unwrap();
            assert_eq!(parsed.addresses.len(), addresses, "{text}");
            assert_eq!((parsed.host.as_str(), parsed.port), ("example.org", 443));
        }
    }
}
