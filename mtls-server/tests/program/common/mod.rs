//! The real binary, run in a directory of its own, and clients for it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mtls_certs::{Leaf, Pki};
use mtls_core::path::{Endpoint, Path as NetworkPath};
use mtls_core::{ClientSettings, ClientStream, MultipathConnector, Policy};
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// After this long a test that waits is called hung.
pub(crate) const HUNG: Duration = Duration::from_secs(60);

/// Certificates and a directory to serve.
pub(crate) struct Site {
    pub(crate) pki: Pki,
    pub(crate) root: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let pki = Pki::new(&["localhost", "127.0.0.1"]).expect("a pki");
        let root = tempfile::tempdir().expect("a directory");
        pki.write(&root.path().join("pki"), false)
            .expect("to write");
        fs::create_dir_all(root.path().join("www/sub")).expect("a directory");
        fs::write(root.path().join("www/index.html"), "<p>the index").expect("to write");
        fs::write(root.path().join("www/sub/file.txt"), "a file").expect("to write");
        Self { pki, root }
    }

    pub(crate) fn www(&self) -> PathBuf {
        self.root.path().join("www")
    }

    pub(crate) fn pem(&self, name: &str) -> PathBuf {
        self.root.path().join("pki").join(name)
    }

    /// A file that does not fit into the buffers on the way to the client.
    pub(crate) fn add_large_file(&self, name: &str) -> u64 {
        let length = 64 << 20;
        let file = fs::File::create(self.www().join(name)).expect("a file");
        file.set_len(length).expect("to be long");
        length
    }

    /// `serve` with the certificates of the site, and what is in `more`.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = binary();
        command.arg("serve").arg(self.www());
        command.arg("--cert").arg(self.pem("server.pem"));
        command.arg("--key").arg(self.pem("server.key"));
        command.args(more);
        command
    }

    pub(crate) fn serve(&self, more: &[&str]) -> Running {
        let mut command = self.command(&["--listen", "127.0.0.1:0"]);
        command.args(more);
        Running::start(command)
    }

    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        client_config(&self.pki, None)
    }

    /// A client that insists on verification, with one side path.
    pub(crate) fn connector(&self) -> MultipathConnector {
        connector(&self.pki, None)
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> ClientStream<TcpStream> {
        self.connector()
            .connect(&Endpoint::from(address))
            .await
            .expect("a verified stream")
    }
}

/// A client that trusts the CA of `pki`.
pub(crate) fn client_config(pki: &Pki, identity: Option<&Leaf>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let Some(leaf) = identity else {
        return Arc::new(pki.ca.client_config(provider).expect("a configuration"));
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(pki.ca.roots().expect("a root"))
        .with_client_auth_cert(leaf.chain_der(), leaf.key_der());
    Arc::new(config.expect("an identity"))
}

/// The same, which insists on verification, with one side path.
pub(crate) fn connector(pki: &Pki, identity: Option<&Leaf>) -> MultipathConnector {
    MultipathConnector::builder(
        client_config(pki, identity),
        patient(Policy::Require).side(NetworkPath::system()),
    )
    .build()
    .expect("a connector")
}

/// The options of a server that serves verified clients only, with a deadline that no pause of a busy
/// machine exceeds.
pub(crate) const REQUIRE: [&str; 4] = ["--policy", "require", "--deadline", "60s"];

/// Settings of a client with time limits that no pause of a busy machine exceeds.
pub(crate) fn patient(policy: Policy) -> ClientSettings {
    let settings = ClientSettings::new(policy).deadline(HUNG);
    settings.handshake_timeout(HUNG)
}

/// An address without a listener. A socket that only has the address keeps it from others, to which the
/// system would give the port; a program that names it can still listen there.
pub(crate) fn free_address() -> SocketAddr {
    reserve(([127, 0, 0, 1], 0).into())
}

/// Keeps an address until the end of the tests.
pub(crate) fn reserve(address: SocketAddr) -> SocketAddr {
    static KEPT: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().expect("a socket");
    // As the programs do that will listen: the system accepts two sockets only if both say so.
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(address).expect("a port");
    let address = socket.local_addr().expect("an address");
    KEPT.lock().expect("no panic").push(socket);
    address
}

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtls-server"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MTLS_SERVER_") {
            command.env_remove(name);
        }
    }
    command
}

