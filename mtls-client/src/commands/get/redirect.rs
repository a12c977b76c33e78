//! Redirects: their target, and the request that follows (RFC 9110, section 15.4).

use hyper::header::{HeaderMap, LOCATION};
use hyper::{Method, StatusCode};
use percent_encoding::{CONTROLS, percent_encode};

use crate::args::target::{HttpsUrl, TargetError};
use crate::exit::Exit;
use crate::failure::Failure;

/// The maximum number of redirects.
pub(super) const MAX_REDIRECTS: usize = 10;

/// A method, and whether the request has the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) method: Method,
    pub(super) with_body: bool,
}

/// The target of a redirect from `from`. `None` if the response is not a redirect: it has another
/// status, or a `Location` that is missing, empty or not a URL.
///
/// # Errors
/// If the target is a URL that cannot be followed.
pub(super) fn target(
    from: &HttpsUrl,
    status: StatusCode,
    fields: &HeaderMap,
) -> Result<Option<HttpsUrl>, TargetError> {
    let location = fields
        .get(LOCATION)
        .map_or(&b""[..], |value| value.as_bytes());
    if !is_redirect(status) || location.is_empty() {
        return Ok(None);
    }
    // The encoding of bytes above 127 is unknown, so each byte is kept.
    let location = percent_encode(location, CONTROLS).to_string();
    match from.join(&location) {
        Ok(target) => Ok(Some(target)),
        Err(TargetError::Malformed(_) | TargetError::Host(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Step {
    /// The request to the target of the redirect.
    pub(super) fn redirected(self, status: StatusCode) -> Self {
        let becomes_get = match status.as_u16() {
            // As in curl and browsers: RFC 9110, sections 15.4.2 and 15.4.3.
            301 | 302 => self.method == Method::POST,
            303 => self.method != Method::HEAD,
            _ => false,
        };
        match becomes_get {
            true => Self {
                method: Method::GET,
                with_body: false,
            },
            false => self,
        }
    }
}

/// The failure of a redirect to a URL that cannot be followed.
pub(super) fn not_followed(url: &HttpsUrl, error: &TargetError) -> Failure {
    let message = format!(
        "could not follow the redirect from {url}: {error}; omit --location to see the response"
    );
    Failure::new(Exit::UnsupportedProtocol, "unsupported-redirect", message)
}

/// The failure of more than [`MAX_REDIRECTS`] redirects.
pub(super) fn too_many(next: &HttpsUrl) -> Failure {
    let message = format!(
        "could not fetch the page: more than {MAX_REDIRECTS} redirects, the last to {next}"
    );
    Failure::new(Exit::TooManyRedirects, "too-many-redirects", message)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn methods_and_bodies_after_a_redirect_are_those_of_the_standard() {
        let table = [
            // method, status, method of the next request, and whether it has the body
            ("GET", 301, "GET", true),
            ("GET", 303, "GET", false),
            ("HEAD", 301, "HEAD", true),
            ("HEAD", 303, "HEAD", true),
            ("POST", 301, "GET", false),
            ("POST", 302, "GET", false),
            ("POST", 303, "GET", false),
            ("POST", 307, "POST", true),
            ("POST", 308, "POST", true),
            ("PUT", 301, "PUT", true),
            ("PUT", 302, "PUT", true),
            ("PUT", 303, "GET", false),
            ("PUT", 307, "PUT", true),
            ("DELETE", 302, "DELETE", true),
            ("DELETE", 303, "GET", false),
        ];
        for (method, status, expected, with_body) in table {
            let step = Step {
                method: method.parse().unwrap(),
                with_body: true,
            };
            let next = step.redirected(StatusCode::from_u16(status).unwrap());
            assert_eq!(
                (next.method.as_str(), next.with_body),
                (expected, with_body),
                "{method} {status}"
            );
        }
    }

    #[test]
    fn other_statuses_are_not_redirects() {
        for status in [200, 201, 300, 304, 305, 306, 309, 400] {
            assert!(!is_redirect(StatusCode::from_u16(status).unwrap()));
        }
    }

    fn redirected_to(location: &[u8]) -> Result<Option<String>, TargetError> {
        let from = HttpsUrl::from_str("https://a.test/b/c").unwrap();
        let mut fields = HeaderMap::new();
        fields.insert(LOCATION, location.try_into().unwrap());
        let target = target(&from, StatusCode::FOUND, &fields)?;
        Ok(target.map(|url| url.to_string()))
    }

    #[test]
    fn each_byte_of_a_location_that_is_not_ascii_is_percent_encoded() {
        for (location, expected) in [
            (&b"/\xe9"[..], "https://a.test/%E9"),
            (b"d?\xff\x80=1", "https://a.test/b/d?%FF%80=1"),
            ("/é".as_bytes(), "https://a.test/%C3%A9"),
            (b"/%e9%C3%A9", "https://a.test/%e9%C3%A9"),
            (
                "https://bücher.test/".as_bytes(),
                "https://xn--bcher-kva.test/",
            ),
        ] {
            let target = redirected_to(location);
            assert_eq!(target, Ok(Some(expected.to_owned())), "{location:?}");
        }
    }

    #[test]
    fn a_location_that_is_empty_or_not_a_url_is_not_a_redirect() {
        for location in [
            &b""[..],
            b"https://",
            b"https://[::1",
            b"https://a.test:port/",
            b"https://a.test:99999/",
            b"https://a b/",
            b"https://\xff\xfe/",
            b"https://a..test/",
            b"https://1.2.3.4.5/",
        ] {
            assert_eq!(redirected_to(location), Ok(None), "{location:?}");
        }
        let from = HttpsUrl::from_str("https://a.test/").unwrap();
        assert!(matches!(
            target(&from, StatusCode::FOUND, &HeaderMap::new()),
            Ok(None)
        ));
    }

    #[test]
    fn a_url_that_cannot_be_followed_is_an_error() {
        for location in [
            &b"http://a.test/"[..],
            b"ftp://a.test/",
            b"https://u:p@a.test/",
        ] {
            assert!(redirected_to(location).is_err(), "{location:?}");
        }
    }
}
