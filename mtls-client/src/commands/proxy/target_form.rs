//! The parts of a request target that the HTTP library does not represent.

use std::borrow::Cow;

use hyper::Uri;
use mtls_core::path::{EndpointError, Host};

use crate::args::target::split_zone;

/// The parts of the target of a connection's first request that hyper does not represent. Later
/// requests are not read here: their OPTIONS without a path are treated as OPTIONS of `/`, and
/// hyper refuses their zones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetForm {
    /// OPTIONS of a URL without path and query (RFC 9112, section 3.2.4): hyper inserts `/`.
    server_wide: bool,
    /// The zone of a link-local address (RFC 6874), which is no part of a URI for hyper.
    zone: Option<String>,
}

impl TargetForm {
    /// Reads the first line of a head, and removes the zone from it.
    pub(super) fn take_from(head: &mut Vec<u8>) -> Self {
        let Some((method, target)) = absolute_form(head) else {
            return Self::default();
        };
        let authority = target.split_once("://").map_or("", |(_, rest)| rest);
        let server_wide = method == "OPTIONS" && !authority.contains(['/', '?', '#']);
        let (bare, zone) = split_zone(target);
        let (zone, start) = (zone.map(str::to_owned), method.len() + 1);
        if let (Cow::Owned(bare), end) = (bare, start + target.len()) {
            head.splice(start..end, bare.into_bytes());
        }
        Self { server_wide, zone }
    }

    pub(super) fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    /// The host of a URL, with the zone.
    pub(super) fn host(&self, host: &str) -> Result<Host, EndpointError> {
        match &self.zone {
            Some(zone) => format!("{}%{zone}]", host.trim_end_matches(']')).parse(),
            None => host.parse(),
        }
    }

    /// The target of a request to the origin server (RFC 9112, section 3.2).
    pub(super) fn origin_form(&self, uri: &Uri) -> Uri {
        if self.server_wide {
            return Uri::from_static("*");
        }
        let path = uri.path_and_query().cloned();
        path.map_or_else(|| Uri::from_static("/"), Uri::from)
    }
}

/// The method and the target of a request in absolute form (RFC 9112, section 3.2.2).
fn absolute_form(head: &[u8]) -> Option<(&str, &str)> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let scheme = target.get(..b"http://".len())?;
    scheme
        .eq_ignore_ascii_case("http://")
        .then_some((method, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_url_without_a_path_is_server_wide() {
        for (line, expected) in [
            ("OPTIONS http://a.test HTTP/1.1\r\n", true),
            ("OPTIONS HTTP://[::1]:80 HTTP/1.0\r\nX: /\r\n", true),
            ("OPTIONS http://a.test/ HTTP/1.1\r\n", false),
            ("OPTIONS http://a.test?x HTTP/1.1\r\n", false),
            ("OPTIONS * HTTP/1.1\r\n", false),
            ("GET http://a.test HTTP/1.1\r\n", false),
            ("", false),
        ] {
            let mut head = line.as_bytes().to_vec();
            let form = TargetForm::take_from(&mut head);
            assert_eq!(form.server_wide, expected, "{line}");
            assert_eq!(head, line.as_bytes(), "only a zone is removed");
        }
    }

    #[test]
    fn the_zone_of_a_url_is_moved_from_the_head_to_the_host() {
        for (target, bare, host) in [
            (
                "http://[fe80::1%25eth0]:81/a?[%]",
                "http://[fe80::1]:81/a?[%]",
                "[fe80::1%eth0]",
            ),
            (
                "HTTP://[fe80::1%eth0]",
                "HTTP://[fe80::1]",
                "[fe80::1%eth0]",
            ),
            (
                "http://[fe80::1]/%5b%25",
                "http://[fe80::1]/%5b%25",
                "[fe80::1]",
            ),
        ] {
            let rest = "HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n";
            let mut head = format!("GET {target} {rest}").into_bytes();
            let form = TargetForm::take_from(&mut head);
            let head = String::from_utf8(head).unwrap();
            assert_eq!(head, format!("GET {bare} {rest}"));
            let parsed = form.host("[fe80::1]").map(|host| host.to_string());
            assert_eq!(parsed.as_deref(), Ok(host), "{target}");
        }
    }
}
