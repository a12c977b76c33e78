//! The target of forwarded requests.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use rustls::pki_types::ServerName;

/// The target of forwarded requests: `http://HOST:PORT`, `h2c://HOST:PORT` (HTTP/2 without TLS),
/// `https://HOST:PORT`, or `unix:PATH` (HTTP/1.1 over a socket in the file system).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    pub(crate) via: Via,
    /// Host and port; without meaning for a socket in the file system.
    authority: Authority,
}

/// The way to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Tcp { http2: bool },
    Tls(ServerName<'static>),
    Unix(PathBuf),
}

/// The reason why a text is no [`Target`].
///
/// ```
/// use mtls_server::{Target, TargetError};
///
/// let error = "ftp://127.0.0.1:21".parse::<Target>().unwrap_err();
/// assert!(matches!(error, TargetError::Scheme(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// Unknown scheme.
    Scheme(String),
    /// More than a host and a port.
    NotOnlyHost(String),
    /// Malformed host or port.
    Host(String),
    /// Plaintext to what may be another machine.
    Plaintext(String),
}

impl Target {
    /// Checks that plaintext stays on this machine.
    ///
    /// # Errors
    /// [`TargetError::Plaintext`].
    pub fn check_private(&self) -> Result<(), TargetError> {
        match self.is_private() {
            true => Ok(()),
            false => Err(TargetError::Plaintext(self.text.clone())),
        }
    }

    /// Whether the target is a socket in the file system.
    pub(crate) fn is_socket(&self) -> bool {
        matches!(self.via, Via::Unix(_))
    }

    /// Whether the target has a certificate to check.
    pub(crate) fn needs_roots(&self) -> bool {
        matches!(self.via, Via::Tls(_))
    }

    fn is_private(&self) -> bool {
        match &self.via {
            Via::Tls(_) | Via::Unix(_) => true,
            Via::Tcp { .. } => match self.host().parse::<IpAddr>() {
                Ok(address) => address.is_loopback(),
                Err(_) => self.is_localhost(),
            },
        }
    }

    /// Whether the host is a name of this machine (RFC 6761, section 6.3).
    pub(crate) fn is_localhost(&self) -> bool {
        let host = self.host().to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost")
    }

    pub(crate) fn http2(&self) -> bool {
        self.via == Via::Tcp { http2: true }
    }

    /// The URI of a request for `path`, as the client of hyper expects it.
    pub(crate) fn uri(&self, path: Option<&PathAndQuery>) -> Option<Uri> {
        let path = path.cloned();
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .ok()
    }

    fn host(&self) -> &str {
        strip_brackets(self.authority.host())
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err(TargetError::Host(text.to_owned())),
                false => Ok(Self {
                    text: text.to_owned(),
                    via: Via::Unix(path.into()),
                    authority: Authority::from_static("localhost:80"),
                }),
            };
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| TargetError::Scheme(text.to_owned()))?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains(['/', '?', '#', '@']) {
            return Err(TargetError::NotOnlyHost(text.to_owned()));
        }
        let bad_host = || TargetError::Host(text.to_owned());
        let authority = Authority::from_str(host).map_err(|_| bad_host())?;
        let default_port = match scheme {
            "http" | "h2c" => 80,
            "https" => 443,
            _ => return Err(TargetError::Scheme(text.to_owned())),
        };
        // `Authority` accepts any digits as a port, and none at all.
        let port = match host[authority.host().len()..].strip_prefix(':') {
            Some(port) => port.parse::<u16>().map_err(|_| bad_host())?,
            None => default_port,
        };
        let name = strip_brackets(authority.host());
        let via = match scheme {
            "https" => Via::Tls(ServerName::try_from(name.to_owned()).map_err(|_| bad_host())?),
            scheme => Via::Tcp {
                http2: scheme == "h2c",
            },
        };
        let full = format!("{}:{port}", authority.host());
        Ok(Self {
            text: text.to_owned(),
            via,
            authority: full.parse().map_err(|_| bad_host())?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(text) => write!(
                f,
                "cannot use the target `{text}`: unknown scheme; use http://HOST:PORT, h2c://HOST:PORT, \
                 https://HOST:PORT or unix:PATH"
            ),
            Self::NotOnlyHost(text) => write!(
                f,
                "cannot use the target `{text}`: it has more than a host and a port; leave the \
                 rest out, the client's path is forwarded unchanged"
            ),
            Self::Host(text) => write!(
                f,
                "cannot use the target `{text}`: it has no host or port that is valid; use HOST:PORT"
            ),
            Self::Plaintext(text) => write!(
                f,
                "cannot use the target {text}: it may be another machine, and the connection would not be \
                 encrypted; use https://, or --unsafe-target if the network between is trusted"
            ),
        }
    }
}

impl std::error::Error for TargetError {}

fn strip_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn only_plaintext_that_may_leave_the_machine_is_not_private() {
        for text in [
            "http://127.0.0.1:3000",
            "http://127.9.9.9",
            "http://[::1]:3000/",
            "http://localhost:1",
            "h2c://App.LocalHost",
            "https://example.org",
            "unix:/run/app.sock",
        ] {
            assert_eq!(target(text).check_private(), Ok(()), "{text}");
        }
        for text in [
            "http://192.0.2.1",
            "http://0.0.0.0:80",
            "h2c://example.org:50051",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://[::ffff:192.0.2.1]",
        ] {
            let refused = TargetError::Plaintext(text.to_owned());
            assert_eq!(target(text).check_private(), Err(refused), "{text}");
        }
    }

    #[test]
    fn a_path_is_forwarded_unchanged() {
        let path = PathAndQuery::from_static("/a%2fb?c=d");
        for (text, uri) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000/a%2fb?c=d"),
            ("https://example.org", "http://example.org:443/a%2fb?c=d"),
            ("h2c://[::1]", "http://[::1]:80/a%2fb?c=d"),
            ("unix:app.sock", "http://localhost:80/a%2fb?c=d"),
        ] {
            let made = target(text).uri(Some(&path)).expect("a URI");
            assert_eq!(made.to_string(), uri);
        }
    }

    #[test]
    fn an_invalid_target_is_refused_with_the_reason() {
        let scheme = |text: &str| TargetError::Scheme(text.to_owned());
        for text in ["", "127.0.0.1:3000", "ftp://x", "//x", "HTTP//x"] {
            assert_eq!(text.parse::<Target>(), Err(scheme(text)), "{text}");
        }
        for text in ["http://x/app", "http://x?y", "http://u@x", "https://x/#y"] {
            let refused = Err(TargetError::NotOnlyHost(text.to_owned()));
            assert_eq!(text.parse::<Target>(), refused, "{text}");
        }
        for text in [
            "http://",
            "unix:",
            "http://x:",
            "http://x:65536",
            "http://x:a",
            "http://[::1",
            "https://exa mple",
        ] {
            let refused = Err(TargetError::Host(text.to_owned()));
            assert_eq!(text.parse::<Target>(), refused, "{text}");
        }
    }
}
