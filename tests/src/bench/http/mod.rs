//! The HTTP server of this project, against plain axum on tokio-rustls.
//!
//! The client is the same for both servers: plain TLS 1.3 and HTTP/1.1, so no connection is
//! verified.

mod client;
mod server;

use mtls_certs::Pki;

use self::client::Client;
pub(super) use self::server::Servers;
use super::figure::{Figure, Limit, Quantity, Subject};
use super::worker::run_client;
use super::{BenchArgs, Comparison};
use crate::Result;
use crate::rounds::Subjects;

/// Size of the served file in bytes.
const FILE_SIZE: usize = 4096;

/// The requested resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// `hello`, by the same axum router at both servers.
    Small,
    /// A file: by `ServeDir`, and by the handler of `serve`.
    File,
}

impl Content {
    fn path(self) -> &'static str {
        match self {
            Self::Small => "/small",
            Self::File => "/file.bin",
        }
    }
}

/// The use of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    KeepAlive,
    /// A connection with a full handshake for each request.
    NewConnection,
}

const CASES: [(Content, Mode); 4] = [
    (Content::Small, Mode::KeepAlive),
    (Content::File, Mode::KeepAlive),
    (Content::Small, Mode::NewConnection),
    (Content::File, Mode::NewConnection),
];

pub(super) fn run(args: &BenchArgs) -> Result<Vec<Figure>> {
    let pki = Pki::new(&["localhost", "127.0.0.1"])?;
    let servers = Servers::start(&pki, FILE_SIZE)?;
    let requests = Requests(Client::new(&pki, servers.addresses())?);
    let args = args.clone();
    run_client(async move { super::compare(&requests, &args).await })
}

struct Requests(Client);

impl Comparison<8> for Requests {
    const BENCHMARK: &'static str = "http";

    const QUANTITIES: [Quantity; 8] = [
        rate("requests for a small body, keep-alive"),
        p99("p99 of a small body, keep-alive"),
        rate("requests for a file, keep-alive"),
        p99("p99 of a file, keep-alive"),
        rate("requests for a small body, new connections"),
        p99("p99 of a small body, new connections"),
        rate("requests for a file, new connections"),
        p99("p99 of a file, new connections"),
    ];

    fn subjects(&self) -> Vec<Subject<8>> {
        let mut limits = [None; 8];
        limits[0] = Some(Limit::RatioAtLeast(0.97));
        vec![
            Subject {
                name: "axum",
                limits: [None; 8],
            },
            Subject {
                name: "mtls-server",
                limits,
            },
        ]
    }
}

const fn rate(name: &'static str) -> Quantity {
    Quantity { name, unit: "1/s" }
}

const fn p99(name: &'static str) -> Quantity {
    Quantity { name, unit: "µs" }
}

impl Subjects for Requests {
    type Sample = [f64; 8];

    async fn measure(&self, subject: usize) -> Result<[f64; 8]> {
        let mut sample = [f64::NAN; 8];
        for (case, pair) in CASES.into_iter().zip(sample.chunks_exact_mut(2)) {
            let batch = self.0.batch(subject, case).await?;
            pair.copy_from_slice(&[batch.requests_per_second, batch.p99_us]);
        }
        Ok(sample)
    }
}