/// The same command, which gets the listening sockets as from a service manager: at most two, with
/// these names. `None` for no names.
pub(crate) fn with_sockets(
    command: &Command,
    sockets: &[&std::net::TcpListener],
    names: Option<&str>,
) -> Command {
    let mut shell = Command::new("sh");
    // The only descriptors that a command without `unsafe` can pass are 0 to 2.
    shell.args([
        "-c",
        "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 4<&1 0</dev/null 1>&2",
    ]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let duplicate = |socket: &&std::net::TcpListener| {
        let socket = socket.try_clone().expect("a descriptor");
        Stdio::from(std::os::fd::OwnedFd::from(socket))
    };
    shell.stdin(sockets.first().map_or_else(Stdio::null, duplicate));
    shell.stdout(sockets.get(1).map_or_else(Stdio::null, duplicate));
    shell
        .env("LISTEN_PID", "")
        .env("LISTEN_FDS", sockets.len().to_string());
    if let Some(names) = names {
        shell.env("LISTEN_FDNAMES", names);
    }
    shell
}

/// Clients that each connect anew for every request, until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Served>>,
}

/// The requests of clients.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) verified: usize,
    pub(crate) unverified: usize,
    pub(crate) failed: Vec<String>,
}

impl Load {
    /// Starts clients without a pool of side connections.
    pub(crate) fn start(site: &Site, address: SocketAddr, settings: &ClientSettings) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let ended = Arc::<AtomicUsize>::default();
        let clients = (0..4).map(|_| {
            let connector = MultipathConnector::builder(site.client_config(), settings.clone());
            let connector = connector.build().expect("a connector");
            let (stop, ended) = (Arc::clone(&stop), Arc::clone(&ended));
            tokio::spawn(request_until(stop, ended, connector, address))
        });
        let clients = clients.collect();
        Self {
            stop,
            ended,
            clients,
        }
    }

    /// Waits until so many more requests have ended.
    pub(crate) async fn goes_on(&self, more: usize) {
        let end = self.ended.load(Ordering::Relaxed) + more;
        let going = async {
            while self.ended.load(Ordering::Relaxed) < end {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let gone = tokio::time::timeout(HUNG, going).await;
        gone.expect("requests that end");
    }

    /// Ends the clients after their current request.
    pub(crate) async fn end(self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Served::default();
        for client in self.clients {
            let served = client.await.expect("no panic");
            all.verified += served.verified;
            all.unverified += served.unverified;
            all.failed.extend(served.failed);
        }
        all
    }
}

async fn request_until(
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
    connector: MultipathConnector,
    address: SocketAddr,
) -> Served {
    let mut served = Served::default();
    while !stop.load(Ordering::Relaxed) {
        match request(&connector, address).await {
            Ok(true) => served.verified += 1,
            Ok(false) => served.unverified += 1,
            Err(error) => served.failed.push(error),
        }
        ended.fetch_add(1, Ordering::Relaxed);
    }
    served
}

/// One request on a new connection; whether it was verified.
async fn request(connector: &MultipathConnector, address: SocketAddr) -> Result<bool, String> {
    let connected = connector.connect(&Endpoint::from(address)).await;
    let mut stream = connected.map_err(|error| error.to_string())?;
    send_get(&mut stream, "/sub/file.txt", "close").await;
    let mut response = Vec::new();
    let read = stream.read_to_end(&mut response).await;
    match read.is_ok() && text(&response).ends_with("a file") {
        true => Ok(stream.verdict().verified().is_some()),
        false => Err(format!("{read:?}: {:?}", text(&response))),
    }
}

/// A server that has logged its address. Killed on drop.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Running {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_saying(command, " on https://")
    }

    /// Of a command that says its address after these words.
    pub(crate) fn start_saying(mut command: Command, before: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("to start");
        let stderr = child.stderr.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut running = Self {
            child,
            lines,
            log: Vec::new(),
            address: SocketAddr::from(([0; 4], 0)),
        };
        let line = running.wait_for(before);
        running.address = address_after(&line, before);
        running
    }

    /// Waits for a line with this in it.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(HUNG) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("never logged {part:?}, but: {:#?}", self.log)
                }
            }
        }
    }

    /// The address of the next side listener in the log.
    pub(crate) fn next_side_address(&mut self) -> SocketAddr {
        let line = self.wait_for("side connections too on ");
        address_after(&line, "side connections too on ")
    }

    /// The address of the status page.
    pub(crate) fn status_address(&self) -> SocketAddr {
        let line = self
            .log
            .iter()
            .find(|line| line.contains("status on http://"));
        address_after(line.expect("a status page"), "status on http://")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log up to now.
    pub(crate) fn log(&mut self) -> &[String] {
        self.log.extend(self.lines.try_iter());
        &self.log
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a small number");
        let pid = Pid::from_raw(pid).expect("not zero");
        kill_process(pid, signal).expect("to be there");
    }

    /// Waits for the end, and returns the status and the whole log.
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            assert!(start.elapsed() < HUNG, "does not end: {:#?}", self.log);
            std::thread::sleep(Duration::from_millis(10));
        };
        while let Ok(line) = self.lines.recv_timeout(HUNG) {
            self.log.push(line);
        }
        (status, std::mem::take(&mut self.log))
    }

    /// Waits until the address has no listener any more.
    pub(crate) async fn wait_until_closed(&self) {
        let closed = async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(HUNG, closed).await.expect("to close");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_after(line: &str, before: &str) -> SocketAddr {
    let (_, rest) = line.split_once(before).expect("an address");
    let address = rest.split(['/', ' ']).next().unwrap_or(rest);
    address.parse().expect("an address")
}

/// Runs another tool; `None`, with a printed reason, where it is missing.
pub(crate) fn tool(name: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(name);
    command.args(arguments).env_remove("SSL_CERT_FILE");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: cannot run {name}: {error}");
            return None;
        }
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("to write");
    drop(stdin);
    Some(child.wait_with_output().expect("to end"))
}

