//! Real load balancers in front, which name the client with the PROXY protocol.
//!
//! Without `haproxy` or `nginx` on the path the tests are skipped, with a message.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{
    HUNG, Running, Site, binary, echo_heads, free_address, get, patient, verdict_of,
};
use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientStream, MultipathConnector, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The address of a client, which the balancers see.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A load balancer; ended on drop.
struct Balancer {
    process: Child,
    address: SocketAddr,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Balancer {
    /// `None`, with a message, where it is not installed.
    fn start(name: &str, arguments: &[&str], address: SocketAddr) -> Option<Self> {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            eprintln!("skipped: {name} is not installed");
            return None;
        };
        let mut balancer = Self { process, address };
        while StdStream::connect(address).is_err() {
            if let Some(status) = balancer.process.try_wait().expect("a state") {
                eprintln!("skipped: {name} does not start here ({status})");
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(balancer)
    }

    /// HAProxy in TCP mode, with this way to balance, and this option of each server.
    fn haproxy(site: &Site, balance: &str, send: &str, servers: &[SocketAddr]) -> Option<Self> {
        let address = free_address();
        let mut config = format!(
            "global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n \
             timeout server 60s\nlisten servers\n bind {address}\n balance {balance}\n"
        );
        for (index, server) in servers.iter().enumerate() {
            config += &format!(" server s{index} {server} {send}\n");
        }
        let file = site.root.path().join("haproxy.cfg");
        fs::write(&file, config).expect("to write");
        Self::start("haproxy", &["-db", "-f", file.to_str()?], address)
    }

    /// nginx as a stream proxy, with this line in `upstream`. It sends version 1.
    fn nginx(site: &Site, balance: &str, servers: &[SocketAddr]) -> Option<Self> {
        let address = free_address();
        let servers: String = servers
            .iter()
            .map(|server| format!("server {server};"))
            .collect();
        let root = site.root.path();
        let modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let load = match std::path::Path::new(modules).exists() {
            true => format!("load_module {modules};"),
            false => String::new(),
        };
        let config = format!(
            "{load} daemon off; master_process off; pid {root}/nginx.pid; error_log stderr;\n\
             events {{}}\nstream {{ upstream servers {{ {balance} {servers} }}\n\
             server {{ listen {address}; proxy_pass servers; proxy_protocol on; }} }}\n",
            root = root.display(),
        );
        let file = root.join("nginx.conf");
        fs::write(&file, config).expect("to write");
        Self::start("nginx", &["-c", file.to_str()?], address)
    }
}

fn terminate(site: &Site, target: SocketAddr, policy: &str) -> Running {
    let mut command = binary();
    command.args(["terminate", "--listen", "127.0.0.1:0", "--policy", policy]);
    command.args(["--target", &format!("http://{target}")]);
    command.arg("--cert").arg(site.pem("server.pem"));
    command.arg("--key").arg(site.pem("server.key"));
    command.args(["--accept-proxy", "127.0.0.0/30", "--deadline", "60s"]);
    Running::start(command)
}

/// The response to a client at [`CLIENT`] that requires verification.
async fn response(site: &Site, address: SocketAddr) -> String {
    let mut stream = connect(site, address).await;
    get(&mut stream, "/").await
}

async fn connect(site: &Site, address: SocketAddr) -> ClientStream<TcpStream> {
    let path: Path = format!("src:{CLIENT}").parse().expect("a path");
    let settings = patient(Policy::Require).primary(path.clone()).side(path);
    let connector = MultipathConnector::builder(site.client_config(), settings).build();
    let connector = connector.expect("a connector");
    let stream = connector.connect(&Endpoint::from(address)).await;
    stream.expect("a verified stream")
}

fn assert_client_is_known(response: &str) {
    // The target's body repeats the field.
    let (head, _) = response.split_once("\r\n\r\n").expect("a head");
    assert!(verdict_of(head).starts_with("verified"), "{response}");
    let forwarded = format!("x-forwarded-for: {CLIENT}\r\n");
    assert!(response.contains(&forwarded), "{response}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_haproxy_are_verified_and_known_by_their_own_addresses() {
    let (site, target) = (Site::new(), echo_heads().await);
    let server = terminate(&site, target, "require");
    for send in ["send-proxy", "send-proxy-v2"] {
        let Some(proxy) = Balancer::haproxy(&site, "roundrobin", send, &[server.address]) else {
            return;
        };
        assert_client_is_known(&response(&site, proxy.address).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_nginx_are_verified_and_known_by_their_own_addresses() {
    let (site, target) = (Site::new(), echo_heads().await);
    let server = terminate(&site, target, "require");
    let Some(proxy) = Balancer::nginx(&site, "", &[server.address]) else {
        return;
    };
    assert_client_is_known(&response(&site, proxy.address).await);
}

/// The paths of this client share an address, so that they reach the same server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_hashing_keeps_one_address_on_one_server() {
    let (site, target) = (Site::new(), echo_heads().await);
    let servers = [(); 2].map(|()| terminate(&site, target, "require"));
    let addresses = servers.each_ref().map(|server| server.address);
    let haproxy = Balancer::haproxy(&site, "source", "send-proxy-v2", &addresses);
    let nginx = Balancer::nginx(&site, "hash $remote_addr;", &addresses);
    for proxy in [haproxy, nginx].iter().flatten() {
        for _ in 0..8 {
            assert_client_is_known(&response(&site, proxy.address).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passthrough_behind_a_balancer_passes_the_client_on() {
    let (site, target) = (Site::new(), echo_heads().await);
    let server = terminate(&site, target, "observe");
    let mut command = binary();
    command.args([
        "passthrough",
        "--listen",
        "127.0.0.1:0",
        "--policy",
        "require",
    ]);
    command.args(["--accept-proxy", "127.0.0.1", "--send-proxy"]);
    command.args(["--target", &server.address.to_string()]);
    let before = format!("passing through to {} on ", server.address);
    let passthrough = Running::start_saying(command, &before);
    let balanced = [passthrough.address];
    let Some(proxy) = Balancer::haproxy(&site, "roundrobin", "send-proxy-v2", &balanced) else {
        return;
    };
    let response = response(&site, proxy.address).await;
    assert!(
        response.contains(&format!("x-forwarded-for: {CLIENT}\r\n")),
        "{response}"
    );
}

#[tokio::test]
async fn a_connection_without_the_header_is_closed_and_logged_and_others_need_none() {
    let site = Site::new();
    let mut server = site.serve(&["--accept-proxy", "127.0.0.1"]);
    let mut balancer = TcpStream::connect(server.address)
        .await
        .expect("to connect");
    balancer
        .write_all(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0")
        .await
        .expect("to write");
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = balancer.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{rest:?}");
    let line = server.wait_for("closed a connection from 127.0.0.1:");
    assert!(
        line.contains("it begins with something else; --accept-proxy"),
        "{line}"
    );
    // No load balancer has this address.
    let mut stream = connect(&site, server.address).await;
    assert!(get(&mut stream, "/").await.ends_with("<p>the index"));
}

#[tokio::test]
async fn the_limits_for_one_peer_count_the_clients_of_a_balancer_apart() {
    let site = Site::new();
    let identity =
        mtls_server::Identity::from_files(&site.pem("server.pem"), &site.pem("server.key"));
    let identity = identity.expect("an identity");
    let mut options = mtls_server::ServerOptions::new(identity, Policy::Observe);
    options.listen = vec![([127, 0, 0, 1], 0).into()];
    options.accept_proxy = vec!["127.0.0.1".parse().expect("an address")];
    options.limits.handshakes.silent_per_peer = 2;
    let files = mtls_server::Files::new(&site.www(), Default::default()).expect("files");
    let service = mtls_server::Site::new(files, &mtls_server::HttpLimits::default());
    let server = mtls_server::Server::bind(options, service)
        .await
        .expect("a server");
    let address = server.local_addr();
    tokio::spawn(server.run(std::future::pending()));
    let connect = |client: &str| {
        let mut stream = StdStream::connect(address).expect("to connect");
        let header = format!("PROXY TCP4 {client} 192.0.2.9 1000 443\r\n");
        stream.write_all(header.as_bytes()).expect("to write");
        stream.set_nonblocking(true).expect("an option");
        TcpStream::from_std(stream).expect("a stream")
    };
    let mut first = [connect("192.0.2.1"), connect("192.0.2.1")];
    let mut third = connect("192.0.2.1");
    let ended = tokio::time::timeout(HUNG, third.read(&mut [0])).await;
    assert!(
        matches!(ended, Ok(Ok(0) | Err(_))),
        "the third of one client is closed"
    );
    let mut other = connect("192.0.2.2");
    for stream in first.iter_mut().chain([&mut other]) {
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut [0])).await;
        assert!(read.is_err(), "the others stay open: {read:?}");
    }
}
