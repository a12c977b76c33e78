//! `mtls-lab mptcp`: verified transfers over Multipath TCP, with two emulated links between
//! namespaces: the capacity of both, and the loss of the first.

mod attacks;
mod forger;
mod hosts;
mod mitm;
mod naive;
mod reader;
mod replaced;
mod splicer;
mod transfer;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mtls_core::path::{MptcpReport, Path};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Builder;

use crate::link::{Link, LinkSettings, TwoLinks};
use crate::netns::{self, INTERFACES};
use crate::{Result, World};

pub use crate::sockets::mptcp_listener;
pub use attacks::{
    Interference, change_proof, cut_exchange, drop_prio, reset_joins, strip_mp_capable,
};
pub use forger::Forger;
pub use hosts::{MitmHost, PORT, ServerHost};
pub use mitm::{MptcpMitm, MptcpMitmPlan};
pub use naive::{FORGED, fool_naive_receiver};
pub use reader::LinkReader;
pub use splicer::Splicer;
pub use transfer::{Direction, Transfer, Transferred};

/// Transfer data over Multipath TCP connections that are verified, and print a table.
///
/// Use a release build, as root (for network namespaces): `cargo run --release -p mtls-lab -- mptcp`.
#[derive(Args, Clone, Debug)]
pub struct MptcpArgs {
    /// Bytes of each transfer
    #[arg(long, value_name = "BYTES", default_value = "8000000")]
    pub bytes: usize,
    /// Rate of each link in bits per second
    #[arg(long, value_name = "BITS", default_value = "20000000")]
    pub rate: u64,
    /// Round-trip time of each link in milliseconds
    #[arg(long, value_name = "MS", default_value = "20")]
    pub rtt: u64,
}

/// The reason why this machine runs no Multipath TCP between namespaces; `None` where it does.
#[must_use]
pub fn unavailable() -> Option<String> {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    netns::unavailable().or_else(|| Some(format!("no Multipath TCP: {}", socket().err()?)))
}

/// Whether a test of Multipath TCP must be skipped here; prints the reason.
#[must_use]
pub fn skipped() -> bool {
    let reason = unavailable();
    if let Some(reason) = &reason {
        anstream::println!("skipped: {reason}");
    }
    reason.is_some()
}

/// Two links, of which the second is slower, between kernels that support a side exchange inside a
/// connection: `path_manager` is the client's, `userspace` or `kernel`.
///
/// # Errors
/// Errors of the system.
pub async fn links_for_exchange(path_manager: &str) -> Result<TwoLinks> {
    let link = |delay| {
        Link::both(LinkSettings {
            delay: Duration::from_millis(delay),
            ..LinkSettings::default()
        })
    };
    let links = TwoLinks::new([link(2), link(5)], 1).await?;
    allow_exchange(&links, path_manager)?;
    Ok(links)
}

/// Has the kernels support a side exchange inside a connection.
///
/// # Errors
/// Errors of the system.
pub fn allow_exchange(links: &TwoLinks, path_manager: &str) -> Result {
    let setting = format!("net.mptcp.path_manager={path_manager}");
    links.client.sysctl(&setting)?;
    links.server.ip("mptcp limits set subflows 2")
}

/// Has the client's kernel add a subflow over the second link to each connection, and the server's
/// accept it.
///
/// # Errors
/// Errors of `ip`.
pub fn add_subflows(links: &TwoLinks) -> Result {
    links.server.ip("mptcp limits set subflows 2")?;
    links.client.ip("mptcp limits set subflows 2")?;
    let second = INTERFACES[1];
    links
        .client
        .ip(&format!("mptcp endpoint add 10.1.1.2 dev {second} subflow"))
}

/// Makes the transfers and prints them.
#[must_use]
pub fn run(args: &MptcpArgs) -> ExitCode {
    let measured = match unavailable() {
        Some(reason) => Err(reason.into()),
        None => measured(args),
    };
    match measured {
        Ok(table) => {
            anstream::print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            anstream::eprintln!("error: no transfer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(args: &MptcpArgs) -> Result<String> {
    Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(table(args))
}

async fn table(args: &MptcpArgs) -> Result<String> {
    let settings = LinkSettings {
        delay: Duration::from_millis(args.rtt) / 2,
        rate: Some(args.rate),
        ..LinkSettings::default()
    };
    let mut table = format!(
        "{:<44} {:>7} {:>9} {:>7} {:>7}\n",
        "transfer", "seconds", "Mbit/s", "link 1", "link 2"
    );
    for direction in [Direction::Download, Direction::Upload] {
        for (label, mptcp, cut) in [
            ("TCP, one link", false, false),
            ("MPTCP, both links", true, false),
            ("MPTCP, link 1 cut after a third", true, true),
        ] {
            let links = TwoLinks::new([Link::both(settings); 2], 1).await?;
            add_subflows(&links)?;
            let transfer = Transfer {
                primary: Path::system().mptcp(mptcp),
                cut_after: cut.then_some(args.bytes / 3),
                patience: Duration::from_secs(120),
                ..Transfer::new(direction, args.bytes, Path::interface(INTERFACES[1])?)
            };
            let done = transfer.run(&World::new()?, &links).await?;
            table += &row(&format!("{direction}, {label}"), args.bytes, &done);
        }
    }
    Ok(table)
}

fn row(label: &str, bytes: usize, done: &Transferred) -> String {
    let seconds = done.time.as_secs_f64();
    let rate = bytes as f64 * 8e-6 / seconds;
    let all: u64 = done.carried.iter().sum();
    let share = |link: usize| 100.0 * done.carried[link] as f64 / all as f64;
    format!(
        "{label:<44} {seconds:>7.2} {rate:>9.1} {:>6.0}% {:>6.0}%\n",
        share(0),
        share(1)
    )
}

/// Returns whether the connection uses Multipath TCP, by the report of its primary path.
#[must_use]
pub fn is_multipath(report: Option<&MptcpReport>) -> bool {
    report.is_some_and(|report| !report.fallback)
}
