//! HTML documents: one style for all of them, and no resource from elsewhere.

use std::fmt;
use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("../../templates/page.css");

/// Allows the style sheet by its hash and the icon by its kind, and nothing else: no script, form or
/// frame, and no other origin.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// The value of `Content-Security-Policy` for every [`Document`].
pub fn content_security_policy() -> HeaderValue {
    POLICY.clone()
}

/// An HTML document.
///
/// ```
/// use mtls_core::page::{Document, Tone};
///
/// let document = Document::new("1 < 2", Tone::Plain, "<main>text</main>");
/// assert!(document.to_string().contains("<title>1 &#60; 2</title>"));
/// ```
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "document.html")]
pub struct Document<T: fmt::Display, B: fmt::Display> {
    title: T,
    tone: Tone,
    style: &'static str,
    body: B,
}

impl<T: fmt::Display, B: fmt::Display> Document<T, B> {
    /// The title is text and is escaped. The body is HTML: escape the text in it, as a template does.
    pub fn new(title: T, tone: Tone, body: B) -> Self {
        Self {
            title,
            tone,
            style: STYLE,
            body,
        }
    }
}

/// The colour of a document and of its icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tone {
    /// Verified.
    Good,
    /// Not verified.
    Open,
    /// Under attack.
    Bad,
    /// Neutral.
    Plain,
}

impl Tone {
    /// The class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Open => "open",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }

    /// A colour that is visible on light and dark backgrounds, percent-encoded.
    fn colour(self) -> &'static str {
        match self {
            Self::Good => "%2316a34a",
            Self::Open => "%23d97706",
            Self::Bad => "%23dc2626",
            Self::Plain => "%23647488",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let title = r#"<a href="x" id='y'>&amp; ß"#;
        let document = Document::new(title, Tone::Plain, "").to_string();
        let escaped = "&#60;a href=&#34;x&#34; id=&#39;y&#39;&#62;&#38;amp; ß";
        assert!(
            document.contains(&format!("<title>{escaped}</title>")),
            "{document}"
        );
    }

    #[test]
    fn the_style_in_the_page_is_the_one_that_the_policy_allows() {
        let document = Document::new("x", Tone::Plain, "").to_string();
        let (_, rest) = document.split_once("<style>").expect("a style");
        let (style, _) = rest.split_once("</style>").expect("its end");
        let hash = STANDARD.encode(Sha256::digest(style));
        let policy = content_security_policy();
        let policy = policy.to_str().expect("ASCII");
        assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
