//! Responses that are created here, and that no cache keeps.

use std::fmt;

use askama::Template;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use super::document::{Document, Tone, content_security_policy};
use crate::tower::Media;

/// A response that no cache keeps.
#[derive(Clone, Debug)]
pub struct Uncached {
    /// The status code.
    pub status: StatusCode,
    /// The media type.
    pub media: Media,
    /// The body; of HTML, a whole [`Document`].
    pub body: String,
}

impl Uncached {
    /// The response to a request with this method; without the body for HEAD.
    pub fn response(self, method: &Method) -> Response<Full<Bytes>> {
        let length = HeaderValue::from(self.body.len());
        let body = match *method == Method::HEAD {
            true => Bytes::new(),
            false => Bytes::from(self.body),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, self.media.content_type()),
            (CACHE_CONTROL, "no-store"),
            (VARY, "accept"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        fields.insert(CONTENT_LENGTH, length);
        if self.media == Media::Html {
            fields.insert(CONTENT_SECURITY_POLICY, content_security_policy());
        }
        response
    }
}

/// An error response for people.
#[derive(Clone, Copy, Debug)]
pub struct Notice<T> {
    /// The status code.
    pub status: StatusCode,
    /// An explanation in one or two sentences.
    pub text: T,
}

impl<T: fmt::Display> Notice<T> {
    /// An HTML document, or a line of text.
    pub fn response(&self, method: &Method, media: Media) -> Response<Full<Bytes>> {
        let body = match media {
            Media::Html => self.document(),
            Media::Text | Media::Json => format!("{}: {}\n", self.status, self.text),
        };
        Uncached {
            status: self.status,
            media,
            body,
        }
        .response(method)
    }

    fn document(&self) -> String {
        let code = self.status.as_u16();
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let text = &self.text;
        let body = NoticeHtml { code, reason, text };
        Document::new(format_args!("{code} {reason}"), Tone::Plain, body).to_string()
    }
}

#[derive(Template)]
#[template(path = "notice.html")]
struct NoticeHtml<'a, T: fmt::Display> {
    code: u16,
    reason: &'a str,
    text: &'a T,
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const MISSING: Notice<&str> = Notice {
        status: StatusCode::NOT_FOUND,
        text: "There is <nothing> here.",
    };

    async fn body_of(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.expect("a body");
        String::from_utf8(body.to_bytes().to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_page_is_escaped_and_a_line_of_text_is_not() {
        let line = MISSING.response(&Method::GET, Media::Text);
        assert_eq!(line.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(!line.headers().contains_key(CONTENT_SECURITY_POLICY));
        assert_eq!(
            body_of(line).await,
            "404 Not Found: There is <nothing> here.\n"
        );

        let page = MISSING.response(&Method::GET, Media::Html);
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
        assert!(page.headers().contains_key(CONTENT_SECURITY_POLICY));
        let page = body_of(page).await;
        assert!(page.contains("There is &#60;nothing&#62; here."), "{page}");
    }

    #[tokio::test]
    async fn head_gets_the_length_and_no_body() {
        let head = MISSING.response(&Method::HEAD, Media::Text);
        let length = head.headers()[CONTENT_LENGTH].to_str().expect("ASCII");
        assert_eq!(length, "40");
        assert_eq!(body_of(head).await, "");
    }
}
