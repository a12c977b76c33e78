//! What was typed after `get`.

use std::path::PathBuf;

use clap::Args;

use crate::args::Shared;

pub(super) const EXAMPLES: &str = "\
Examples:
  mtls-client get https://example.org/
      the page to standard output; nothing is asked for before the verdict
  mtls-client get -fsSL -O https://example.org/release.tar.gz
      into the file `release.tar.gz`, redirects followed, quiet but for errors
  mtls-client get -v -o page.html --primary src:192.0.2.7 --side src:198.51.100.7 https://example.org/
      both paths chosen by their source address, with a report on the connection
  mtls-client get -d user=alice -d 'note=hello there' https://example.org/form
      a POST, sent after the verdict
  tar c docs | mtls-client get -T - https://example.org/docs.tar
      a PUT of what standard input gives, as it comes
  mtls-client get -s -o /dev/null -w '%{http_code} %{verdict} %{time_total}\\n' https://example.org/
      facts for a script
  mtls-client get --policy prefer https://example.org/
      a server that does not know the protocol is good enough";

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to fetch; several one after the other, each over a connection of its own
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<String>,

    /// The method, in place of the one that follows from the other options
    #[arg(
        short = 'X',
        long,
        value_name = "METHOD",
        help_heading = "What is asked for"
    )]
    pub(crate) request: Option<String>,

    /// Ask for the head alone (HEAD), and write it
    #[arg(short = 'I', long, help_heading = "What is asked for")]
    pub(crate) head: bool,

    /// Send this form (POST); `@FILE`, or `@-` for standard input, without its line ends
    ///
    /// Repeated pieces are joined by `&`.
    #[arg(
        short,
        long,
        value_name = "DATA|@FILE",
        allow_hyphen_values = true,
        help_heading = "What is asked for"
    )]
    pub(crate) data: Vec<String>,

    /// The same, and `@` means nothing
    #[arg(
        long,
        value_name = "DATA",
        allow_hyphen_values = true,
        conflicts_with = "data",
        help_heading = "What is asked for"
    )]
    pub(crate) data_raw: Vec<String>,

    /// The same, every byte as it is; a file or standard input is sent as it is read
    ///
    /// Give `-H 'Content-Type: …'` with it unless it is a form.
    #[arg(
        long,
        value_name = "DATA|@FILE",
        allow_hyphen_values = true,
        conflicts_with_all = ["data", "data_raw"],
        help_heading = "What is asked for"
    )]
    pub(crate) data_binary: Vec<String>,

    /// Send a field of a form as multipart/form-data (POST); repeatable
    ///
    /// `NAME=@FILE` uploads a file, `NAME=<FILE` sends the file's content as a plain field; `-` is
    /// standard input. `;type=MEDIA/TYPE` and `;filename=NAME` may follow. Quote values that contain
    /// `;` or `,`: `NAME="a;b"`.
    #[arg(
        short = 'F',
        long,
        value_name = "NAME=CONTENT",
        conflicts_with_all = ["data", "data_raw", "data_binary", "upload_file", "head"],
        help_heading = "What is asked for"
    )]
    pub(crate) form: Vec<String>,

    /// Send this file (PUT) as it is read; `-` for standard input
    ///
    /// A URL that ends with `/` gets the file's name.
    #[arg(
        short = 'T',
        long,
        value_name = "FILE",
        conflicts_with_all = ["data", "data_raw", "data_binary", "head"],
        help_heading = "What is asked for"
    )]
    pub(crate) upload_file: Option<PathBuf>,

    /// Add a header field, `NAME: VALUE`; `NAME:` removes a default one (repeatable)
    ///
    /// `NAME;` sends the field without a value. `@FILE`, or `@-` for standard input, adds the fields
    /// in a file, one in each line; use it for secrets, which other users can read on a command line.
    /// `Authorization`, `Cookie` and `Host` are not sent to another host after a redirect.
    #[arg(
        short = 'H',
        long = "header",
        value_name = "FIELD|@FILE",
        help_heading = "What is asked for"
    )]
    pub(crate) headers: Vec<String>,

    /// Send this user name and password (HTTP Basic authentication, RFC 7617)
    ///
    /// Not sent to another host or port after a redirect. Other users of this machine can read a
    /// command line: `-H @FILE` with an `Authorization` field keeps the password from them.
    #[arg(
        short,
        long,
        value_name = "USER:PASSWORD",
        help_heading = "What is asked for"
    )]
    pub(crate) user: Option<String>,

    /// Request a compressed response (gzip, deflate, br, zstd), and write it decompressed
    #[arg(long, help_heading = "What is asked for")]
    pub(crate) compressed: bool,

    /// Use HTTP/1.1 even where the server speaks HTTP/2
    #[arg(long = "http1.1", help_heading = "What is asked for")]
    pub(crate) http1_1: bool,

    /// Repeat up to N times after a timeout, a failed name lookup or a transient HTTP status
    ///
    /// Transient are 408, 429, 500, 502, 503, 504, 522 and 524. The first pause is 1 s, and each is
    /// twice the one before, up to 10 minutes; a `Retry-After` field in seconds makes it longer.
    /// `--max-time` counts for each attempt. Nothing is repeated once output was written.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "What is asked for"
    )]
    pub(crate) retry: u32,

    /// Follow redirects, 10 at most; each is verified as the first request is
    ///
    /// After 301 and 302 a POST becomes a GET, after 303 everything does but HEAD; after 307 and
    /// 308 the request is repeated with its body.
    #[arg(short = 'L', long, help_heading = "What is asked for")]
    pub(crate) location: bool,

    /// Write the body to a file, created only after the verdict (`-`: standard output)
    ///
    /// Repeatable: the first is for the first URL.
    #[arg(
        short,
        long,
        value_name = "FILE",
        help_heading = "Where the answer goes"
    )]
    pub(crate) output: Vec<PathBuf>,

    /// Write each body to a file of the name that its URL ends with
    #[arg(
        short = 'O',
        long,
        conflicts_with = "output",
        help_heading = "Where the answer goes"
    )]
    pub(crate) remote_name: bool,

    /// Write the response's status line and header fields before the body
    #[arg(short, long, help_heading = "Where the answer goes")]
    pub(crate) include: bool,

    /// Write nothing and exit with 22 when the HTTP status is 400 or above
    #[arg(short, long, help_heading = "Where the answer goes")]
    pub(crate) fail: bool,

    /// When all is done, write this to standard output; `@FILE`: what is in the file
    ///
    /// `%{NAME}` stands for a fact, `%header{NAME}` for a field of the response, `%%` for `%`, and
    /// `\n`, `\t` and `\r` for what they are elsewhere; after `%{stderr}` it goes to standard
    /// error. As curl's: http_code, method, url, url_effective, redirect_url, num_redirects,
    /// http_version, content_type, size_download, size_upload, size_header, speed_download,
    /// speed_upload, time_connect, time_appconnect, time_pretransfer, time_starttransfer,
    /// time_redirect, time_total (seconds), remote_ip, remote_port, local_ip, local_port,
    /// filename_effective, exitcode, errormsg, urlnum. Besides: verdict, reason, binding,
    /// independence, time_verdict, tls_version, tls_cipher.
    #[arg(
        short,
        long,
        value_name = "FORMAT|@FILE",
        allow_hyphen_values = true,
        help_heading = "Where the answer goes"
    )]
    pub(crate) write_out: Option<String>,

    /// No progress bar for a long transfer (there is none without a terminal, nor with --silent)
    #[arg(long, help_heading = "Messages")]
    pub(crate) no_progress_meter: bool,

    /// Errors are shown in any case; this is for fingers that know curl
    #[arg(short = 'S', long, hide = true)]
    pub(crate) show_error: bool,

    #[command(flatten)]
    pub(crate) shared: Shared,
}
