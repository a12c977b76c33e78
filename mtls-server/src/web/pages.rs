//! Answers that this program writes itself: errors, and pages that are never kept.

use std::fmt;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use super::html::{Page, Text, Tone, content_security_policy};
use super::media::Media;

/// An answer that no cache keeps.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    pub(crate) status: StatusCode,
    pub(crate) media: Media,
    pub(crate) body: String,
}

impl Fresh {
    /// The response; without the body where only the head was asked for.
    pub(crate) fn response(self, method: &Method) -> Response<Full<Bytes>> {
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

/// An error, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem<T> {
    pub(crate) status: StatusCode,
    /// What it means to who reads it, in one or two sentences.
    pub(crate) text: T,
}

impl<T: fmt::Display> Problem<T> {
    /// A page, or a line of text.
    pub(crate) fn response(&self, method: &Method, media: Media) -> Response<Full<Bytes>> {
        let body = match media {
            Media::Html => self.page(),
            Media::Text | Media::Json => format!("{}: {}\n", self.status, self.text),
        };
        Fresh {
            status: self.status,
            media,
            body,
        }
        .response(method)
    }

    fn page(&self) -> String {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let status = self.status.as_u16();
        let page = Page {
            title: format_args!("{status} {reason}"),
            tone: Tone::Plain,
            body: format_args!(
                "<main class=\"error\">\n<p class=\"status\">{status}</p>\n<h1>{reason}</h1>\n\
                 <p>{}</p>\n<footer>mtls-server</footer>\n</main>\n",
                Text(&self.text)
            ),
        };
        page.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const MISSING: Problem<&str> = Problem {
        status: StatusCode::NOT_FOUND,
        text: "There is <nothing> here.",
    };

    async fn said(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.expect("a body");
        String::from_utf8(body.to_bytes().to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_page_is_escaped_and_a_line_of_text_is_not() {
        let line = MISSING.response(&Method::GET, Media::Text);
        assert_eq!(line.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(!line.headers().contains_key(CONTENT_SECURITY_POLICY));
        assert_eq!(
            said(line).await,
            "404 Not Found: There is <nothing> here.\n"
        );

        let page = MISSING.response(&Method::GET, Media::Html);
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
        assert!(page.headers().contains_key(CONTENT_SECURITY_POLICY));
        let page = said(page).await;
        assert!(page.contains("There is &lt;nothing&gt; here."), "{page}");
    }

    #[tokio::test]
    async fn head_gets_the_length_and_no_body() {
        let head = MISSING.response(&Method::HEAD, Media::Text);
        let length = head.headers()[CONTENT_LENGTH].to_str().expect("ASCII");
        assert_eq!(length, "40");
        assert_eq!(said(head).await, "");
    }
}
