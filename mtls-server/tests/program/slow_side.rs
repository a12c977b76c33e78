//! Clients that verify over a side path slower than their primary path.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{HUNG, Running, Site, binary, echo_heads, get, patient, verdict_of};
use mtls_core::path::{Endpoint, Path};
use mtls_core::{MultipathConnector, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// One way, over the side path; the primary path is the loopback.
const DELAY: Duration = Duration::from_millis(30);
/// The length of a greeting (docs/protocol.md, section 5.1).
const GREETING: usize = 8;
const CLIENTS: usize = 20;
const VERIFIED: &str = "verified; binding=exporter; sides=1";

/// A path to `to` that delays everything.
async fn slow_path(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.expect("to connect");
            let (from_client, to_client) = near.into_split();
            let (from_server, to_server) = far.into_split();
            tokio::spawn(delayed(from_client, to_server));
            tokio::spawn(delayed(from_server, to_client));
        }
    });
    address
}

/// Copies, and lets every byte arrive [`DELAY`] later.
async fn delayed(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    });
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).await?;
        let chunk = (Instant::now() + DELAY, buffer[..read].to_vec());
        if read == 0 || sender.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}

/// A path to `to` on which the client's Confirm is lost: it follows the server's Proof, and nothing
/// passes to the server after that.
async fn path_without_confirm(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.expect("to connect");
            tokio::spawn(without_confirm(near, far));
        }
    });
    address
}

async fn without_confirm(near: TcpStream, far: TcpStream) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    let mut received = 0;
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = from_client.read(&mut up) => {
                let read = read?;
                // More than a greeting: a Proof.
                if received <= GREETING {
                    to_server.write_all(&up[..read]).await?;
                }
                if read == 0 {
                    return Ok(());
                }
            }
            read = from_server.read(&mut down) => {
                let read = read?;
                received += read;
                to_client.write_all(&down[..read]).await?;
            }
        }
    }
}

/// The first response to a new client that requires verification.
async fn first_response(site: &Site, server: SocketAddr, side: SocketAddr) -> String {
    let settings = patient(Policy::Require)
        .side(Path::system())
        .side_endpoint(Endpoint::from(side));
    let connector = MultipathConnector::builder(site.client_config(), settings)
        .build()
        .expect("a connector");
    let stream = connector.connect(&Endpoint::from(server)).await;
    get(&mut stream.expect("a verified stream"), "/").await
}

/// Waits until the status page counts all clients as verified, and nothing else: what is counted may be
/// counted a moment later.
async fn counts_all_verified(server: &Running, binding: &str) {
    let asking = async {
        loop {
            let counted = counted(server).await;
            if counted == all_verified(binding) {
                return;
            }
            eprintln!("{counted:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let asked = tokio::time::timeout(HUNG, asking).await;
    asked.expect("all are verified");
}

/// The connections that the status page counts, by their labels.
async fn counted(server: &Running) -> Vec<String> {
    let mut stream = TcpStream::connect(server.status_address()).await;
    let stream = stream.as_mut().expect("to connect");
    let metrics = get(stream, "/metrics").await;
    let name = "multipath_tls_connections_total";
    let lines = metrics.lines();
    lines
        .filter_map(|line| line.strip_prefix(name))
        .map(str::to_owned)
        .collect()
}

fn all_verified(binding: &str) -> [String; 1] {
    let labels = format!("verdict=\"verified\",reason=\"none\",binding=\"{binding}\"");
    [format!("{{{labels}}} {CLIENTS}")]
}

/// With a deadline that no pause of a busy machine exceeds.
const PREFER: [&str; 6] = [
    "--policy",
    "prefer",
    "--status",
    "127.0.0.1:0",
    "--deadline",
    "60s",
];

#[tokio::test(flavor = "multi_thread")]
async fn serve_tells_every_verified_client_so_in_its_first_response_and_counts_it_once() {
    let site = Site::new();
    let server = site.serve(&PREFER);
    let side = slow_path(server.address).await;
    for nth in 0..CLIENTS {
        let response = first_response(&site, server.address, side).await;
        assert_eq!(verdict_of(&response), VERIFIED, "client {nth}");
    }
    counts_all_verified(&server, "exporter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_that_never_comes_is_awaited_for_the_deadline() {
    let site = Site::new();
    let [soon, later] = ["100ms", "10m"].map(|time| site.serve(&["--deadline", time]));
    let first = async |server: SocketAddr| {
        let side = path_without_confirm(server).await;
        first_response(&site, server, side).await
    };
    let response = first(soon.address).await;
    assert_eq!(verdict_of(&response), "unverified; reason=not-confirmed");
    // Longer than the default.
    let waited = timeout(Duration::from_secs(4), first(later.address)).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn terminate_tells_the_target_that_every_verified_client_is() {
    let site = Site::new();
    let target = format!("http://{}", echo_heads().await);
    let mut command = binary();
    command.args(["terminate", "--listen", "127.0.0.1:0", "--target", &target]);
    command.arg("--cert").arg(site.pem("server.pem"));
    command.arg("--key").arg(site.pem("server.key"));
    command.args(PREFER);
    let server = Running::start(command);
    let side = slow_path(server.address).await;
    for nth in 0..CLIENTS {
        let response = first_response(&site, server.address, side).await;
        let (head, body) = response.split_once("\r\n\r\n").expect("a body");
        assert_eq!(verdict_of(head), VERIFIED, "client {nth}");
        assert_eq!(verdict_of(body), VERIFIED, "client {nth}: {body}");
    }
    counts_all_verified(&server, "exporter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passthrough_counts_every_verified_client_as_verified() {
    let site = Site::new();
    let target = site.serve(&[]);
    let mut command = binary();
    command.args(["passthrough", "--listen", "127.0.0.1:0"]);
    command.args(["--target", &target.address.to_string()]);
    command.args(PREFER);
    let before = format!("passing through to {} on ", target.address);
    let relay = Running::start_saying(command, &before);
    let side = slow_path(relay.address).await;
    for nth in 0..CLIENTS {
        let response = first_response(&site, relay.address, side).await;
        assert!(response.starts_with("HTTP/1.1 200"), "client {nth}");
    }
    counts_all_verified(&relay, "hello").await;
}
