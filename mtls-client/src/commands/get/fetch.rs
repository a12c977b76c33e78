//! The transfer of one page: connections, redirects, retries and output.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::body::Body as _;
use hyper::header::{HeaderMap, LOCATION};
use hyper::{Method, Response, StatusCode, Version};
use mtls_core::Verdict;
use tokio::time::{Instant, sleep, timeout_at};

use super::body::{BodyError, ResponseBody};
use super::decode::{self, Codings, Incomplete, Pieces, Received};
use super::facts::Facts;
use super::fields::Body;
use super::head;
use super::http::{self, Exchange, NoResponse};
use super::http3;
use super::payload::{Payload, Upload};
use super::progress::Progress;
use super::redirect::{self, Step};
use super::retry::{self, MAX_RESENDS, Resend, Retries};
use super::settings::{Get, Page, Show};
use super::sink::{Output, Sink};
use crate::args::target::HttpsUrl;
use crate::connect::client::Client;
use crate::connect::http3::AnyConnection;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages::{self, Messages};

/// The minimum time for the reader of the output to receive what was written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The transfer of one page.
pub(super) struct Fetch<'a> {
    command: &'a Get,
    page: &'a Page,
    client: &'a Client<'a>,
    /// For a server that requires HTTP/1.1.
    http1: Option<Client<'a>>,
    messages: Messages<'a>,
    payload: &'a mut Payload,
    retries: Retries,
    sink: Sink<'a>,
    progress: Progress,
    started: Instant,
    until: Option<Instant>,
    facts: Facts,
    /// Of the last connection.
    verdict: Option<Verdict>,
}

