//! Options of `get`.

use clap::builder::{PathBufValueParser, TypedValueParser};
use hyper::Method;

use super::content::Data;
use super::fields::{Credentials, FieldOption};
use super::form::FormField;
use super::sink::Output;
use super::template::FormatOption;
use crate::args::ConnectionArgs;
use crate::args::http3::Http3Args;
use crate::args::input_file::InputFile;
use crate::args::target::HttpsUrl;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client get https://example.org/
      write the page to standard output; no request is sent before the verdict
  mtls-client get -fsSL -O https://example.org/release.tar.gz
      save to the file `release.tar.gz`, follow redirects, print errors only
  mtls-client get -v -o page.html --primary src:192.0.2.7 --side src:198.51.100.7 https://example.org/
      choose both paths by source address, and report on the connection
  mtls-client get -d user=alice -d 'note=hello there' https://example.org/form
      send a form by POST
  tar c docs | mtls-client get -T - https://example.org/docs.tar
      stream standard input by PUT
  mtls-client get -s -o /dev/null -w '%{http_code} %{verdict} %{time_total}\\n' https://example.org/
      print values for a script
  mtls-client get --policy prefer https://example.org/
      accept a server that does not speak the protocol";

const JSON_HELP: &str =
    "Write each verdict as one line of JSON to standard output; requires --output";

/// The command `get`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("json", |arg| arg.help(JSON_HELP)))]
pub(crate) struct Args {
    /// URL to fetch; several are fetched one after the other, each over its own connection
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<HttpsUrl>,

