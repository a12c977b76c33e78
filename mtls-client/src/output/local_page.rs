//! Parts and rules of pages that show private data to the user of this host.

use hyper::Uri;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use mtls_core::path::Host;

/// The style that the pages share.
pub(crate) const STYLE: &str = include_str!("page/style.css");
pub(crate) const ICON: &str = include_str!("page/icon.svg");

const HARDENING: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src \
         'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// Forbids everything that a page does not need.
pub(crate) fn harden(headers: &mut HeaderMap) {
    for (name, value) in HARDENING {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
}

/// Whether the request names this host, by an address, `localhost` or `name`. A name that an
/// attacker's DNS can point here is refused: their script would have the origin of the page.
pub(crate) fn is_for_this_host(uri: &Uri, headers: &HeaderMap, name: &str) -> bool {
    let named = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => {
            let host = headers.get(header::HOST);
            host.and_then(|host| host.to_str().ok())
        }
    };
    let authority = named.and_then(|named| named.parse::<Authority>().ok());
    let host = authority.and_then(|authority| authority.host().parse::<Host>().ok());
    match host {
        Some(Host::Ip(_)) => true,
        Some(Host::Name(host)) => host.as_str() == name || host.as_str() == "localhost",
        None => false,
    }
}

/// Whether another site loads the page. A link to it is allowed.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let same = matches!(value("sec-fetch-site"), None | Some("same-origin" | "none"));
    !same && value("sec-fetch-mode") != Some("navigate")
}
