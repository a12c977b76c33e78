//! Servers to stand in front of, and clients.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::{Endpoint, HostName, Path};
use mtls_core::proto::binding::Binding;
use mtls_core::relay::{ClientRelay, TunnelReport};
use mtls_core::{Error, MultipathConnector, Policy};
use rustls::crypto::aws_lc_rs;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

pub(crate) use crate::common::free_address;
use crate::common::{HUNG, Running, Site, binary, patient};

/// Another program's process, killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `passthrough` to a target, at an address of its own.
pub(crate) fn passthrough(target: SocketAddr, more: &[&str]) -> Running {
    let mut command = binary();
    command.args(["passthrough", "--listen", "127.0.0.1:0", "--target"]);
    command.arg(target.to_string()).args(more);
    Running::start_saying(command, &format!("passing through to {target} on "))
}

/// nginx with the site's certificate, its directory, and PUT; `None`, with a printed reason, where
/// it is missing.
pub(crate) async fn nginx(site: &Site, listen: &str, extra: &str) -> Option<Server> {
    let dir = site.root.path().display().to_string();
    let address = free_address();
    let config = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log {dir}/access.log;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
         fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         client_max_body_size 0; keepalive_timeout 600; send_timeout 600;\n\
         server {{ listen {address} ssl http2 {listen};\n\
         ssl_certificate {dir}/pki/server.pem; ssl_certificate_key {dir}/pki/server.key;\n\
         ssl_protocols TLSv1.2 TLSv1.3;\n\
         root {dir}/www; dav_methods PUT;\n\
         {extra} }} }}\n"
    );
    let file = site.root.path().join("nginx.conf");
    fs::write(&file, config).expect("to write");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(site.root.path()).arg("-c").arg(&file);
    command.arg("-e").arg(site.root.path().join("nginx.log"));
    start(command, address).await
}

/// HAProxy as a TLS server that says which client it sees, and by which version of HTTP.
pub(crate) async fn haproxy(site: &Site, bind: &str) -> Option<Server> {
    let address = free_address();
    let mut pem = fs::read(site.pem("server.pem")).expect("a certificate");
    pem.extend(fs::read(site.pem("server.key")).expect("a key"));
    let both = site.root.path().join("both.pem");
    fs::write(&both, pem).expect("to write");
    let config = format!(
        "global\n nbthread 1\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         frontend tls\n bind {address} ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.3 {bind}\n\
         http-request return status 200 content-type text/plain \
         lf-string \"haproxy sees %ci:%cp by %HV\"\n",
        both.display()
    );
    let file = site.root.path().join("haproxy.cfg");
    fs::write(&file, config).expect("to write");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    start(command, address).await
}

/// `openssl s_server` that sends each line back in reverse.
pub(crate) async fn s_server(site: &Site, more: &[&str]) -> Option<Server> {
    let address = free_address();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-rev", "-tls1_3", "-accept"]);
    command.arg(address.to_string());
    command.arg("-cert").arg(site.pem("server.pem"));
    command.arg("-key").arg(site.pem("server.key"));
    command.args(more);
    start(command, address).await
}

async fn start(mut command: Command, address: SocketAddr) -> Option<Server> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {name} is not installed");
            return None;
        }
        Err(error) => panic!("could not start {name}: {error}"),
    };
    let mut server = Server { child, address };
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait().expect("a status") {
                let mut log = String::new();
                if let Some(mut stderr) = server.child.stderr.take() {
                    let _ = std::io::Read::read_to_string(&mut stderr, &mut log);
                }
                panic!("{name} ended: {status}: {log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HUNG, listening)
        .await
        .expect("to listen");
    Some(server)
}

/// A client relay in this process, to which unmodified clients connect.
pub(crate) struct LocalProxy {
    pub(crate) address: SocketAddr,
    pub(crate) reports: mpsc::UnboundedReceiver<TunnelReport>,
    accepting: JoinHandle<()>,
}

impl Drop for LocalProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Verifies by the hello binding, whatever the client is.
pub(crate) async fn local_proxy(to: SocketAddr) -> LocalProxy {
    let settings = patient(Policy::Require).side(Path::system());
    let relay = ClientRelay::builder(&aws_lc_rs::default_provider(), settings)
        .build()
        .expect("a relay");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (ended, reports) = mpsc::unbounded_channel();
    let accepting = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).expect("a socket");
            let (tunnel, ended) = (relay.tunnel(Endpoint::from(to)), ended.clone());
            tokio::spawn(async move {
                let _ = ended.send(tunnel.run(tcp).await);
            });
        }
    });
    LocalProxy {
        address,
        reports,
        accepting,
    }
}

