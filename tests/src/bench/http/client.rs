//! A minimal client: HTTP/1.1 over plain TLS.

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

use super::{Content, Mode};
use crate::bench::worker::micros;
use crate::stats::Sorted;
use crate::{Result, tls};

/// Requests of a batch over connections that are kept alive.
const REQUESTS: usize = 4_000;
/// Requests of a batch over a new connection each.
const CONNECTIONS: usize = 304;
/// Clients at a time.
const CONCURRENCY: usize = 8;

/// The result of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) requests_per_second: f64,
    pub(super) p99_us: f64,
}

/// A client of both servers.
#[derive(Clone)]
pub(super) struct Client {
    addresses: [SocketAddr; 2],
    tls: TlsConnector,
}

impl Client {
    pub(super) fn new(pki: &Pki, addresses: [SocketAddr; 2]) -> Result<Self> {
        let mut config = tls::client_config(&pki.ca)?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            addresses,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Sends requests to one server, from several clients at a time.
    pub(super) async fn batch(
        &self,
        server: usize,
        (content, mode): (Content, Mode),
    ) -> Result<Batch> {
        let mut connections = Vec::new();
        for _ in 0..CONCURRENCY {
            // Connections that are kept alive are open before the clock starts.
            connections.push(match mode {
                Mode::KeepAlive => Some(self.connect(server).await?),
                Mode::NewConnection => None,
            });
        }
        let mut clients = JoinSet::new();
        let started = Instant::now();
        for connection in connections {
            let client = self.clone();
            clients.spawn(async move {
                match connection {
                    Some(connection) => connection.repeat(content).await,
                    None => client.reconnect(server, content).await,
                }
            });
        }
        let mut times = Vec::new();
        while let Some(done) = clients.join_next().await {
            times.extend(done??);
        }
        Ok(Batch {
            requests_per_second: times.len() as f64 / started.elapsed().as_secs_f64(),
            p99_us: Sorted::new(times).quantile(0.99),
        })
    }

    /// Sends each request over a new connection.
    async fn reconnect(&self, server: usize, content: Content) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(CONNECTIONS / CONCURRENCY);
        for _ in 0..CONNECTIONS / CONCURRENCY {
            let started = Instant::now();
            self.connect(server).await?.request(content).await?;
            times.push(micros(started.elapsed()));
        }
        Ok(times)
    }

    async fn connect(&self, server: usize) -> Result<Connection> {
        let address = self.addresses[server];
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        Ok(Connection {
            stream: self.tls.connect(name, tcp).await?,
            received: Vec::with_capacity(64 * 1024),
        })
    }
}

/// A connection.
struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Connection {
    /// Sends all requests over this connection.
    async fn repeat(mut self, content: Content) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(REQUESTS / CONCURRENCY);
        for _ in 0..REQUESTS / CONCURRENCY {
            let started = Instant::now();
            self.request(content).await?;
            times.push(micros(started.elapsed()));
        }
        Ok(times)
    }

    /// Sends a request and reads the whole response.
    async fn request(&mut self, content: Content) -> Result {
        let path = content.path();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server closed early".into());
            }
            if let Some(length) = response_length(&self.received)?
                && self.received.len() >= length
            {
                return Ok(());
            }
        }
    }
}

/// The length of a response, once its head is complete.
fn response_length(received: &[u8]) -> Result<Option<usize>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end])?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("unexpected response: {head}").into());
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("a response without a length")?
        .1;
    Ok(Some(end + 4 + length.parse::<usize>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_ends_where_its_length_says() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(response_length(head).expect("a head"), Some(head.len() + 5));
        assert_eq!(response_length(&head[..20]).expect("no head yet"), None);
        assert!(response_length(b"HTTP/1.1 404 x\r\nContent-Length: 5\r\n\r\n").is_err());
        assert!(response_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
