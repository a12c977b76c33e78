//! One page: connections, redirects, and where the answer goes.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::body::{Body, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::LOCATION;
use hyper::{Response, StatusCode, Version};
use mtls_core::ClientStream;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::decode::{self, BrokenOff, Codings, Pieces, Received};
use super::facts::Facts;
use super::http::{self, Exchange, Unanswered};
use super::payload::{Payload, Upload, Watch};
use super::progress::Progress;
use super::redirect::{self, Ask};
use super::retry::{self, Again, MAX_AGAIN, Retries};
use super::sink::Sink;
use crate::args::target::{HttpsUrl, TargetError};
use crate::commands::get::fields::OfBody;
use crate::commands::get::settings::{Get, Output, Page, Show};
use crate::connect::client::{Client, Whose};
use crate::connect::failure::Failure;
use crate::exit::Exit;
use crate::output::messages::{self, Messages};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

/// How often a progress bar is told of an upload.
const GLANCE: Duration = Duration::from_millis(100);

/// A fetch under way, redirects and all.
pub(super) struct Fetch<'a> {
    command: &'a Get,
    page: &'a Page,
    client: &'a Client<'a>,
    /// Where a server needs HTTP/1.1 after all.
    http1: Option<Client<'a>>,
    messages: Messages<'a>,
    payload: &'a mut Payload,
    retries: Retries,
    sink: Sink<'a>,
    progress: Progress,
    started: Instant,
    until: Option<Instant>,
    facts: Facts,
}

/// Why a fetch goes no further.
enum Stop {
    /// There is no connection, and that has been told.
    Told,
    Failed(Failure),
    /// The response has a status that `--retry` covers, and asks for this pause.
    Transient(StatusCode, Option<Duration>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        command: &'a Get,
        page: &'a Page,
        client: &'a Client<'a>,
        messages: Messages<'a>,
        payload: &'a mut Payload,
    ) -> Self {
        let file = match &page.output {
            Output::Stdout => String::new(),
            Output::File(path) => path.display().to_string(),
        };
        Self {
            command,
            page,
            client,
            http1: None,
            messages,
            payload,
            retries: Retries::new(command.retry),
            sink: Sink::new(&page.output),
            progress: Progress::new(command.progress, &page.output),
            started: Instant::now(),
            until: None,
            facts: Facts {
                url: page.url.to_string(),
                file,
                ..Facts::default()
            },
        }
    }

    /// Fetches the page, tells what is to be told, and says how it went: an interception that the
    /// policy lets pass still decides the exit status.
    pub(super) async fn run(mut self, max_time: Option<Duration>, number: usize) -> Facts {
        self.facts.number = number;
        let end = self.follow_with_retries(max_time).await;
        self.progress.end();
        // What came before a failure is written, as curl does.
        let written = self.sink.finish().await;
        let end = end.and(written.map_err(Stop::from));
        if let Err(Stop::Failed(failure)) = end {
            messages::error(&failure);
            self.facts.exit = self.facts.exit.or_worse(failure.exit);
            self.facts.error = failure.message;
        }
        self.facts.total = self.started.elapsed();
        self.facts
    }

    /// Repeats a transfer that failed in a way that may pass, as `--retry` says. What has been
    /// written is never written again.
    async fn follow_with_retries(&mut self, max_time: Option<Duration>) -> Result<(), Stop> {
        loop {
            self.until = max_time.map(|limit| Instant::now() + limit);
            let end = self.follow().await;
            let (reason, retry_after) = match &end {
                Err(Stop::Transient(status, after)) => (format!("HTTP status {status}"), *after),
                Err(Stop::Failed(failure)) if retry::may_pass(failure.exit) => {
                    (failure.message.clone(), None)
                }
                Err(Stop::Told) if retry::may_pass(self.facts.exit) => {
                    (self.facts.error.clone(), None)
                }
                _ => return end,
            };
            if !self.retries.are_left() || self.sink.is_open() {
                return end;
            }
            let pause = self.retries.next(retry_after);
            self.messages.note_retry(&reason, pause);
            sleep(pause).await;
            self.facts.repeat();
        }
    }

    async fn follow(&mut self) -> Result<(), Stop> {
        let mut url = self.page.url.clone();
        let mut ask = Ask {
            method: self.command.method.clone(),
            with_body: true,
        };
        loop {
            let exchange = self.ask(&url, &ask).await?;
            self.note_head(&url, &exchange.response);
            let Some(next) = self.redirect(&url, &exchange.response)? else {
                return self.deliver(&url, exchange).await;
            };
            self.write_head(&exchange.response).await?;
            if self.facts.redirects == MAX_REDIRECTS {
                return Err(too_many_redirects(&next).into());
            }
            ask = ask.redirected(exchange.response.status());
            url = next;
            let exit = self.facts.exit;
            self.facts.next_hop(self.started.elapsed());
            self.facts.exit = exit;
        }
    }

