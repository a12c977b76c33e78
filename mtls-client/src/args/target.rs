//! Targets: hosts and https URLs.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use mtls_core::path::{Endpoint, EndpointError, Host, HostName};
use url::{Position, Url};

const HTTPS_PORT: u16 = 443;

/// An https URL and its endpoint.
#[derive(Clone, Debug)]
pub(crate) struct HttpsUrl {
    url: Url,
    endpoint: Endpoint,
}

/// The reason why a text is not a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetError {
    NoScheme,
    NotHttps(String),
    Malformed(String),
    Credentials,
    Host(EndpointError),
}

impl HttpsUrl {
    /// Resolves a redirect's `Location` against this URL (RFC 9110, section 10.2.2). The same
    /// address keeps its zone: servers do not know the zones of this host.
    pub(crate) fn join(&self, location: &str) -> Result<Self, TargetError> {
        let url = self.url.join(location);
        let url = url.map_err(|error| TargetError::Malformed(error.to_string()))?;
        let mut joined = Self::new(url, None)?;
        if joined.url.host() == self.url.host() {
            joined.endpoint.host = self.endpoint.host.clone();
        }
        Ok(joined)
    }

    fn new(mut url: Url, zone: Option<&str>) -> Result<Self, TargetError> {
        if !url.has_host() {
            // `localhost:8443` is a URL of the scheme `localhost`.
            return Err(TargetError::NoScheme);
        }
        if url.scheme() != "https" {
            return Err(TargetError::NotHttps(url.scheme().into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        url.set_fragment(None);
        let host = match url.host() {
            Some(url::Host::Domain(name)) => HostName::new(name).map(Host::Name)?,
            Some(url::Host::Ipv4(ip)) => IpAddr::from(ip).into(),
            Some(url::Host::Ipv6(ip)) => match zone {
                Some(zone) => Host::Ip(format!("{ip}%{zone}").parse()?),
                None => IpAddr::from(ip).into(),
            },
            None => return Err(TargetError::Host(EndpointError::NoHost)),
        };
        let endpoint = Endpoint::new(host, url.port().unwrap_or(HTTPS_PORT));
        Ok(Self { url, endpoint })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The host, and the port unless it is the default: the value of `Host` and `:authority`.
    /// Without a zone, which has no meaning for another host.
    pub(crate) fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// The path and the query.
    pub(crate) fn path_and_query(&self) -> &str {
        &self.url[Position::BeforePath..]
    }

    /// The last segment of the path, if it is not empty.
    pub(crate) fn file_name(&self) -> Option<&str> {
        let name = self.url.path().rsplit('/').next();
        name.filter(|name| !name.is_empty())
    }

    /// Appends the name of a file to a path that ends with `/`.
    pub(crate) fn name_file(&mut self, name: &str) {
        if self.file_name().is_none()
            && let Ok(mut segments) = self.url.path_segments_mut()
        {
            segments.pop_if_empty().push(name);
        }
    }
}

/// Parses a URL from the command line. A link-local address may have a zone (RFC 6874), which the
/// URL standard does not define.
impl FromStr for HttpsUrl {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (bare, zone) = split_zone(text);
        match Url::parse(&bare) {
            Ok(url) => Self::new(url, zone),
            Err(_) if !text.contains("://") => Err(TargetError::NoScheme),
            Err(error) => Err(TargetError::Malformed(error.to_string())),
        }
    }
}

/// With the zone in the form of RFC 6874.
impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = match &self.endpoint.host {
            Host::Ip(address) => address.zone(),
            Host::Name(_) => None,
        };
        let Some(zone) = zone else {
            return self.url.fmt(f);
        };
        let host = self.url[Position::BeforeHost..Position::AfterHost].trim_end_matches(']');
        let (before, after) = (
            &self.url[..Position::BeforeHost],
            &self.url[Position::AfterHost..],
        );
        write!(f, "{before}{host}%25{zone}]{after}")
    }
}

/// Splits a URL into the URL without the zone of its address, and the zone.
pub(crate) fn split_zone(text: &str) -> (Cow<'_, str>, Option<&str>) {
    let authority = text.find("://").map(|scheme| scheme + 3);
    let zone = authority.and_then(|start| {
        let end = text[start..].find(['/', '?', '#', '\\']);
        let end = end.map_or(text.len(), |end| start + end);
        let open = start + text[start..end].find('[')?;
        let from = open + text[open..end].find('%')?;
        let to = from + text[from..end].find(']')?;
        Some((from, to))
    });
    match zone {
        None => (text.into(), None),
        Some((from, to)) => {
            let bare = format!("{}{}", &text[..from], &text[to..]);
            (bare.into(), Some(&text[from + 1..to]))
        }
    }
}

/// Parses `HOST`, `HOST:PORT` or an https URL, of which only host and port are used.
pub(crate) fn parse(text: &str) -> Result<Endpoint, TargetError> {
    if text.contains("://") {
        return text.parse().map(|url: HttpsUrl| url.endpoint);
    }
    match text.parse::<Host>() {
        Ok(host) => Ok(Endpoint::new(host, HTTPS_PORT)),
        Err(_) if text.contains(':') => Ok(text.parse()?),
        Err(error) => Err(error.into()),
    }
}

impl std::error::Error for TargetError {}

impl From<EndpointError> for TargetError {
    fn from(error: EndpointError) -> Self {
        Self::Host(error)
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => f.write_str("not an https URL; write https://HOST/"),
            Self::NotHttps(scheme) => {
                write!(f, "only https can be verified, not `{scheme}`")
            }
            Self::Malformed(reason) => write!(f, "not a URL: {reason}"),
            Self::Credentials => f.write_str(
                "user names and passwords in a URL are not supported; use --user or \
                 -H 'Authorization: …'",
            ),
            Self::Host(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_every_form_are_parsed() {
        for (text, endpoint) in [
            ("example.org", "example.org:443"),
            ("Example.ORG:8443", "example.org:8443"),
            ("192.0.2.1", "192.0.2.1:443"),
            ("::1", "[::1]:443"),
            ("[::1]", "[::1]:443"),
            ("[::1]:8443", "[::1]:8443"),
            ("https://example.org/a?b#c", "example.org:443"),
            ("https://[::1]:8443/", "[::1]:8443"),
            ("127.1", "127.0.0.1:443"),
            ("0x7f.1:8443", "127.0.0.1:8443"),
            ("https://[::ffff:192.0.2.1]/", "192.0.2.1:443"),
            ("Bücher.example", "xn--bcher-kva.example:443"),
            ("fe80::1%eth0", "[fe80::1%eth0]:443"),
            ("[fe80::1%25eth0]:8443", "[fe80::1%eth0]:8443"),
            (
                "https://[fe80::1%25eth0]:8443/%41?[%]",
                "[fe80::1%eth0]:8443",
            ),
            ("https://[fe80::1%eth0]", "[fe80::1%eth0]:443"),
        ] {
            let target = parse(text).map(|endpoint| endpoint.to_string());
            assert_eq!(target.as_deref(), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn other_targets_are_refused_with_the_remedy() {
        for (text, expected) in [
            ("", "host"),
            ("exa mple.org", "character"),
            ("example.org:", "port"),
            ("example.org:0", "port"),
            ("example.org:http", "port"),
            ("http://example.org/", "only https"),
            ("https://user:secret@example.org/", "-H"),
            ("https://", "URL"),
            ("https://[fe80::1%]/", "zone"),
            ("https://[fe80::1%25e/0]/", "URL"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_url_without_its_scheme_is_refused_with_the_remedy() {
        for text in ["example.org", "localhost:8443", "localhost:8443/path"] {
            let error = HttpsUrl::from_str(text).unwrap_err().to_string();
            assert!(error.contains("write https://"), "{text}: {error}");
        }
    }

    #[test]
    fn the_name_of_a_file_is_the_end_of_the_path() {
        for (text, name) in [
            ("https://example.org", None),
            ("https://example.org/a/", None),
            ("https://example.org/a/b.txt?c/d#e/f", Some("b.txt")),
            ("https://example.org/a/..", None),
            ("https://example.org/a/%2e%2E", None),
            ("https://example.org/a\\..\\b", Some("b")),
            ("https://example.org/..%2fb", Some("..%2fb")),
        ] {
            let mut url = HttpsUrl::from_str(text).unwrap();
            assert_eq!(url.file_name(), name, "{text}");
            url.name_file("über.txt");
            assert_eq!(url.file_name(), name.or(Some("%C3%BCber.txt")), "{text}");
        }
    }

    #[test]
    fn a_location_is_relative_to_its_request() {
        let url = HttpsUrl::from_str("https://example.org:8443/a/b?c#d").unwrap();
        assert_eq!(url.authority(), "example.org:8443");
        assert_eq!(url.path_and_query(), "/a/b?c");
        let joined = |location| url.join(location).map(|url| url.to_string());
        assert_eq!(joined("e").as_deref(), Ok("https://example.org:8443/a/e"));
        assert_eq!(joined("/e").as_deref(), Ok("https://example.org:8443/e"));
        assert_eq!(
            joined("//other.test/").as_deref(),
            Ok("https://other.test/")
        );
        assert_eq!(
            joined("http://example.org/"),
            Err(TargetError::NotHttps("http".into()))
        );
    }

    #[test]
    fn a_zone_is_kept_from_the_server_and_over_redirects() {
        let url = HttpsUrl::from_str("https://[fe80::1%25eth0]:8443/a?b").unwrap();
        assert_eq!(url.authority(), "[fe80::1]:8443");
        assert_eq!(url.to_string(), "https://[fe80::1%25eth0]:8443/a?b");
        for location in ["c", "https://[fe80::1]:9443/"] {
            let joined = url.join(location).unwrap().endpoint().host.to_string();
            assert_eq!(joined, "[fe80::1%eth0]", "{location}");
        }
        let other = url.join("https://[fe80::2]/").unwrap();
        assert_eq!(other.endpoint().to_string(), "[fe80::2]:443");
        let chosen_by_the_server = url.join("https://[fe80::1%25eth1]/");
        assert!(matches!(
            chosen_by_the_server,
            Err(TargetError::Malformed(_))
        ));
    }
}