/// curl with the CA `ca`, without settings of the user.
pub(crate) fn curl(ca: &Path, arguments: &[&str]) -> Option<Output> {
    let ca = ca.display().to_string();
    let mut all = vec![
        "-q",
        "--noproxy",
        "*",
        "-s",
        "-i",
        "--max-time",
        "60",
        "--cacert",
        &ca,
    ];
    all.extend(arguments);
    tool("curl", &all, "")
}

/// Whether this port is free for IPv6, whatever holds it for IPv4.
pub(crate) fn is_free_for_ipv6(port: u16) -> bool {
    let socket = TcpSocket::new_v6().expect("a socket");
    rustix::net::sockopt::set_ipv6_v6only(&socket, true).expect("an option");
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into()).is_ok()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One HTTP/1.1 request whose answer ends the connection.
pub(crate) async fn get<S>(stream: &mut S, path: &str) -> String
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    send_get(stream, path, "close").await;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("a response");
    text(&response)
}

pub(crate) async fn send_get<S: AsyncWriteExt + Unpin>(
    stream: &mut S,
    path: &str,
    connection: &str,
) {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("to write");
    stream.flush().await.expect("to write");
}

/// The head of a response, and what came of the body with it.
pub(crate) async fn read_head<S: AsyncReadExt + Unpin>(stream: &mut S) -> (String, Vec<u8>) {
    let mut received = Vec::new();
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = received.split_off(end + 4);
            return (text(&received), body);
        }
        let read = stream.read_buf(&mut received).await.expect("a response");
        assert!(read > 0, "ended early: {:?}", text(&received));
    }
}

/// The value of the field, once.
pub(crate) fn verdict_of(response: &str) -> String {
    let values: Vec<&str> = response
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.eq_ignore_ascii_case("multipath-verdict"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values.len(), 1, "the field stands there once: {response}");
    values[0].to_owned()
}

/// Answers every request with its own head.
pub(crate) async fn echo_heads() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (head, _) = read_head(&mut stream).await;
                let length = head.len();
                let response = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{head}"
                );
                let _ = stream.write_all(response.as_bytes()).await;
            });
        }
    });
    address
}
