//! The page about a connection's verdict, and HTML pages in its style. Feature `page`.
//!
//! [`VerdictPage`] is a tower service; `axum::verdict_page` is a router with it.

mod as_text;
mod document;
mod facts;
mod response;
mod verdict;
mod words;

pub use document::{Document, Tone, content_security_policy};
pub use response::{Notice, Uncached};
pub use verdict::{VERDICT_PATH, VerdictPage};
