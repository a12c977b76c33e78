//! Requests that no service receives: a service could understand them in another way than this
//! server, or than a proxy in front of it.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use mtls_core::page::Notice;
use mtls_core::tower::Media;

use crate::web::framing;

/// The reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// RFC 9112, section 3.2; RFC 9113, section 8.3.1; RFC 9114, section 4.3.1.
    Host,
    /// RFC 9112, section 3.2.
    Target,
    /// RFC 9112, section 6.1: the HTTP library decodes `chunked` alone.
    TransferCoding,
}

impl Malformed {
    /// The response, after which a connection of HTTP/1.1 ends.
    pub(super) fn response<B>(self, request: &Request<B>) -> Response<Full<Bytes>> {
        let (status, text) = match self {
            Self::Host => (
                StatusCode::BAD_REQUEST,
                "The request names no host, more than one, or a malformed one.",
            ),
            Self::Target => (
                StatusCode::BAD_REQUEST,
                "The path of the request does not begin with a slash.",
            ),
            Self::TransferCoding => (
                StatusCode::NOT_IMPLEMENTED,
                "The server knows no other transfer coding than chunked.",
            ),
        };
        let media = Media::negotiate(request.headers(), &[Media::Text, Media::Html]);
        let mut response = Notice { status, text }.response(request.method(), media);
        if request.version() <= Version::HTTP_11 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
}

/// Checks the host, the path and the transfer coding of a request.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Malformed> {
    if !has_one_host(request) {
        return Err(Malformed::Host);
    }
    if !has_path(request.method(), request.uri()) {
        return Err(Malformed::Target);
    }
    match framing::is_chunked(request.headers()) {
        None | Some(true) => Ok(()),
        Some(false) => Err(Malformed::TransferCoding),
    }
}

fn has_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, authority) = (hosts.next(), request.uri().authority());
    if hosts.next().is_some() || authority.is_some_and(|authority| !is_valid(authority)) {
        return false;
    }
    match host {
        None => request.version() != Version::HTTP_11,
        Some(host) if host.is_empty() => true,
        Some(host) => match (host_of(host), authority) {
            (None, _) => false,
            // In HTTP/1.1 the one in the request line applies (RFC 9112, section 3.2.2).
            (Some(host), Some(authority)) if request.version() >= Version::HTTP_2 => {
                host == *authority
            }
            (Some(_), _) => true,
        },
    }
}

/// The valid value of `Host`.
pub(in crate::web) fn host_of(value: &HeaderValue) -> Option<Authority> {
    let authority = Authority::try_from(value.as_bytes()).ok()?;
    is_valid(&authority).then_some(authority)
}

/// A host and a port, without a user. The URI library accepts any text as a port.
fn is_valid(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port = text.get(authority.host().len()..).unwrap_or_default();
    let port = port.strip_prefix(':').unwrap_or(port);
    !text.contains('@') && (port.is_empty() || is_port(port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// A path, or `*` for OPTIONS. The URI library also reads `GET example.org HTTP/1.1`, which names a host
/// and no path.
fn has_path(method: &Method, uri: &Uri) -> bool {
    let names_only_host = uri.scheme().is_none() && uri.authority().is_some();
    match *method {
        Method::CONNECT => true,
        Method::OPTIONS if uri.path() == "*" => true,
        _ => uri.path().starts_with('/') && !names_only_host,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::TRANSFER_ENCODING;
    use hyper::http::request::Builder;

    use super::*;

    fn checked(request: Builder) -> Result<(), Malformed> {
        check(&request.body(()).expect("a request"))
    }

    fn of(version: Version, uri: &str, hosts: &[&str]) -> Result<(), Malformed> {
        let mut request = Request::get(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        checked(request)
    }

    #[test]
    fn a_request_names_one_valid_host() {
        const ABSOLUTE: &str = "https://example.org/";
        for (version, uri, hosts) in [
            (Version::HTTP_11, "/", &["example.org"][..]),
            (Version::HTTP_11, "/", &["[2001:db8::7]:8443"]),
            (Version::HTTP_11, "/", &["example.org:"]),
            (Version::HTTP_11, "/", &[""]),
            (Version::HTTP_11, ABSOLUTE, &["other.example"]),
            (Version::HTTP_10, "/", &[]),
            (Version::HTTP_2, ABSOLUTE, &[]),
            (Version::HTTP_2, ABSOLUTE, &["EXAMPLE.org"]),
            (Version::HTTP_3, "/", &["example.org"]),
        ] {
            assert_eq!(
                of(version, uri, hosts),
                Ok(()),
                "{version:?} {uri} {hosts:?}"
            );
        }
        for (version, uri, hosts) in [
            (Version::HTTP_11, "/", &[][..]),
            (Version::HTTP_11, ABSOLUTE, &[]),
            (Version::HTTP_11, ABSOLUTE, &["a b"]),
            (Version::HTTP_10, "/", &["a", "a"]),
            (Version::HTTP_11, "/", &["a", "b"]),
            (Version::HTTP_11, "/", &["a b"]),
            (Version::HTTP_11, "/", &["a/b"]),
            (Version::HTTP_11, "/", &["user@a"]),
            (Version::HTTP_11, "/", &["a:b"]),
            (Version::HTTP_11, "/", &["a:+1"]),
            (Version::HTTP_11, "/", &["a:65536"]),
            (Version::HTTP_11, "/", &["[::1"]),
            (Version::HTTP_2, "https://user@example.org/", &[]),
            (Version::HTTP_2, "https://example.org:b/", &[]),
            (Version::HTTP_2, ABSOLUTE, &["other.example"]),
            (Version::HTTP_3, ABSOLUTE, &["example.org:8443"]),
        ] {
            let refused = Err(Malformed::Host);
            assert_eq!(
                of(version, uri, hosts),
                refused,
                "{version:?} {uri} {hosts:?}"
            );
        }
    }

    #[test]
    fn only_connect_and_options_have_no_path() {
        let uri = |method: Method, uri: &str| {
            checked(Request::builder().method(method).uri(uri).header(HOST, "a"))
        };
        for (method, target) in [
            (Method::GET, "/"),
            (Method::GET, "/a?b"),
            (Method::GET, "//a"),
            (Method::GET, "http://a"),
            (Method::OPTIONS, "*"),
            (Method::OPTIONS, "/"),
            (Method::CONNECT, "a:443"),
        ] {
            assert_eq!(uri(method, target), Ok(()), "{target}");
        }
        for (method, target) in [
            (Method::GET, "a"),
            (Method::GET, "a:80"),
            (Method::GET, "*"),
            (Method::OPTIONS, "a"),
        ] {
            assert_eq!(uri(method, target), Err(Malformed::Target), "{target}");
        }
    }

    #[test]
    fn a_body_is_encoded_once_as_chunks_alone() {
        let coded = |codings: &[&str]| {
            let mut request = Request::post("/").header(HOST, "a");
            for coding in codings {
                request = request.header(TRANSFER_ENCODING, *coding);
            }
            checked(request)
        };
        for codings in [&[][..], &["chunked"], &["Chunked"]] {
            assert_eq!(coded(codings), Ok(()), "{codings:?}");
        }
        for codings in [
            &["gzip, chunked"][..],
            &["identity, chunked"],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["gzip", "chunked"],
            &["xchunked"],
            &["chunked;q=1"],
            &[""],
        ] {
            let refused = Err(Malformed::TransferCoding);
            assert_eq!(coded(codings), refused, "{codings:?}");
        }
    }
}
