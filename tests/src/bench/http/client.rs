//! The client: plain TLS, HTTP/1.1, and nothing that the measurement does not need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mtls_certs::Pki;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Content, Error, HttpArgs, Kind, Mode};
use crate::tls;

/// One batch: everything in microseconds, but for the rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Asks either server.
#[derive(Clone)]
pub(super) struct Client {
    addresses: [SocketAddr; 2],
    tls: TlsConnector,
}

impl Client {
    pub(super) fn new(pki: &Pki, addresses: [SocketAddr; 2]) -> Result<Self, Error> {
        let mut config = tls::client_config(&[&pki.ca])?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            addresses,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Some requests, by several clients at a time.
    pub(super) async fn batch(
        &self,
        kind: Kind,
        (content, mode): (Content, Mode),
        args: &HttpArgs,
    ) -> Result<Sample, Error> {
        let total = match mode {
            Mode::KeepAlive => args.requests,
            Mode::NewConnection => args.connections,
        };
        let each = total.get().div_ceil(args.concurrency.get());
        let mut clients = JoinSet::new();
        let mut talks = Vec::new();
        for _ in 0..args.concurrency.get() {
            // Connections that are kept are there before the clock starts.
            talks.push(match mode {
                Mode::KeepAlive => Some(self.connect(kind).await?),
                Mode::NewConnection => None,
            });
        }
        let started = Instant::now();
        for talk in talks {
            let client = self.clone();
            clients.spawn(async move {
                match talk {
                    Some(talk) => talk.ask_again(content, each).await,
                    None => client.ask_anew(kind, content, each).await,
                }
            });
        }
        let mut times = Vec::new();
        while let Some(done) = clients.join_next().await {
            times.extend(done??);
        }
        let seconds = started.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        Ok(Sample {
            requests_per_second: times.len() as f64 / seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
        })
    }

    async fn ask_anew(&self, kind: Kind, content: Content, count: u32) -> Result<Vec<f64>, Error> {
        let mut times = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let started = Instant::now();
            let mut talk = self.connect(kind).await?;
            talk.ask(content).await?;
            times.push(micros(started));
        }
        Ok(times)
    }

    async fn connect(&self, kind: Kind) -> Result<Talk, Error> {
        let address = self.addresses[kind as usize];
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        Ok(Talk {
            stream: self.tls.connect(name, tcp).await?,
            received: Vec::with_capacity(64 * 1024),
        })
    }
}

/// A connection.
struct Talk {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Talk {
    async fn ask_again(mut self, content: Content, count: u32) -> Result<Vec<f64>, Error> {
        let mut times = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let started = Instant::now();
            self.ask(content).await?;
            times.push(micros(started));
        }
        Ok(times)
    }

    /// Sends a request and reads the whole answer.
    async fn ask(&mut self, content: Content) -> Result<(), Error> {
        let path = content.path();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server closed early".into());
            }
            if let Some(length) = answer_length(&self.received)?
                && self.received.len() >= length
            {
                return Ok(());
            }
        }
    }
}

/// How long an answer is, when its head is there.
fn answer_length(received: &[u8]) -> Result<Option<usize>, Error> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end])?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("unexpected answer: {head}").into());
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without a length")?
        .1;
    Ok(Some(end + 4 + length.parse::<usize>()?))
}

fn micros(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(answer_length(head).expect("a head"), Some(head.len() + 5));
        assert_eq!(answer_length(&head[..20]).expect("no head yet"), None);
        assert!(answer_length(b"HTTP/1.1 404 x\r\nContent-Length: 5\r\n\r\n").is_err());
        assert!(answer_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