/// The reason why a transfer ends.
enum Stop {
    /// There is no connection, and its failure has been reported.
    Reported,
    Failed(Failure),
    /// The response has a transient status, and this `Retry-After`.
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
            verdict: None,
        }
    }

    /// Fetches the page and reports failures. An interception decides the exit status even if the
    /// policy accepts it.
    pub(super) async fn run(mut self, max_time: Option<Duration>, number: usize) -> Facts {
        self.facts.number = number;
        let end = self.follow_with_retries(max_time).await;
        self.progress.end();
        // Data received before a failure is written, as in curl, unless the reader has stalled.
        let until = self.until;
        let until = until.map(|until| until.max(Instant::now() + FLUSH_TIMEOUT));
        let written = write_in_time(until, self.sink.finish()).await;
        let end = end.and(written.map_err(Stop::from));
        if let Err(Stop::Failed(failure)) = end {
            messages::error(&failure);
            self.facts.exit = self.facts.exit.or_worse(failure.exit);
            self.facts.error = failure.message;
        }
        self.facts.total = self.started.elapsed();
        self.facts
    }

    /// Fetches the page, and retries transient failures up to `--retry` times, unless output has
    /// been written.
    async fn follow_with_retries(&mut self, max_time: Option<Duration>) -> Result<(), Stop> {
        loop {
            self.until = max_time.map(|limit| Instant::now() + limit);
            let end = self.follow().await;
            let (reason, retry_after) = match &end {
                Err(Stop::Transient(status, after)) => (format!("HTTP status {status}"), *after),
                Err(Stop::Failed(failure)) if retry::is_transient_failure(failure.exit) => {
                    (failure.message.clone(), None)
                }
                Err(Stop::Reported) if retry::is_transient_failure(self.facts.exit) => {
                    (self.facts.error.clone(), None)
                }
                _ => return end,
            };
            if !self.retries.are_left() || self.sink.is_open() {
                return end;
            }
            let pause = self.retries.next(retry_after);
            self.messages.retry(&reason, pause);
            sleep(pause).await;
            self.facts.reset_for_retry();
        }
    }

    async fn follow(&mut self) -> Result<(), Stop> {
        let mut url = self.page.url.clone();
        let mut step = Step {
            method: self.command.method.clone(),
            with_body: true,
        };
        loop {
            let exchange = self.request(&url, &step).await?;
            self.record_head(&url, &exchange.response);
            self.remember(&url, &exchange.response).await;
            let Some(next) = self.redirect(&url, &exchange.response)? else {
                return self.deliver(&url, exchange).await;
            };
            self.write_head(&exchange.response).await?;
            if self.facts.redirects == redirect::MAX_REDIRECTS {
                return Err(redirect::too_many(&next).into());
            }
            step = step.redirected(exchange.response.status());
            url = next;
            self.facts.reset_for_redirect(self.started.elapsed());
        }
    }

    /// Connects, verifies, and sends the request; again if the server has not processed it.
    async fn request(&mut self, url: &HttpsUrl, step: &Step) -> Result<Exchange, Stop> {
        let mut tries = 0;
        loop {
            let NoResponse { failure, resend } = match self.request_once(url, step).await? {
                Ok(exchange) => return Ok(exchange),
                Err(no_response) => no_response,
            };
            tries += 1;
            match resend {
                Some(Resend::Http1) if self.client.http3().is_only() => return Err(failure.into()),
                Some(resend) if tries <= MAX_RESENDS => {
                    tracing::debug!(?resend, "request sent again");
                    if resend == Resend::Http1 && self.http1.is_none() {
                        self.http1 = Some(self.client.http1_only()?);
                    }
                }
                _ => return Err(failure.into()),
            }
        }
    }

    async fn request_once(
        &mut self,
        url: &HttpsUrl,
        step: &Step,
    ) -> Result<Result<Exchange, NoResponse>, Stop> {
        let first = url.endpoint() == self.page.url.endpoint();
        self.facts.url_effective = url.to_string();
        self.facts.method = step.method.to_string();
        let upload = self.upload(step)?;
        let connection = self.connect(url).await?;
        self.facts.request_sent = self.started.elapsed();
        self.facts.upload = upload.watch();
        let body = match step.with_body {
            true => Body::Sent(self.command.content.content_type.as_ref()),
            false => Body::Dropped,
        };
        let fields = self.command.fields.for_request(first, body);
        let method = step.method.clone();
        let exchange = async {
            match connection {
                AnyConnection::Tcp(stream) => {
                    http::send(*stream, url, method, fields, upload).await
                }
                AnyConnection::Quic(quic) => {
                    http3::send(quic.into_inner(), url, method, fields, upload).await
                }
            }
        };
        let exchange = self.progress.during_upload(exchange, &self.facts.upload);
        let result = in_time(self.until, url, exchange).await;
        self.progress.end();
        self.facts.first_byte = self.started.elapsed();
        Ok(result?)
    }

    async fn connect(&mut self, url: &HttpsUrl) -> Result<AnyConnection, Stop> {
        let start = self.started.elapsed();
        let side_endpoint = self.command.side_endpoint(url.endpoint());
        let client = self.http1.as_ref().unwrap_or(self.client);
        let (attempt, connection) = client
            .connect_any(url.endpoint(), side_endpoint, self.until)
            .await;
        self.verdict.clone_from(&attempt.verdict);
        let facts = &mut self.facts;
        facts.exit = facts.exit.or_worse(attempt.exit());
        if let Some(verdict) = &attempt.verdict {
            facts.record_verdict(start, verdict);
        }
        if let Some(failure) = &attempt.failure {
            facts.error.clone_from(&failure.message);
            facts.reason = failure.token;
        }
        self.messages.result(&attempt)?;
        connection.ok_or(Stop::Reported)
    }

    /// The body of a request. Called before connecting, because a pipe cannot be read again.
    fn upload(&mut self, step: &Step) -> Result<Upload, Failure> {
        match step.with_body && !self.payload.is_empty() {
            true => self.payload.upload(),
            false => Ok(Upload::empty()),
        }
    }

    fn record_head(&mut self, url: &HttpsUrl, response: &Response<ResponseBody>) {
        let facts = &mut self.facts;
        facts.status = response.status().as_u16();
        facts.http_version = match response.version() {
            Version::HTTP_2 => "2",
            Version::HTTP_3 => "3",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        facts.fields = response.headers().clone();
        facts.heads += head::render(response).len();
        facts.redirect_url = match redirect::target(url, response.status(), response.headers()) {
            Ok(Some(target)) => target.to_string(),
            Ok(None) => String::new(),
            Err(_) => facts.field(LOCATION.as_str()),
        };
    }

    /// Remembers the server at its request.
    async fn remember(&self, url: &HttpsUrl, response: &Response<ResponseBody>) {
        let known_hosts = self.client.known_hosts();
        if let Some(verdict) = &self.verdict {
            let http3 = self.client.http3();
            http3.follow(url.endpoint(), verdict, response.headers());
            let following = known_hosts.follow(url.endpoint(), verdict, response.headers());
            self.messages.notices(&following.await);
        }
    }

    /// The target of a redirect to follow (RFC 9110, section 15.4).
    fn redirect(
        &self,
        url: &HttpsUrl,
        response: &Response<ResponseBody>,
    ) -> Result<Option<HttpsUrl>, Failure> {
        if !self.command.follow {
            return Ok(None);
        }
        let target = redirect::target(url, response.status(), response.headers());
        target.map_err(|error| redirect::not_followed(url, &error))
    }

    /// Writes the response.
    async fn deliver(&mut self, url: &HttpsUrl, exchange: Exchange) -> Result<(), Stop> {
        let status = exchange.response.status();
        if retry::is_transient(status) && self.retries.are_left() && !self.sink.is_open() {
            let after = retry::retry_after(exchange.response.headers());
            return Err(Stop::Transient(status, after));
        }
        if self.command.fail && status.as_u16() >= 400 {
            return Err(http_status(url, status).into());
        }
        self.write_head(&exchange.response).await?;
        write_in_time(self.until, self.sink.open()).await?;
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
        response: Response<ResponseBody>,
    ) -> Result<(), Stop> {
        let received = Received::default();
        let length = self.length(&response);
        let mut pieces = self.pieces(url, response, received.clone())?;
        while let Some(piece) = in_time(self.until, url, pieces.next()).await? {
            self.facts.downloaded = received.count();
            let data = piece.map_err(|error| self.incomplete(url, error))?;
            write_in_time(self.until, self.sink.write(&data)).await?;
            self.progress
                .show("received", self.facts.downloaded, length);
            if self.sink.is_closed() {
                break;
            }
        }
        Ok(())
    }

    /// The length of the body, if known. `Content-Length` may be that of another response (RFC 9110,
    /// section 8.6).
    fn length(&self, response: &Response<ResponseBody>) -> Option<u64> {
        let is_empty = matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        match is_empty || self.facts.method == Method::HEAD.as_str() {
            true => Some(0),
            false => response.body().size_hint().exact(),
        }
    }

    fn codings(&self, fields: &HeaderMap) -> Result<Codings, String> {
        let transfer = Codings::of_transfer(fields)?;
        match self.command.compressed {
            true => Codings::of_content(fields, transfer),
            false => Ok(transfer),
        }
    }

    fn pieces(
        &self,
        url: &HttpsUrl,
        response: Response<ResponseBody>,
        received: Received,
    ) -> Result<Pieces, Failure> {
        let length = self.length(&response);
        let (head, body) = response.into_parts();
        let compressed = self.command.compressed;
        let codings = self.codings(&head.headers);
        let codings = codings.map_err(|reason| decode::undecodable(url, &reason, compressed))?;
        // An HTTP/2 server that has responded early may reset the stream with NO_ERROR (RFC 9113,
        // section 8.1). hyper treats that as the end of the body, even before the body is complete.
        let is_h2 = head.version == Version::HTTP_2;
        let upload = self.facts.upload.clone();
        let is_whole =
            move |body: &ResponseBody| !is_h2 || body.is_end_stream() || !upload.is_complete();
        let pieces = decode::pieces(body, received, length, is_whole);
        Ok(codings.decoded(pieces))
    }

    fn incomplete(&self, url: &HttpsUrl, error: io::Error) -> Failure {
        if let Some(failure) = self.facts.upload.failure() {
            return failure;
        }
        match error.downcast::<Incomplete>() {
            Ok(Incomplete(None)) => http::partial_response(url, None),
            Ok(Incomplete(Some(BodyError::Hyper(error)))) => {
                http::partial_response(url, Some(&error))
            }
            Ok(Incomplete(Some(BodyError::Http3(error)))) => http3::of_stream(url, &error),
            Err(error) => decode::undecodable(url, &error, self.command.compressed),
        }
    }

    /// Writes the head with `--include` and `--head`: as in curl, of each redirect too.
    async fn write_head(&mut self, response: &Response<ResponseBody>) -> Result<(), Failure> {
        match self.command.show {
            Show::Body => Ok(()),
            Show::Head | Show::HeadAndBody => {
                let head = head::render(response);
                write_in_time(self.until, self.sink.write(&head)).await
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

async fn write_in_time(
    until: Option<Instant>,
    writing: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    match until {
        None => writing.await,
        Some(until) => timeout_at(until, writing)
            .await
            .unwrap_or_else(|_| Err(Failure::max_time("writing the response"))),
    }
}

fn http_status(url: &HttpsUrl, status: StatusCode) -> Failure {
    let message = format!("{url} returned HTTP status {status}; omit --fail to see the body");
    Failure::new(Exit::HttpStatus, "http-status", message)
}
