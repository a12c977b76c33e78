//! Patterns of hosts, and the spellings of a host that they are matched against.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use mtls_core::path::Host;

/// A host in which `*` matches any characters, and an optional port: `*.example.org`,
/// `example.org:8443`, `192.168.*`, `[::1]`. In its canonical spelling, like [`Host`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    host: String,
    port: Option<u16>,
}

/// The spellings of a host, of which the canonical one is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spellings(Vec<String>);

impl Pattern {
    pub(super) fn specificity(&self) -> (bool, usize, bool) {
        let literal = self.host.chars().filter(|&c| c != '*').count();
        match literal == self.host.len() {
            // No pattern without `*` is more specific than another.
            true => (true, 0, self.port.is_some()),
            false => (false, literal, self.port.is_some()),
        }
    }

    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
            && glob_matches(self.host.as_bytes(), host.as_bytes())
    }

    /// The pattern without its zone: an interface has several names.
    pub(super) fn in_any_zone(&self) -> Cow<'_, Self> {
        match self.host.split_once('%') {
            None => Cow::Borrowed(self),
            Some((address, _)) => Cow::Owned(Self {
                host: format!("{address}]"),
                port: self.port,
            }),
        }
    }
}

impl Spellings {
    pub(super) fn of(host: &Host) -> Self {
        let canonical = host.to_string();
        match host {
            Host::Name(_) => Self(vec![canonical.trim_end_matches('.').to_owned()]),
            Host::Ip(address) => {
                let others = address_spellings(address.ip());
                Self(std::iter::once(canonical).chain(others).collect())
            }
        }
    }

    pub(super) fn canonical(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The spellings as an IPv6 address: short, with every group, and with every digit; without a zone.
fn address_spellings(ip: IpAddr) -> [String; 4] {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let groups = |write: fn(&u16) -> String| ip.segments().each_ref().map(write).join(":");
    [
        format!("[{ip}]"),
        format!("[{}]", short(ip)),
        format!("[{}]", groups(|group| format!("{group:x}"))),
        format!("[{}]", groups(|group| format!("{group:04x}"))),
    ]
}

/// Without the dotted form of IPv4-mapped addresses.
fn short(ip: Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => ip.to_string(),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err(format!(
                "`{text}` is not a host; write it without scheme and path"
            ));
        }
        let (host, port) = split_port(text)?;
        let host = match host {
            _ if !host.contains('*') => literal(host),
            _ if host.starts_with('[') => address_glob(host),
            _ => name_glob(host),
        };
        let host = host.map_err(|reason| format!("`{text}` is not a host: {reason}"))?;
        Ok(Self { host, port })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => {
            if host.contains(':') && !host.ends_with(']') {
                return Err(format!("write the IPv6 address in brackets: `[{text}]`"));
            }
            let number = port.parse().ok().filter(|&port: &u16| port != 0);
            let bad = || format!("`{port}` is not a port from 1 to 65535");
            Ok((host, Some(number.ok_or_else(bad)?)))
        }
        _ => Ok((text, None)),
    }
}

fn literal(host: &str) -> Result<String, String> {
    let parsed = host.parse::<Host>().map_err(|error| error.to_string())?;
    Ok(Spellings::of(&parsed).canonical().to_owned())
}

/// `[2001:db8:*]`, in hexadecimal; a zone stays as it is.
fn address_glob(host: &str) -> Result<String, String> {
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone.strip_prefix("25").unwrap_or(zone))),
        None => (host, None),
    };
    let allowed = |c: char| c.is_ascii_hexdigit() || "[]:*".contains(c);
    if !host.ends_with([']', '*']) || !address.chars().all(allowed) {
        return Err("write it as `[2001:db8:*]`, in hexadecimal".into());
    }
    let address = address.to_ascii_lowercase();
    Ok(match zone {
        Some(zone) => format!("{address}%{zone}"),
        None => address,
    })
}

fn name_glob(host: &str) -> Result<String, String> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c) || !c.is_ascii();
    if !host.chars().all(allowed) {
        return Err("write it with `*` for any characters, such as `*.example.org`".into());
    }
    let labels: Vec<_> = host.split('.').map(glob_label).collect::<Result<_, _>>()?;
    let old_number = |label: &String| label.len() > 1 && label.starts_with('0');
    let numbers = |label: &String| label.starts_with(|c: char| c.is_ascii_digit() || c == '*');
    if labels.iter().all(numbers) && labels.iter().any(old_number) {
        return Err(
            "write the numbers of an IPv4 address in decimal, without leading zeros".into(),
        );
    }
    Ok(labels.join("."))
}

/// Converts an international label to ASCII, which is not possible for a part of one.
fn glob_label(label: &str) -> Result<String, String> {
    if label.is_ascii() {
        return Ok(label.to_ascii_lowercase());
    }
    if label.contains('*') {
        return Err(format!(
            "`{label}` is a part of an international label; write its `xn--` form"
        ));
    }
    literal(label)
}

/// Whether the pattern matches. Backtracks to the last `*` only, so the time is at most proportional
/// to the product of both lengths.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_kept_in_the_canonical_spelling() {
        for (text, canonical) in [
            ("Example.ORG.", "example.org"),
            ("127.1", "127.0.0.1"),
            ("0x7f000001:443", "127.0.0.1:443"),
            ("[::FFFF:127.0.0.1]", "127.0.0.1"),
            ("[fe80::1%25eth0]", "[fe80::1%eth0]"),
            ("[FE80::*%25eth0]:8443", "[fe80::*%eth0]:8443"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("*.Bücher.Example.", "*.xn--bcher-kva.example"),
            ("192.168.*", "192.168.*"),
            ("[2001:DB8:*]", "[2001:db8:*]"),
        ] {
            let pattern: Result<Pattern, _> = text.parse();
            assert_eq!(
                pattern.map(|p| p.to_string()).as_deref(),
                Ok(canonical),
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_patterns_are_refused_with_the_reason() {
        for (text, expected) in [
            ("https://a.test", "without scheme"),
            ("a.test/", "without scheme"),
            ("", "not a host"),
            ("a test", "not a host"),
            ("a.test:0", "port"),
            ("a.test:http", "port"),
            ("::1", "brackets"),
            ("0177.0.*", "decimal"),
            ("0x7f.*", "decimal"),
            ("bü*.test", "xn--"),
            ("[::ffff:127.0.*]", "hexadecimal"),
            ("*%eth0", "not a host"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn stars_match_any_characters_and_cost_little() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYc", false),
            ("**", "x", true),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes()), expected);
        }
        let pattern = "*a".repeat(100) + "b";
        assert!(!glob_matches(pattern.as_bytes(), &[b'a'; 253]));
    }
}