/// A client of the library that insists.
pub(crate) fn connector(site: &Site) -> MultipathConnector {
    site.connector()
}

/// One that insists on the stronger binding too.
pub(crate) fn exporter_connector(site: &Site) -> MultipathConnector {
    let settings = patient(Policy::Require)
        .side(Path::system())
        .bindings(Binding::Exporter);
    MultipathConnector::builder(site.client_config(), settings)
        .build()
        .expect("a connector")
}

/// One whose primary path leads to an attacker.
pub(crate) fn misled_connector(
    config: Arc<rustls::ClientConfig>,
    server: SocketAddr,
    attacker: SocketAddr,
) -> (MultipathConnector, Endpoint) {
    let path = |to: SocketAddr| {
        let host = HostName::new("localhost").expect("a name");
        Path::system().resolve(host, server.port(), to.ip())
    };
    let settings = patient(Policy::Require)
        .primary(path(attacker))
        .side(path(server));
    let connector = MultipathConnector::builder(config, settings)
        .build()
        .expect("a connector");
    let target = format!("localhost:{}", server.port());
    (connector, target.parse().expect("an endpoint"))
}

/// curl to `localhost`, which is at this address; `None`, with a printed reason, where curl is
/// missing.
pub(crate) async fn curl(site: &Site, at: SocketAddr, more: &[&str]) -> Option<Output> {
    let ca = site.pem("ca.pem").display().to_string();
    let resolve = format!("localhost:{}:{}", at.port(), at.ip());
    let mut all: Vec<String> = ["-q", "--noproxy", "*", "-sS", "--max-time", "600"]
        .map(str::to_owned)
        .to_vec();
    all.extend(["--cacert".to_owned(), ca, "--resolve".to_owned(), resolve]);
    all.extend(more.iter().map(|&argument| argument.to_owned()));
    let run = spawn_blocking(move || {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        crate::common::tool("curl", &all, "")
    });
    run.await.expect("to run")
}

pub(crate) fn url(at: SocketAddr, path: &str) -> String {
    format!("https://localhost:{}{path}", at.port())
}

/// Why a connection was refused.
pub(crate) async fn refusal(connector: &MultipathConnector, to: SocketAddr) -> Error {
    let connected = connector.connect(&Endpoint::from(to)).await;
    connected.expect_err("to be refused")
}

/// How many MiB the large transfers have: MTLS_TEST_MEGABYTES, or 64.
pub(crate) fn megabytes() -> usize {
    match std::env::var("MTLS_TEST_MEGABYTES") {
        Ok(text) => text.parse().expect("MTLS_TEST_MEGABYTES is a number"),
        Err(_) => 64,
    }
}

/// A file of so many MiB that no compression shortens and no shift leaves the same.
pub(crate) fn large_file(path: PathBuf, megabytes: usize) -> PathBuf {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(fs::File::create(&path).expect("a file"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..megabytes << 17 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_be_bytes()).expect("to write");
    }
    file.flush().expect("to write");
    path
}

/// SHA-256 of a file, by OpenSSL's provider of rustls's own.
pub(crate) fn checksum(path: &std::path::Path) -> Vec<u8> {
    let provider = aws_lc_rs::default_provider();
    let suite = provider.cipher_suites.iter().find_map(|suite| match suite {
        rustls::SupportedCipherSuite::Tls13(suite) => {
            let hash = suite.common.hash_provider;
            (hash.output_len() == 32).then_some(hash)
        }
        rustls::SupportedCipherSuite::Tls12(_) => None,
    });
    let mut hash = suite.expect("SHA-256").start();
    let mut file = fs::File::open(path).expect("a file");
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).expect("to read") {
            0 => return hash.finish().as_ref().to_vec(),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The resident memory of a process, in KiB.
pub(crate) fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.expect("VmRSS").split_whitespace().nth(1);
    words.expect("a number").parse().expect("a number")
}
