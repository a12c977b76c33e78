use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls_pki_types::DnsName;

use crate::InvalidHostName;

/// A name that a server certificate can carry: a DNS name, one with a leading `*.`, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    text: String,
    pub(crate) kind: HostKind,
}

/// The kind of a subject alternative name (RFC 5280, section 4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostKind {
    Dns,
    Ip(IpAddr),
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self {
                text: address.to_string(),
                kind: HostKind::Ip(address),
            });
        }
        let stem = text.strip_prefix("*.").unwrap_or(text);
        // A subject alternative name has no trailing dot (RFC 5280, section 4.2.1.6), but
        // `DnsName` allows one.
        match DnsName::try_from(stem) {
            Ok(_) if !stem.ends_with('.') => Ok(Self {
                text: text.to_owned(),
                kind: HostKind::Dns,
            }),
            _ => Err(InvalidHostName {
                text: text.to_owned(),
            }),
        }
    }
}

impl AsRef<str> for HostName {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<HostKind> {
        text.parse::<HostName>().ok().map(|host| host.kind)
    }

    #[test]
    fn addresses_and_dns_names_are_told_apart() {
        assert_eq!(kind("127.0.0.1"), Some(HostKind::Ip([127, 0, 0, 1].into())));
        assert_eq!(
            kind("::1"),
            Some(HostKind::Ip(std::net::Ipv6Addr::LOCALHOST.into()))
        );
        assert_eq!(kind("localhost"), Some(HostKind::Dns));
        assert_eq!(kind("*.example.com"), Some(HostKind::Dns));
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.example.com",
            "localhost:443",
            "https://localhost",
            "[::1]",
            "a b",
            "example.com.",
            "1.2.3",
            "bücher.example",
            "fe80::1%eth0",
        ] {
            assert_eq!(kind(text), None, "{text:?} was accepted");
        }
    }
}
