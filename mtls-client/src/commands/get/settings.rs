//! What was typed after `get`, and what it means.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderValue;

use super::args;
use super::form;
use crate::args::file;
use crate::args::target::HttpsUrl;
use crate::commands::get::fields::Fields;
use crate::commands::get::template::Template;
use crate::connect::settings::Settings;
use crate::usage::UsageError;

/// How large a file with `--write-out`'s format may be.
const LONGEST_FORMAT: u64 = 64 << 10;

/// Pages to fetch.
#[derive(Debug)]
pub(crate) struct Get {
    pub(crate) pages: Vec<Page>,
    pub(crate) method: Method,
    pub(crate) payload: Payload,
    pub(crate) fields: Fields,
    pub(crate) show: Show,
    pub(crate) follow: bool,
    pub(crate) fail: bool,
    /// HTTP/1.1 alone.
    pub(crate) http1: bool,
    /// How often a transfer is repeated that failed in a way that may pass.
    pub(crate) retry: u32,
    /// Whether content codings are undone.
    pub(crate) compressed: bool,
    pub(crate) write_out: Template,
    /// A progress bar, where somebody sees it.
    pub(crate) progress: bool,
}

/// A page, and where it goes.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: HttpsUrl,
    pub(crate) output: Output,
}

/// Where a body goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    File(PathBuf),
}

/// What of a response is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Body,
    HeadAndBody,
    Head,
}

/// What a request carries: nothing, or pieces one after the other.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) pieces: Vec<Piece>,
    /// What it is, where no field says so.
    pub(crate) content_type: Option<HeaderValue>,
}

/// A piece of a request's body.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// Sent as it is read.
    Whole(Place),
    /// Without CR, LF and NUL.
    Stripped(Place),
}

/// Without the bytes, which may be secret.
impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Whole(place) => f.debug_tuple("Whole").field(place).finish(),
            Self::Stripped(place) => f.debug_tuple("Stripped").field(place).finish(),
        }
    }
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stdin,
    File(PathBuf),
}

impl Get {
    pub(crate) fn understand(typed: args::Get, settings: &Settings) -> Result<Self, UsageError> {
        let pages = pages(&typed)?;
        if settings.json && pages.iter().any(|page| page.output == Output::Stdout) {
            return Err(UsageError::new(
                "--json",
                "standard output is for the body; write that to a file with --output FILE",
            ));
        }
        let payload = Payload::understand(&typed)?;
        Ok(Self {
            pages,
            method: method(&typed)?,
            payload,
            fields: Fields::new(&typed.headers, typed.user.as_deref(), typed.compressed)?,
            show: match (typed.head, typed.include) {
                (true, _) => Show::Head,
                (false, true) => Show::HeadAndBody,
                (false, false) => Show::Body,
            },
            follow: typed.location,
            fail: typed.fail,
            http1: typed.http1_1,
            retry: typed.retry,
            compressed: typed.compressed,
            write_out: write_out(typed.write_out.as_deref())?,
            progress: !typed.no_progress_meter && !settings.silent,
        })
    }
}

fn pages(typed: &args::Get) -> Result<Vec<Page>, UsageError> {
    if typed.output.len() > typed.urls.len() {
        let (files, urls) = (typed.output.len(), typed.urls.len());
        let reason = format!("{files} files for {urls} URL(s); give one for each at most");
        return Err(UsageError::new("--output", reason));
    }
    let mut outputs = typed.output.iter();
    let mut pages = Vec::with_capacity(typed.urls.len());
    for text in &typed.urls {
        let wrong = |error: &dyn fmt::Display| UsageError::new("URL", error);
        let mut url = HttpsUrl::parse(text).map_err(|error| wrong(&error))?;
        if let Some(name) = typed.upload_file.as_deref().and_then(Path::file_name) {
            url.name_file(&name.to_string_lossy());
        }
        let output = match (outputs.next(), typed.remote_name) {
            (Some(path), _) if path.as_os_str() != "-" => Output::File(path.clone()),
            (None, true) => match url.file_name() {
                Some(name) => Output::File(name.into()),
                None => {
                    let reason = format!("`{url}` ends with no name; use --output FILE");
                    return Err(UsageError::new("--remote-name", reason));
                }
            },
            _ => Output::Stdout,
        };
        pages.push(Page { url, output });
    }
    Ok(pages)
}

