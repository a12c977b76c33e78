//! Servers, attackers and networks, all on the loopback, and the program under test.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mtls_certs::{Leaf, Pki};
use mtls_core::{Policy, SideServiceSettings};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

/// The limit of a run of the program: a longer one hangs.
const HANGS: Duration = Duration::from_secs(60);

/// The deadline for a silent peer beside others that must be verified within it: longer than the pauses
/// of a busy machine.
pub(crate) const PATIENCE: &str = "6s";

/// Runs the program (`$0 $@`) with time limits that no pause of a busy machine exceeds. A test that
/// needs others adds them: the last of repeated options applies.
pub(crate) const PATIENT: &str = "
    case $1 in
        get|check|connect|watch|proxy) limits='--deadline 30s --connect-timeout 30s' ;;
        # Some paths of a machine lead nowhere.
        paths) limits='--deadline 30s' ;;
        *) exec \"$0\" \"$@\" ;;
    esac
    command=$1; shift
    exec \"$0\" \"$command\" $limits \"$@\"";

/// The certificates, the directory and the servers of one test.
pub(crate) struct Lab {
    pub(crate) pki: Pki,
    dir: PathBuf,
    tasks: JoinSet<()>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("client-{}-{number}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let pki = Pki::new(&["localhost", "127.0.0.1", "::1", "server.test"]).expect("a pki");
        pki.write(&dir, false).expect("to write the pki");
        Self {
            pki,
            dir,
            tasks: JoinSet::new(),
        }
    }

    /// A path in the directory of this test.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.dir.join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// The CA of the real server.
    pub(crate) fn ca(&self) -> String {
        self.path("ca.pem")
    }

    /// The CA of the real server and the rogue CA, for a client that trusts both.
    pub(crate) fn both_cas(&self) -> String {
        let both = self.pki.ca.cert_pem() + &self.pki.rogue_ca.cert_pem();
        let path = self.path("both.pem");
        std::fs::write(&path, both).expect("to write");
        path
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Hands each connection to `serve`.
    pub(crate) async fn listen<F>(
        &mut self,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.listen_on(listener, serve)
    }

    /// The same on a listener that is bound.
    pub(crate) fn listen_on<F>(
        &mut self,
        listener: TcpListener,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().expect("an address");
        self.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        address
    }

    /// Counts its connections and relays them, except side connections if `is_silent`: they wait.
    pub(crate) async fn counting_relay(
        &mut self,
        to: SocketAddr,
        is_silent: bool,
    ) -> (SocketAddr, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let address = self
            .listen(move |mut stream| {
                counter.fetch_add(1, Ordering::Relaxed);
                async move {
                    let mut first = [0];
                    if is_silent {
                        let _ = stream.peek(&mut first).await;
                    }
                    if first == *b"M" {
                        std::future::pending::<()>().await;
                    }
                    let mut onward = TcpStream::connect(to).await.expect("the server");
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
                }
            })
            .await;
        (address, count)
    }

    /// A listener that accepts connections and sends nothing.
    pub(crate) async fn silent(&mut self) -> SocketAddr {
        self.listen(|stream| async move {
            let _stream = stream;
            std::future::pending().await
        })
        .await
    }

    /// Responds to the first byte with these bytes, and keeps the connection open.
    pub(crate) async fn answering(&mut self, answer: &'static [u8]) -> SocketAddr {
        self.listen(move |mut stream| async move {
            let mut first = [0; 1];
            let _ = stream.read(&mut first).await;
            let _ = stream.write_all(answer).await;
            std::future::pending().await
        })
        .await
    }

    /// A proxy with CONNECT (RFC 9110, section 9.3.6).
    pub(crate) async fn proxy(&mut self) -> SocketAddr {
        self.listen(|mut stream| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(head).expect("a head");
            let target = head.split(' ').nth(1).expect("a target");
            let mut onward = TcpStream::connect(target).await.expect("the target");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
        })
        .await
    }

    /// A listener whose backlog is full: the system drops connection requests.
    pub(crate) async fn black_hole(&mut self) -> SocketAddr {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(1).expect("to listen");
        let address = listener.local_addr().expect("an address");
        let (mut fillers, mut waits) = (Vec::new(), 0);
        // A pause of this process is no full backlog, and there are not three in a row.
        while waits < 3 {
            let filler = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(300), filler).await {
                Ok(filler) => {
                    fillers.push(filler.expect("a place in the backlog"));
                    waits = 0;
                }
                Err(_) => waits += 1,
            }
        }
        self.spawn(async move {
            let _kept = (listener, fillers);
            std::future::pending().await
        });
        address
    }

    /// A TLS server without the side protocol, like a man in the middle. The bytes that it reads are
    /// counted.
    pub(crate) async fn plain_tls(
        &mut self,
        leaf: Whose,
        page: &'static str,
    ) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.plain_tls_on(listener, leaf, page)
    }

    /// The same on a listener that is bound.
    pub(crate) fn plain_tls_on(
        &mut self,
        listener: TcpListener,
        leaf: Whose,
        page: &'static str,
    ) -> (SocketAddr, Arc<AtomicUsize>) {
        let leaf = match leaf {
            Whose::Server => &self.pki.server,
            Whose::Rogue => &self.pki.rogue,
        };
        let acceptor = tokio_rustls::TlsAcceptor::from(server_config(leaf, &[b"http/1.1"]));
        let read = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&read);
        let address = self.listen_on(listener, move |stream| {
            let (acceptor, counter) = (acceptor.clone(), Arc::clone(&counter));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, page, &counter).await;
                }
            }
        });
        (address, read)
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        let mut command = program();
        command.args(arguments);
        Run::of(command).await
    }

    /// Runs `check` with the real CA.
    pub(crate) async fn check(&self, arguments: &[&str]) -> Run {
        let ca = self.ca();
        self.run([&["check", "--cacert", &ca], arguments].concat())
            .await
    }

    /// Runs `get` with the real CA.
    pub(crate) async fn get(&self, arguments: &[&str]) -> Run {
        let ca = self.ca();
        self.run([&["get", "--cacert", &ca], arguments].concat())
            .await
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The owner of a certificate.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    Server,
    Rogue,
}

