//! Pages in HTML: one style for all, and nothing from elsewhere.

use std::fmt;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");

/// Allows the one style sheet and the icon, by hash and by kind, and nothing else: no script, no
/// form, no frame, nothing from any other place.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// The value of `Content-Security-Policy` for every [`Page`].
pub(crate) fn content_security_policy() -> HeaderValue {
    POLICY.clone()
}

/// Text in HTML: what could be markup is escaped, in elements and in quoted attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::write(&mut Escape(f), format_args!("{}", self.0))
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            let (plain, from) = rest.split_at(at);
            let entity = match from.as_bytes()[0] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            };
            self.0.write_str(plain)?;
            self.0.write_str(entity)?;
            rest = &from[1..];
        }
        self.0.write_str(rest)
    }
}

/// The colour of a page and of its icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Nothing is known.
    Open,
    /// Something is wrong.
    Bad,
    /// Says nothing about anything.
    Plain,
}

impl Tone {
    /// The class of the style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Open => "open",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }

    /// A colour that can be seen on light and on dark.
    fn colour(self) -> &'static str {
        match self {
            Self::Good => "%2316a34a",
            Self::Open => "%23d97706",
            Self::Bad => "%23dc2626",
            Self::Plain => "%23647488",
        }
    }
}

/// A whole page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<T, B> {
    /// The title; it is escaped here.
    pub(crate) title: T,
    pub(crate) tone: Tone,
    /// The body, in HTML.
    pub(crate) body: B,
}

impl<T: fmt::Display, B: fmt::Display> fmt::Display for Page<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, body) = (Text(&self.title), &self.body);
        let (class, colour) = (self.tone.class(), self.tone.colour());
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\" class=\"{class}\">\n<head>\n\
             <meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"robots\" content=\"noindex\">\n\
             <title>{title}</title>\n\
             <link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
             viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='{colour}'/%3E%3C/svg%3E\">\n\
             <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let text = r#"<a href="x" id='y'>&amp; ß"#;
        let escaped = Text(text).to_string();
        assert_eq!(
            escaped,
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp; ß"
        );
    }

    #[test]
    fn the_style_in_the_page_is_the_one_that_the_policy_allows() {
        let page = Page {
            title: "<x>",
            tone: Tone::Plain,
            body: "",
        };
        let page = page.to_string();
        let (_, rest) = page.split_once("<style>").expect("a style");
        let (style, _) = rest.split_once("</style>").expect("its end");
        let hash = STANDARD.encode(Sha256::digest(style));
        let policy = content_security_policy();
        let policy = policy.to_str().expect("ASCII");
        assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
        assert!(page.contains("<title>&lt;x&gt;</title>"), "{page}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