    /// Connects, verifies, and sends the request; again while the server has not processed it.
    async fn ask(&mut self, url: &HttpsUrl, ask: &Ask) -> Result<Exchange, Stop> {
        let mut tries = 0;
        loop {
            let unanswered = match self.ask_once(url, ask).await? {
                Ok(exchange) => return Ok(exchange),
                Err(unanswered) => unanswered,
            };
            tries += 1;
            match unanswered.again {
                Some(again) if tries <= MAX_AGAIN => {
                    tracing::debug!(?again, "request sent again");
                    if again == Again::Http1 && self.http1.is_none() {
                        self.http1 = Some(self.client.http1_only()?);
                    }
                }
                _ => return Err(unanswered.failure.into()),
            }
        }
    }

    async fn ask_once(
        &mut self,
        url: &HttpsUrl,
        ask: &Ask,
    ) -> Result<Result<Exchange, Unanswered>, Stop> {
        let first = url.endpoint() == self.page.url.endpoint();
        self.facts.url_effective = url.to_string();
        self.facts.method = ask.method.to_string();
        let upload = self.upload(ask)?;
        let stream = self.connect(url).await?;
        self.facts.asked = self.started.elapsed();
        self.facts.upload = upload.watch();
        let body = match ask.with_body {
            true => OfBody::Typed(self.command.payload.content_type.as_ref()),
            false => OfBody::Dropped,
        };
        let fields = self.command.fields.for_request(first, body);
        let asking = http::ask(stream, url, ask.method.clone(), fields, upload);
        let asking = watched(asking, &self.facts.upload, &mut self.progress);
        let answer = in_time(self.until, url, asking).await;
        self.progress.end();
        self.facts.answered = self.started.elapsed();
        Ok(answer?)
    }

    async fn connect(&mut self, url: &HttpsUrl) -> Result<ClientStream<TcpStream>, Stop> {
        let start = self.started.elapsed();
        let whose = match self.command.pages.first() {
            Some(page) if page.url.endpoint() == url.endpoint() => Whose::First,
            _ => Whose::Another,
        };
        let client = self.http1.as_ref().unwrap_or(self.client);
        let (attempt, stream) = client.connect(url.endpoint(), whose, self.until).await;
        let facts = &mut self.facts;
        facts.exit = facts.exit.or_worse(attempt.exit());
        if let Some(verdict) = &attempt.verdict {
            facts.take_verdict(start, verdict);
        }
        if let Some(failure) = &attempt.failure {
            facts.error.clone_from(&failure.message);
            facts.reason = failure.token;
        }
        self.messages.tell(&attempt)?;
        stream.ok_or(Stop::Told)
    }

    /// A body that cannot be sent again is told before there is a connection to send it over.
    fn upload(&mut self, ask: &Ask) -> Result<Upload, Failure> {
        match ask.with_body && !self.payload.is_empty() {
            true => self.payload.upload(),
            false => Ok(Upload::empty()),
        }
    }