    /// Request method, instead of the one that the other options imply
    #[arg(
        short = 'X',
        long,
        value_name = "METHOD",
        value_parser = method,
        help_heading = "Request options"
    )]
    pub(crate) request: Option<Method>,

    /// Send a HEAD request, and write the response header
    #[arg(short = 'I', long, help_heading = "Request options")]
    pub(crate) head: bool,

    /// HTTP POST data; `@FILE`, or `@-` for standard input, is read without its line breaks
    ///
    /// The data of repeated options is joined with `&`, and kept in memory, at most 16 MiB.
    #[arg(
        short,
        long,
        value_name = "DATA|@FILE",
        allow_hyphen_values = true,
        help_heading = "Request options"
    )]
    pub(crate) data: Vec<Data>,

    /// HTTP POST data, in which a leading `@` has no special meaning
    #[arg(
        long,
        value_name = "DATA",
        allow_hyphen_values = true,
        conflicts_with = "data",
        help_heading = "Request options"
    )]
    pub(crate) data_raw: Vec<String>,

    /// HTTP POST data exactly as given, without stripping line breaks; `@FILE` is streamed
    ///
    /// If the data is not a form, set its type with `-H 'Content-Type: …'`.
    #[arg(
        long,
        value_name = "DATA|@FILE",
        allow_hyphen_values = true,
        conflicts_with_all = ["data", "data_raw"],
        help_heading = "Request options"
    )]
    pub(crate) data_binary: Vec<Data>,

    /// Field of a form, sent by POST as multipart/form-data (repeatable)
    ///
    /// `NAME=@FILE` uploads a file and streams it, `NAME=@FILE,FILE` several (multipart/mixed), and
    /// `NAME=<FILE` sends the content of a file as a plain field; `-` is standard input.
    /// `;type=MEDIA/TYPE` and `;filename=NAME` may follow each. Quote a content that has `;`, and a
    /// file name that has `;` or `,`: `NAME="a;b"`.
    #[arg(
        short = 'F',
        long,
        value_name = "NAME=CONTENT",
        conflicts_with_all = ["data", "data_raw", "data_binary", "upload_file", "head"],
        help_heading = "Request options"
    )]
    pub(crate) form: Vec<FormField>,

    /// Upload FILE by PUT; `-` streams standard input
    ///
    /// The file's name is appended to a URL that ends with `/`.
    #[arg(
        short = 'T',
        long,
        value_name = "FILE",
        value_parser = InputFile::parser(),
        conflicts_with_all = ["data", "data_raw", "data_binary", "head"],
        help_heading = "Request options"
    )]
    pub(crate) upload_file: Option<InputFile>,

    /// Add a header field, `NAME: VALUE`; `NAME:` removes a default field (repeatable)
    ///
    /// `NAME;` sends the field empty. `@FILE`, or `@-` for standard input, reads one field from
    /// each line, up to 1 MiB. Use a file for secrets: other users can read a command line.
    /// `Authorization`, `Cookie` and `Host` are not sent to another host after a redirect.
    #[arg(
        short = 'H',
        long = "header",
        value_name = "FIELD|@FILE",
        help_heading = "Request options"
    )]
    pub(crate) headers: Vec<FieldOption>,

    /// User name and password for HTTP Basic authentication (RFC 7617)
    ///
    /// They are not sent to another host or port after a redirect. Other users of this machine can
    /// read a command line: `-H @FILE` with an `Authorization` field hides the password from them.
    #[arg(
        short,
        long,
        value_name = "USER:PASSWORD",
        help_heading = "Request options"
    )]
    pub(crate) user: Option<Credentials>,

    /// Request gzip, deflate, br or zstd, and write the response decompressed
    #[arg(long, help_heading = "Request options")]
    pub(crate) compressed: bool,

    /// Use HTTP/1.1 even if the server speaks HTTP/2
    #[arg(
        long = "http1.1",
        conflicts_with_all = ["http3", "http3_only"],
        help_heading = "Request options"
    )]
    pub(crate) http1_1: bool,

    #[command(flatten)]
    pub(crate) http3: Http3Args,

    /// Retry up to N times after a timeout, a failed name lookup or a transient HTTP status
    ///
    /// The transient statuses are 408, 429, 500, 502, 503, 504, 522 and 524. Pauses are 1 s, 2 s,
    /// 4 s and so on up to 10 minutes; a `Retry-After` field in seconds makes a pause longer.
    /// `--max-time` applies to each attempt. There is no retry after output was written.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Request options"
    )]
    pub(crate) retry: u32,

    /// Follow redirects, at most 10; each is verified like the first request
    ///
    /// After 301 and 302 a POST becomes a GET, after 303 every request except HEAD does. After 307
    /// and 308 the request is sent again with its body.
    #[arg(short = 'L', long, help_heading = "Request options")]
    pub(crate) location: bool,

    /// Write the body to FILE instead of standard output (`-`); FILE is created after the verdict
    ///
    /// Repeatable: the first applies to the first URL, and so on.
    #[arg(
        short,
        long,
        value_name = "FILE",
        value_parser = PathBufValueParser::new().map(Output::from),
        help_heading = "Output options"
    )]
    pub(crate) output: Vec<Output>,

    /// Write each body to a file named like the end of its URL
    #[arg(
        short = 'O',
        long,
        conflicts_with = "output",
        help_heading = "Output options"
    )]
    pub(crate) remote_name: bool,

    /// Include the status line and header fields of the response in the output
    #[arg(short, long, help_heading = "Output options")]
    pub(crate) include: bool,

    /// Exit with 22 and write no body if the HTTP status is 400 or above
    #[arg(short, long, help_heading = "Output options")]
    pub(crate) fail: bool,

    /// Write information to standard output after the transfer; `@FILE` reads the format from FILE
    ///
    /// `%{NAME}` is a variable, `%header{NAME}` a field of the response, `%%` a `%`; `\n`, `\t`
    /// and `\r` are line feed, tab and carriage return. `%{stderr}` directs the rest to standard
    /// error. An unknown variable is an error. Variables as in curl: http_code, method, url,
    /// url_effective, redirect_url, num_redirects, http_version, content_type, size_download,
    /// size_upload, size_header, speed_download, speed_upload, time_connect, time_appconnect,
    /// time_pretransfer, time_starttransfer, time_redirect, time_total (seconds), remote_ip,
    /// remote_port, local_ip, local_port, filename_effective, exitcode, errormsg, urlnum.
    /// Variables of MTLS: verdict, reason, verification_method, verification_age (seconds, of an
    /// inherited verification), binding, independence, time_verdict, tls_version, tls_cipher.
    #[arg(
        short,
        long,
        value_name = "FORMAT|@FILE",
        allow_hyphen_values = true,
        help_heading = "Output options"
    )]
    pub(crate) write_out: Option<FormatOption>,

    /// Show no progress bar; without a terminal, and with --silent, there is none anyway
    #[arg(long, help_heading = "Message options")]
    pub(crate) no_progress_meter: bool,

    /// Accepted for compatibility with curl, without effect: errors are always shown
    #[arg(short = 'S', long, hide = true)]
    pub(crate) show_error: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

fn method(word: &str) -> Result<Method, String> {
    match word {
        "CONNECT" => {
            Err("CONNECT is for proxies; name a proxy with --primary http://HOST:PORT".into())
        }
        word => word
            .parse()
            .map_err(|_| format!("`{word}` is not a method")),
    }
}
