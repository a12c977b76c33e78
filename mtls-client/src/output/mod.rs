//! Messages, reports, and their formats.

pub(crate) mod http_head;
pub(crate) mod json;
pub(crate) mod local_page;
pub(crate) mod messages;
mod report;
pub(crate) mod stdout;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod trace;
