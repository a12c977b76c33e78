//! The settings of `get`, from its options.

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderValue;
use mtls_core::path::Endpoint;

use super::args::Args;
use super::content::{Content, Data, Piece};
use super::fields::Fields;
use super::form;
use super::sink::Output;
use super::template::{FormatOption, Template};
use crate::args::OutputArgs;
use crate::args::http3::Http3Args;
use crate::args::target::HttpsUrl;
use crate::connect::client::SideEndpoint;
use crate::failure::Failure;

/// The transfers of one run.
#[derive(Debug)]
pub(super) struct Get {
    pub(super) pages: Vec<Page>,
    pub(super) method: Method,
    pub(super) content: Content,
    pub(super) fields: Fields,
    pub(super) show: Show,
    /// Whether redirects are followed.
    pub(super) follow: bool,
    pub(super) fail: bool,
    /// HTTP/1.1 only.
    pub(super) http1: bool,
    pub(super) http3: Http3Args,
    /// The number of retries after a transient failure.
    pub(super) retry: u32,
    /// Whether content codings are decoded.
    pub(super) compressed: bool,
    pub(super) write_out: Template,
    /// Whether a progress bar may be shown.
    pub(super) progress: bool,
}

/// A URL and the output of its body.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) url: HttpsUrl,
    pub(super) output: Output,
}

/// The parts of a response that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Body,
    HeadAndBody,
    Head,
}

impl Get {
    /// The side verifier of a connection.
    pub(super) fn side_endpoint(&self, to: &Endpoint) -> SideEndpoint {
        match self.pages.first() {
            Some(page) if page.url.endpoint() == to => SideEndpoint::Configured,
            _ => SideEndpoint::Target,
        }
    }

    /// Checks the rules across options, and reads the files of `--header` and `--write-out`.
    pub(super) fn new(args: &Args, output: &OutputArgs) -> Result<Self, Failure> {
        let pages = pages(args)?;
        if output.json && pages.iter().any(|page| page.output == Output::Stdout) {
            return Err(Failure::usage(
                "--json",
                "standard output is used for the body; write the body to a file with --output FILE",
            ));
        }
        let template = args.write_out.as_ref().map(FormatOption::template);
        Ok(Self {
            pages,
            method: method(args)?,
            content: content(args)?,
            fields: Fields::new(&args.headers, args.user.as_ref(), args.compressed)?,
            show: match (args.head, args.include) {
                (true, _) => Show::Head,
                (false, true) => Show::HeadAndBody,
                (false, false) => Show::Body,
            },
            follow: args.location,
            fail: args.fail,
            http1: args.http1_1,
            http3: args.http3,
            retry: args.retry,
            compressed: args.compressed,
            write_out: template.transpose()?.unwrap_or_default(),
            progress: !args.no_progress_meter && !output.silent,
        })
    }
}

fn pages(args: &Args) -> Result<Vec<Page>, Failure> {
    if args.output.len() > args.urls.len() {
        let (files, urls) = (args.output.len(), args.urls.len());
        let reason = format!("{files} files for {urls} URL(s); give at most one for each");
        return Err(Failure::usage("--output", reason));
    }
    let mut outputs = args.output.iter();
    let upload = args.upload_file.as_ref().and_then(|file| file.file_name());
    let mut pages = Vec::with_capacity(args.urls.len());
    for url in &args.urls {
        let mut url = url.clone();
        if let Some(name) = &upload {
            url.name_file(name);
        }
        let output = match (outputs.next(), args.remote_name) {
            (Some(output), _) => output.clone(),
            (None, true) => remote_name(&url)?,
            (None, false) => Output::Stdout,
        };
        pages.push(Page { url, output });
    }
    Ok(pages)
}

fn remote_name(url: &HttpsUrl) -> Result<Output, Failure> {
    match url.file_name() {
        Some(name) => Ok(Output::File(name.into())),
        None => Err(Failure::usage(
            "--remote-name",
            format_args!("`{url}` does not end with a file name; use --output FILE"),
        )),
    }
}

/// The method of `--request`, or the one that the other options imply.
fn method(args: &Args) -> Result<Method, Failure> {
    let has_data = !args.data.is_empty()
        || !args.data_raw.is_empty()
        || !args.data_binary.is_empty()
        || !args.form.is_empty();
    if args.head && has_data {
        let reason = "cannot be combined with --data, which sends a body; omit one of them";
        return Err(Failure::usage("--head", reason));
    }
    Ok(match &args.request {
        Some(method) => method.clone(),
        None if args.head => Method::HEAD,
        None if args.upload_file.is_some() => Method::PUT,
        None if has_data => Method::POST,
        None => Method::GET,
    })
}

fn content(args: &Args) -> Result<Content, Failure> {
    if let Some(file) = &args.upload_file {
        return Ok(Content {
            pieces: vec![Piece::Whole(file.clone())],
            content_type: None,
        });
    }
    if !args.form.is_empty() {
        return form::content(&args.form).map_err(|error| Failure::usage("--form", error));
    }
    // clap accepts only one of these options.
    let stripped = |data: &Data| data.piece(Piece::Stripped);
    let raw = |text: &String| Piece::Bytes(text.clone().into());
    let whole = |data: &Data| data.piece(Piece::Whole);
    let pieces: Vec<_> = (args.data.iter().map(stripped))
        .chain(args.data_raw.iter().map(raw))
        .chain(args.data_binary.iter().map(whole))
        .collect();
    let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    let content_type = (!pieces.is_empty()).then_some(content_type);
    Content::new(joined(pieces), content_type).map_err(|error| Failure::usage("--data", error))
}

/// The pieces with `&` between them.
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn settings(arguments: &[&str]) -> Result<Get, String> {
        let arguments = [&["mtls-client", "get"], arguments].concat();
        let Command::Get(args) = Cli::try_parse_from(arguments).unwrap().command else {
            panic!("not a get");
        };
        let settings = Get::new(&args, &args.connection.output);
        settings.map_err(|failure| failure.message)
    }

    #[test]
    fn json_and_the_body_do_not_share_standard_output() {
        for arguments in [
            &["--json", "https://a.test/"][..],
            &["--json", "-o", "-", "https://a.test/"],
        ] {
            let error = settings(arguments).unwrap_err();
            assert!(error.starts_with("--json: "), "{arguments:?}: {error}");
        }
        assert!(settings(&["--json", "-o", "file", "https://a.test/"]).is_ok());
    }
}
