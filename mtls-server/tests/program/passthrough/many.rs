//! Many tunnels at once.

use mtls_core::proto::binding::Binding;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::common::{REQUIRE, Site, read_head, send_get};
use crate::passthrough::world::*;

const TUNNELS: usize = 1000;

/// The limit for one idle tunnel of the passthrough, in KiB of resident memory of a debug build.
const PER_TUNNEL: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn thousand_verified_tunnels_at_once_cost_kilobytes_each() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("to raise a soft limit");
    if limit
        .current
        .is_some_and(|files| files < 3 * TUNNELS as u64)
    {
        eprintln!(
            "skipped: the system allows only {:?} open files",
            limit.current
        );
        return;
    }
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(nginx.address, &REQUIRE);
    let connector = site.connector();
    let mut open = Vec::new();
    // The first tunnels also pay for memory that all share.
    open.extend(connect(&connector, through.address, 20).await);
    let before = resident(through.id());
    open.extend(connect(&connector, through.address, TUNNELS - 20).await);
    let grown = resident(through.id()).saturating_sub(before);
    let each = grown / (TUNNELS as u64 - 20);
    println!("{TUNNELS} idle tunnels: {each} KiB of resident memory each");
    assert!(each < PER_TUNNEL, "{each} KiB for each tunnel");
    for stream in &mut open {
        send_get(stream, "/index.html", "keep-alive").await;
    }
    for stream in &mut open {
        let (head, _) = read_head(stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}

type Stream = mtls_core::ClientStream<tokio::net::TcpStream>;

/// So many verified connections, 32 at a time.
async fn connect(
    connector: &mtls_core::MultipathConnector,
    to: std::net::SocketAddr,
    count: usize,
) -> Vec<Stream> {
    let mut open = Vec::new();
    let mut connecting = JoinSet::new();
    while open.len() < count {
        while connecting.len() < 32 && open.len() + connecting.len() < count {
            let connector = connector.clone();
            connecting.spawn(async move { connector.connect(&to.into()).await });
        }
        let connected = connecting.join_next().await.expect("a connection");
        let stream = connected.expect("a task").expect("a verified stream");
        assert_eq!(stream.verdict().binding(), Some(Binding::Hello));
        open.push(stream);
    }
    open
}