/// What the options amount to, unless `-X` says otherwise.
fn method(typed: &args::Get) -> Result<Method, UsageError> {
    let has_data = [
        &typed.data,
        &typed.data_raw,
        &typed.data_binary,
        &typed.form,
    ];
    let has_data = has_data.iter().any(|pieces| !pieces.is_empty());
    if typed.head && has_data {
        let reason = "asks for the head of a page, and --data sends one; leave one of them out";
        return Err(UsageError::new("--head", reason));
    }
    match &typed.request {
        Some(word) if word == "CONNECT" => Err(UsageError::new(
            "--request",
            "CONNECT is for proxies; name one with --primary http://HOST:PORT",
        )),
        Some(word) => word
            .parse()
            .map_err(|_| UsageError::new("--request", format!("`{word}` is no method"))),
        None if typed.head => Ok(Method::HEAD),
        None if typed.upload_file.is_some() => Ok(Method::PUT),
        None if has_data => Ok(Method::POST),
        None => Ok(Method::GET),
    }
}

impl Payload {
    fn understand(typed: &args::Get) -> Result<Self, UsageError> {
        if let Some(file) = &typed.upload_file {
            return Ok(Self {
                pieces: vec![Piece::Whole(Place::of(file))],
                content_type: None,
            });
        }
        if !typed.form.is_empty() {
            return form::payload(&typed.form).map_err(|error| UsageError::new("--form", error));
        }
        let raw = |text: &String| Piece::Bytes(text.clone().into());
        let pieces: Vec<_> = match (&typed.data[..], &typed.data_raw[..]) {
            ([], []) => typed
                .data_binary
                .iter()
                .map(|text| at(text, Piece::Whole))
                .collect(),
            ([], texts) => texts.iter().map(raw).collect(),
            (texts, _) => texts.iter().map(|text| at(text, Piece::Stripped)).collect(),
        };
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let content_type = (!pieces.is_empty()).then_some(content_type);
        let payload = Self {
            pieces: joined(pieces),
            content_type,
        };
        payload
            .check()
            .map_err(|error| UsageError::new("--data", error))
    }
}

impl Payload {
    /// Refuses standard input that would be read twice.
    pub(crate) fn check(self) -> Result<Self, &'static str> {
        let from_stdin = |piece: &&Piece| {
            matches!(
                piece,
                Piece::Whole(Place::Stdin) | Piece::Stripped(Place::Stdin)
            )
        };
        match self.pieces.iter().filter(from_stdin).count() {
            0 | 1 => Ok(self),
            _ => Err("standard input can be read once; name it once"),
        }
    }
}

impl Place {
    pub(crate) fn of(path: &Path) -> Self {
        match path.as_os_str() == "-" {
            true => Self::Stdin,
            false => Self::File(path.into()),
        }
    }
}

fn at(text: &str, piece: impl Fn(Place) -> Piece) -> Piece {
    match text.strip_prefix('@') {
        Some(file) => piece(Place::of(Path::new(file))),
        None => Piece::Bytes(text.to_owned().into()),
    }
}

fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined = Vec::with_capacity(pieces.len() * 2);
    for piece in pieces {
        if !joined.is_empty() {
            joined.push(Piece::Bytes(Bytes::from_static(b"&")));
        }
        joined.push(piece);
    }
    joined
}

fn write_out(typed: Option<&str>) -> Result<Template, UsageError> {
    let wrong = |reason: &dyn fmt::Display| UsageError::new("--write-out", reason);
    let Some(text) = typed else {
        return Ok(Template::default());
    };
    let Some(path) = text.strip_prefix('@') else {
        return Template::parse(text).map_err(|error| wrong(&error));
    };
    let format = file::read(path, LONGEST_FORMAT)
        .map_err(|error| wrong(&format_args!("`{path}` cannot be read: {error}")))?;
    // As curl does: there are `\n` and `\r` to say what is meant.
    Template::parse(&format.replace(['\r', '\n'], "")).map_err(|error| wrong(&error))
}
