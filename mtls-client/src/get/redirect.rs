//! What is asked for after a redirect (RFC 9110, section 15.4).

use hyper::{Method, StatusCode};

/// A method, and whether the request carries the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) with_body: bool,
}

/// Whether the status sends the client somewhere else.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Ask {
    /// What is asked for at the new place.
    pub(super) fn redirected(self, status: StatusCode) -> Self {
        let becomes_get = match status.as_u16() {
            // As every client does, and curl: RFC 9110, sections 15.4.2 and 15.4.3.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_bodies_after_a_redirect_are_those_of_the_standard() {
        let table = [
            // method, status, and what is asked for then: a body only where it says so
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
            let ask = Ask {
                method: method.parse().unwrap(),
                with_body: true,
            };
            let next = ask.redirected(StatusCode::from_u16(status).unwrap());
            assert_eq!(
                (next.method.as_str(), next.with_body),
                (expected, with_body),
                "{method} {status}"
            );
        }
    }

    #[test]
    fn other_statuses_send_nobody_elsewhere() {
        for status in [200, 201, 300, 304, 305, 306, 309, 400] {
            assert!(!is_redirect(StatusCode::from_u16(status).unwrap()));
        }
    }
}