/// The program under test.
pub(crate) fn program() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", PATIENT, env!("CARGO_BIN_EXE_mtls-client")]);
    command.kill_on_drop(true).env_remove("RUST_LOG");
    // No test uses the known hosts of the user, nor those of another test.
    command.env_remove("XDG_STATE_HOME").env_remove("HOME");
    command
}

/// The result of a run.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) async fn of(mut command: Command) -> Self {
        let output = tokio::time::timeout(HANGS, command.output()).await;
        Self::from(output.expect("the program hangs").expect("to run"))
    }

    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("an exit status, not a signal"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs it with a standard output that is never read, and returns its exit status.
    pub(crate) async fn unread(mut command: Command) -> i32 {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("to run");
        let end = tokio::time::timeout(HANGS, child.wait()).await;
        let status = end.expect("the program hangs").expect("an end");
        status.code().expect("an exit status, not a signal")
    }

    /// Runs it with this on standard input.
    pub(crate) async fn with_input(mut command: Command, input: Vec<u8>) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("to run");
        let mut stdin = child.stdin.take().expect("a pipe");
        let feeding = tokio::spawn(async move {
            // It may exit before it has read everything.
            let _ = stdin.write_all(&input).await;
        });
        let output = tokio::time::timeout(HANGS, child.wait_with_output()).await;
        feeding.abort();
        Self::from(output.expect("the program hangs").expect("to run"))
    }

    /// Asserts the exit status, and shows the output if it is another.
    #[track_caller]
    pub(crate) fn exits_with(self, code: i32) -> Self {
        let Self {
            code: found,
            stdout,
            stderr,
        } = &self;
        assert_eq!(*found, code, "\nstdout:\n{stdout}\nstderr:\n{stderr}");
        self
    }

    #[track_caller]
    pub(crate) fn mentions(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.stderr.contains(word),
                "no `{word}` in:\n{}",
                self.stderr
            );
        }
        self
    }

    /// The JSON objects on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }
}

/// Sends this head of a request, to which it adds `Connection: close` and the end, and returns the
/// response.
pub(crate) async fn request(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the page");
    let request = format!("{head}Connection: close\r\n\r\n");
    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("to send a request");
    let mut response = String::new();
    let read = stream.read_to_string(&mut response).await;
    read.expect("a response");
    response
}

/// Settings of a server with time limits that no pause of a busy machine exceeds.
pub(crate) fn patient_server(policy: Policy) -> SideServiceSettings {
    let limit = Duration::from_secs(30);
    let settings = SideServiceSettings::new(policy).deadline(limit);
    settings.handshake_timeout(limit)
}

pub(crate) fn server_config(leaf: &Leaf, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let config = leaf.server_config(aws_lc_rs::default_provider());
    let mut config = config.expect("a configuration");
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// The configuration of a server that requires a client certificate of the real CA.
pub(crate) fn server_config_for_clients(pki: &Pki, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = pki.ca.roots().expect("a CA");
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .expect("a verifier");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(pki.server.chain_der(), pki.server.key_der())
        .expect("a certificate");
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// A port on which no program listens. A socket that only has the address keeps it from others, to which
/// the system would give the port; a program that names it can still listen there.
pub(crate) async fn closed_port() -> SocketAddr {
    static KEPT: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().expect("a socket");
    // As the programs do that will listen: the system accepts two sockets only if both say so.
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    KEPT.lock().expect("no panic").push(socket);
    address
}

/// Waits until a condition holds that another task or process brings about.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(HANGS, waiting).await.is_ok(),
        "it never came: {what}"
    );
}

/// Reads to the end. To close on unread bytes is to reset the connection, and a reset that arrives first
/// hides the end, and what was sent before it.
pub(crate) async fn read_on(stream: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(1..) = stream.read(&mut bytes).await {}
}

/// Whether this host has a tool; otherwise prints that a part of the test is skipped.
pub(crate) fn has(tool: &str) -> bool {
    has_with(tool, "--version")
}

/// The same for a tool that prints its version with another option.
pub(crate) fn has_with(tool: &str, version: &str) -> bool {
    let found = std::process::Command::new(tool).arg(version).output();
    if found.is_err() {
        println!("skipped in part: `{tool}` is not installed");
    }
    found.is_ok()
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    page: &str,
    counter: &AtomicUsize,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
        counter.fetch_add(1, Ordering::Relaxed);
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", page.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(page.as_bytes()).await;
    let _ = stream.shutdown().await;
}