    fn note_head(&mut self, url: &HttpsUrl, response: &Response<Incoming>) {
        let facts = &mut self.facts;
        facts.status = response.status().as_u16();
        facts.http_version = match response.version() {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        facts.fields = response.headers().clone();
        facts.heads += head(response).len();
        facts.redirect_url = match redirect::target(url, response.status(), response.headers()) {
            Ok(Some(target)) => target.to_string(),
            Ok(None) => String::new(),
            Err(_) => facts.field(LOCATION.as_str()),
        };
    }

    /// Where to go next, if anywhere (RFC 9110, section 15.4).
    fn redirect(
        &self,
        url: &HttpsUrl,
        response: &Response<Incoming>,
    ) -> Result<Option<HttpsUrl>, Failure> {
        if !self.command.follow {
            return Ok(None);
        }
        let target = redirect::target(url, response.status(), response.headers());
        target.map_err(|error| bad_redirect(url, &error))
    }

    /// Writes the response out.
    async fn deliver(&mut self, url: &HttpsUrl, exchange: Exchange) -> Result<(), Stop> {
        let status = exchange.response.status();
        if retry::is_transient(status) && self.retries.are_left() && !self.sink.is_open() {
            let after = retry::retry_after(exchange.response.headers());
            return Err(Stop::Transient(status, after));
        }
        if self.command.fail && (status.is_client_error() || status.is_server_error()) {
            return Err(http_status(url, status).into());
        }
        self.write_head(&exchange.response).await?;
        self.sink.open().await?;
        let Exchange {
            response,
            connection: _connection,
        } = exchange;
        if self.command.show != Show::Head {
            self.deliver_body(url, response).await?;
        }
        Ok(())
    }

    async fn deliver_body(
        &mut self,
        url: &HttpsUrl,
        response: Response<Incoming>,
    ) -> Result<(), Stop> {
        let received = Received::default();
        let length = response.body().size_hint().exact();
        let mut pieces = self.pieces(url, response, received.clone())?;
        while let Some(piece) = in_time(self.until, url, pieces.next()).await? {
            self.facts.downloaded = received.count();
            let data = piece.map_err(|error| self.broken(url, error))?;
            in_time(self.until, url, self.sink.write(&data)).await??;
            self.progress
                .show("received", self.facts.downloaded, length);
            if self.sink.is_left() {
                break;
            }
        }
        Ok(())
    }

    fn pieces(
        &self,
        url: &HttpsUrl,
        response: Response<Incoming>,
        received: Received,
    ) -> Result<Pieces, Failure> {
        let (head, body) = response.into_parts();
        let codings = match self.command.compressed {
            true => Codings::of(&head.headers),
            false => Ok(Codings::none()),
        };
        let codings = codings.map_err(|reason| decode::undecodable(url, &reason))?;
        // Over HTTP/2 a server may reset with NO_ERROR what it has answered early (RFC 9113,
        // section 8.1), and hyper takes that for an end wherever it comes.
        let is_h2 = head.version == Version::HTTP_2;
        let upload = self.facts.upload.clone();
        let is_whole =
            move |body: &Incoming| !is_h2 || body.is_end_stream() || !upload.is_complete();
        let pieces = decode::pieces(body, received, is_whole);
        Ok(codings.decoded(pieces))
    }

    fn broken(&self, url: &HttpsUrl, error: io::Error) -> Failure {
        if let Some(failure) = self.facts.upload.failure() {
            return failure;
        }
        match error.downcast::<BrokenOff>() {
            Ok(BrokenOff(error)) => http::broken_off(url, error.as_ref()),
            Err(error) => decode::undecodable(url, &error),
        }
    }

    /// With `--include` and `--head`: as curl does, every hop's.
    async fn write_head(&mut self, response: &Response<Incoming>) -> Result<(), Failure> {
        match self.command.show {
            Show::Body => Ok(()),
            Show::Head | Show::HeadAndBody => self.sink.write(&head(response)).await,
        }
    }
}

/// Shows how far an upload is while the answer is waited for.
async fn watched<T>(asking: impl Future<Output = T>, watch: &Watch, progress: &mut Progress) -> T {
    tokio::pin!(asking);
    loop {
        tokio::select! {
            answer = &mut asking => return answer,
            () = sleep(GLANCE), if watch.length() != Some(0) => {
                progress.show("sent", watch.sent(), watch.length());
            }
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
    let status = response.status();
    let (version, reason) = match response.version() {
        // It knows no words (RFC 9113, section 8.3.2); curl writes the space all the same.
        Version::HTTP_2 => ("HTTP/2", &b""[..]),
        Version::HTTP_10 => ("HTTP/1.0", reason(response)),
        _ => ("HTTP/1.1", reason(response)),
    };
    let mut head = format!("{version} {} ", status.as_str()).into_bytes();
    head.extend_from_slice(reason);
    head.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The server's own words, of which hyper keeps those that are not the usual ones.
fn reason(response: &Response<Incoming>) -> &[u8] {
    match response.extensions().get::<ReasonPhrase>() {
        Some(phrase) => phrase.as_bytes(),
        None => response
            .status()
            .canonical_reason()
            .unwrap_or_default()
            .as_bytes(),
    }
}

fn bad_redirect(url: &HttpsUrl, error: &TargetError) -> Failure {
    let message = format!(
        "{url} redirects to what cannot be followed: {error}. Without --location the answer \
         itself is shown."
    );
    Failure::new(Exit::UnsupportedProtocol, "unsupported-redirect", message)
}

fn too_many_redirects(next: &HttpsUrl) -> Failure {
    let message = format!("more than {MAX_REDIRECTS} redirects, the last one to {next}.");
    Failure::new(Exit::TooManyRedirects, "too-many-redirects", message)
}

fn http_status(url: &HttpsUrl, status: StatusCode) -> Failure {
    let message =
        format!("{url} answered with HTTP status {status}. Without --fail its body is shown.");
    Failure::new(Exit::HttpStatus, "http-status", message)
}
