//! The command `get`.

mod fields;
mod http;
mod sink;

use std::fmt::Write;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::LOCATION;
use hyper::{Response, StatusCode, Version};
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, Whose};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::messages::{self, Messages, Reports};
use crate::options::{Get, Settings, UsageError};
use crate::target::{HttpsUrl, TargetError};

use self::http::Exchange;
use self::sink::Sink;

pub(crate) use self::fields::Fields;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

/// Fetches a page.
pub(crate) async fn get(command: &Get, settings: &Settings) -> Result<Exit, UsageError> {
    let reports = match settings.verbose {
        0 => Reports::Nowhere,
        _ => Reports::Stderr,
    };
    let mut fetch = Fetch {
        command,
        client: Client::new(settings)?,
        messages: Messages::new(settings, reports),
        sink: Sink::new(&command.output),
        until: settings.max_time.map(|limit| Instant::now() + limit),
        worst: Exit::Success,
    };
    if let Err(Stop::Failed(failure)) = fetch.run().await {
        messages::error(&failure);
        fetch.worst = fetch.worst.or_worse(failure.exit);
    }
    Ok(fetch.worst)
}

/// A fetch under way, redirects and all.
struct Fetch<'a> {
    command: &'a Get,
    client: Client<'a>,
    messages: Messages<'a>,
    sink: Sink<'a>,
    until: Option<Instant>,
    /// An interception that the policy lets pass still decides how the program exits.
    worst: Exit,
}

/// Why a fetch goes no further.
enum Stop {
    /// There is no connection, and that has been told.
    Told,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Fetch<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        let mut url = self.command.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let exchange = self.ask(&url).await?;
            match self.redirect(&url, &exchange.response)? {
                None => return self.deliver(&url, exchange).await,
                Some(next) => {
                    self.write_head(&exchange.response).await?;
                    url = next;
                }
            }
        }
        let message = format!("more than {MAX_REDIRECTS} redirects, the last one to {url}.");
        Err(Failure::new(Exit::TooManyRedirects, "too-many-redirects", message).into())
    }

    /// Connects, verifies, and sends the request.
    async fn ask(&mut self, url: &HttpsUrl) -> Result<Exchange, Stop> {
        let first = url.endpoint() == self.command.url.endpoint();
        let whose = if first { Whose::First } else { Whose::Another };
        let (attempt, stream) = self.client.connect(url.endpoint(), whose, self.until).await;
        self.worst = self.worst.or_worse(attempt.exit());
        self.messages.tell(&attempt)?;
        let Some(stream) = stream else {
            return Err(Stop::Told);
        };
        let fields = self.command.fields.for_request(first);
        let asking = http::get(stream, url, fields);
        Ok(in_time(self.until, url, asking).await??)
    }

    /// Where to go next, if anywhere (RFC 9110, section 15.4).
    fn redirect(
        &self,
        url: &HttpsUrl,
        response: &Response<Incoming>,
    ) -> Result<Option<HttpsUrl>, Failure> {
        let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = response.headers().get(LOCATION) else {
            return Ok(None);
        };
        if !redirects || !self.command.follow {
            return Ok(None);
        }
        let location = String::from_utf8_lossy(location.as_bytes());
        match url.join(&location) {
            Ok(next) => Ok(Some(next)),
            Err(error) => Err(bad_redirect(url, &error)),
        }
    }

    /// Writes the response out.
    async fn deliver(&mut self, url: &HttpsUrl, exchange: Exchange) -> Result<(), Stop> {
        let status = exchange.response.status();
        if self.command.fail && (status.is_client_error() || status.is_server_error()) {
            return Err(http_status(url, status).into());
        }
        self.write_head(&exchange.response).await?;
        self.sink.open().await?;
        let Exchange {
            response,
            connection: _connection,
        } = exchange;
        let mut body = response.into_body();
        while let Some(frame) = in_time(self.until, url, body.frame()).await? {
            let frame = frame.map_err(|error| http::broken(url, &error))?;
            if let Some(data) = frame.data_ref() {
                in_time(self.until, url, self.sink.write(data)).await??;
            }
            if self.sink.is_left() {
                return Ok(());
            }
        }
        Ok(self.sink.finish().await?)
    }

    /// With `--include`: as curl does, every hop's.
    async fn write_head(&mut self, response: &Response<Incoming>) -> Result<(), Failure> {
        match self.command.include {
            true => self.sink.write(&head(response)).await,
            false => Ok(()),
        }
    }
}

async fn in_time<T>(
    until: Option<Instant>,
    url: &HttpsUrl,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    match until {
        None => Ok(work.await),
        Some(until) => timeout_at(until, work).await.map_err(|_| {
            Failure::max_time(&format!("waiting for the response from {}", url.endpoint()))
        }),
    }
}

fn head(response: &Response<Incoming>) -> Vec<u8> {
    let version = match response.version() {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let mut line = String::new();
    let _ = write!(line, "{version} {}\r\n", response.status());
    let mut head = line.into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn bad_redirect(url: &HttpsUrl, error: &TargetError) -> Failure {
    let message = format!(
        "{url} redirects to what cannot be followed: {error}. Without --location the answer \
         itself is shown."
    );
    Failure::new(Exit::UnsupportedProtocol, "unsupported-redirect", message)
}

fn http_status(url: &HttpsUrl, status: StatusCode) -> Failure {
    let message =
        format!("{url} answered with HTTP status {status}. Without --fail its body is shown.");
    Failure::new(Exit::HttpStatus, "http-status", message)
}
