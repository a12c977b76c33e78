//! `mtls-lab verdicts`: the verdict that a server under `prefer` has when it reads the first request,
//! over side paths that are slower than the primary path, and what that costs the client.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use mtls_core::Policy;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Result;
use crate::sim::{Client, Lab, ServerKind};

/// How many times slower the side path is.
const FACTORS: [u64; 4] = [1, 2, 5, 20];

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Show the server's verdict over side paths 1, 2, 5 and 20 times slower than the primary path.
///
/// The real connector and acceptor run in a simulated network, in which the clock is virtual and
/// computation takes no time. The exit status is 0 if every verdict and every time is as specified.
#[derive(Args, Clone, Copy, Debug)]
pub struct VerdictsArgs {
    /// Round-trip time of the primary path in milliseconds, even
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = even)]
    primary: u64,
}

fn even(text: &str) -> std::result::Result<u64, String> {
    match text.parse() {
        Ok(ms) if (4..=100).contains(&ms) && ms % 2 == 0 => Ok(ms),
        _ => Err("expected an even number from 4 to 100".to_owned()),
    }
}

/// Runs the simulations, prints the table, and reports whether it is as specified.
pub fn run(args: &VerdictsArgs) -> ExitCode {
    let primary = Duration::from_millis(args.primary);
    match rows(primary).and_then(|rows| Ok(print(&mut anstream::stdout(), primary, &rows)?)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the simulation failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One connection.
struct Row {
    client: &'static str,
    side: Duration,
    /// When the client had its stream, and when the server had read the request: both counted from
    /// the client's first packet.
    ready: Duration,
    read: Duration,
    verdict: &'static str,
    expected: &'static str,
}

impl Row {
    /// The time that the server held the request.
    fn held(&self, primary: Duration) -> Duration {
        self.read.saturating_sub(self.ready + primary / 2)
    }

    /// A verified client's Confirm leaves with its request, and takes half of its own round trip.
    fn is_right(&self, primary: Duration) -> bool {
        let held = match self.expected {
            "verified" => self.side.saturating_sub(primary) / 2,
            _ => Duration::ZERO,
        };
        self.verdict == self.expected && self.read == self.ready + primary / 2 + held
    }
}

fn rows(primary: Duration) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for factor in FACTORS {
        let side = primary * u32::try_from(factor)?;
        let lab = || Lab {
            server: ServerKind::Multipath(Policy::Prefer),
            ..Lab::honest(primary, &[side])
        };
        let plain = lab().run(|client| async move { plain(&client).await });
        let verifying = lab().run(|client| async move { verifying(&client).await });
        let clients = [
            ("plain TLS", "unverified"),
            ("new side connection", "verified"),
            ("kept side connection", "verified"),
        ];
        let times = plain.client.into_iter().chain(verifying.client);
        let served = plain.served.into_iter().chain(verifying.served);
        for ((client, expected), ((began, ready), served)) in
            clients.into_iter().zip(times.zip(served))
        {
            rows.push(Row {
                client,
                side,
                ready: ready - began,
                read: served.request_at - began,
                verdict: served.outcome.unwrap_or("none"),
                expected,
            });
        }
    }
    Ok(rows)
}

type Times = Vec<(Duration, Duration)>;

async fn plain(client: &Client) -> Times {
    let began = turmoil::elapsed();
    let mut stream = client.plain().await.expect("a stream");
    let ready = turmoil::elapsed();
    ask(&mut stream).await;
    vec![(began, ready)]
}

/// Two connections of a client that requires verification.
async fn verifying(client: &Client) -> Times {
    let connector = client.connector(Policy::Require).build();
    let connector = connector.expect("a connector");
    let mut times = Vec::new();
    for _ in 0..2 {
        let began = turmoil::elapsed();
        let stream = connector.connect(&client.target()).await;
        let mut stream = stream.expect("a verified stream");
        times.push((began, turmoil::elapsed()));
        ask(&mut stream).await;
    }
    times
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    stream.write_all(b"ping").await.expect("to write");
    stream.flush().await.expect("to flush");
    stream.read_exact(&mut [0; 4]).await.expect("an answer");
}

fn print(out: &mut impl Write, primary: Duration, rows: &[Row]) -> io::Result<bool> {
    let ms = |time: Duration| format!("{} ms", time.as_millis());
    writeln!(
        out,
        "{STRONG}{:<10}{:<22}{:>12}{:>14}{:>10}  verdict{STRONG:#}",
        "side RTT", "client", "stream ready", "request read", "held"
    )?;
    for row in rows {
        let style = if row.is_right(primary) { GOOD } else { BAD };
        writeln!(
            out,
            "{:<10}{:<22}{:>12}{:>14}{:>10}  {style}{}{style:#}",
            ms(row.side),
            row.client,
            ms(row.ready),
            ms(row.read),
            ms(row.held(primary)),
            row.verdict,
        )?;
    }
    let right = rows.iter().filter(|row| row.is_right(primary)).count();
    writeln!(
        out,
        "\n{FAINT}Primary RTT {}; times count from the client's first packet. A verified client's \
         request is held\nfor half the difference of the round-trip times, once for each \
         connection; others are not held.{FAINT:#}\n{right} of {} verdicts and times are as \
         specified (docs/protocol.md, section 6.2).",
        ms(primary),
        rows.len()
    )?;
    Ok(right == rows.len())
}
