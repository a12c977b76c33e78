//! The hellos of curl and OpenSSL, and OpenSSL's exporter as an independent oracle. Each test is
//! skipped, with a printed reason, where the tool is not installed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use mtls_core::proto::binding::{Role, SideSecret};
use mtls_core::proto::hello::HelloTap;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};
use rustls::{CipherSuite, HandshakeKind, ServerConnection};

use crate::capture::{Capture, feed};
use crate::hello::assert_tapped_whatever_the_cuts;
use crate::pair::{Choice, Ends, NAME};

const LABEL: &str = "EXPERIMENTAL-multipath-tls/1";

/// How long a tool that does not answer holds a test up.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn hellos_of_openssl_are_tapped_whatever_their_cuts() {
    let ends = Ends::new(Choice::default());
    let Some(served) = serve(&ends, |address| openssl(address, &["-tls1_3"])) else {
        return;
    };
    assert_eq!(served.kind, Some(HandshakeKind::Full));
    assert_tapped_whatever_the_cuts(&served.capture);
}

#[test]
fn retried_hellos_of_openssl_are_tapped_whatever_their_cuts() {
    let ends = Ends::new(Choice {
        server_groups: Some(&[SECP256R1]),
        ..Choice::default()
    });
    let groups = ["-tls1_3", "-groups", "X25519:P-256"];
    let Some(served) = serve(&ends, |address| openssl(address, &groups)) else {
        return;
    };
    assert_eq!(served.kind, Some(HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(served.capture.messages().len(), 4);
    assert_tapped_whatever_the_cuts(&served.capture);
}

#[test]
fn hellos_of_curl_are_tapped_whatever_their_cuts() {
    let ends = Ends::new(Choice {
        server_groups: Some(&[X25519, SECP256R1]),
        ..Choice::default()
    });
    let Some(served) = serve(&ends, |address| curl(address, &["--tlsv1.3"])) else {
        return;
    };
    assert_eq!(served.kind, Some(HandshakeKind::Full));
    assert_tapped_whatever_the_cuts(&served.capture);
    assert_eq!(served.tap.server_name(), Some(NAME));
}

#[test]
fn retried_hellos_of_curl_are_tapped_whatever_their_cuts() {
    let ends = Ends::new(Choice {
        server_groups: Some(&[SECP256R1]),
        ..Choice::default()
    });
    let curves = ["--tlsv1.3", "--curves", "X25519:P-256"];
    let Some(served) = serve(&ends, |address| curl(address, &curves)) else {
        return;
    };
    assert_eq!(served.kind, Some(HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(served.capture.messages().len(), 4);
    assert_tapped_whatever_the_cuts(&served.capture);
}

#[test]
fn exporter_equals_that_of_openssl() {
    let suites = [
        (
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            "TLS_AES_128_GCM_SHA256",
        ),
        (
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            "TLS_AES_256_GCM_SHA384",
        ),
    ];
    for (suite, name) in suites {
        let ends = Ends::new(Choice::default());
        let wanted = [
            "-tls1_3",
            "-ciphersuites",
            name,
            "-keymatexport",
            LABEL,
            "-keymatexportlen",
            "32",
        ];
        let Some(served) = serve(&ends, |address| openssl(address, &wanted)) else {
            return;
        };
        assert_eq!(served.suite, Some(suite));
        let secret = ends.server_secret.get().expect("rustls logged the secret");
        let ours = SideSecret::from_exporter_secret(&secret).expect("a length of a suite's hash");
        let ours = hex(ours.as_bytes());
        assert_eq!(keying_material(&served.output), Some(ours), "{name}");
    }
}

/// One connection of a tool to a rustls server.
struct Served {
    capture: Capture,
    /// The tap that saw the bytes live, each before the server's own TLS.
    tap: HelloTap,
    kind: Option<HandshakeKind>,
    suite: Option<CipherSuite>,
    output: Output,
}

/// Serves one connection of the tool; `None`, with a printed reason, if it is not installed.
fn serve(ends: &Ends, tool: impl Fn(SocketAddr) -> Command) -> Option<Served> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let mut tool = tool(
        listener
            .local_addr()
            .expect("a bound socket has an address"),
    );
    let mut child = match tool.spawn() {
        Ok(child) => Running(Some(child)),
        Err(error) => {
            eprintln!("skipped: {:?} cannot be run: {error}", tool.get_program());
            return None;
        }
    };
    let socket = accept(&listener, &mut child).expect("the tool connects");
    let mut server = Server::new(ends, socket);
    server.run().expect("the tool speaks TLS");
    let capture = server.capture;
    assert_eq!(server.tap.hello(), Some(capture.hello()));
    Some(Served {
        capture,
        tap: server.tap,
        kind: server.tls.handshake_kind(),
        suite: server
            .tls
            .negotiated_cipher_suite()
            .map(|suite| suite.suite()),
        output: child.output(),
    })
}

fn openssl(address: SocketAddr, args: &[&str]) -> Command {
    let mut command = tool("openssl");
    command.args([
        "s_client",
        "-servername",
        NAME,
        "-connect",
        &address.to_string(),
    ]);
    command.args(args);
    command
}

fn curl(address: SocketAddr, args: &[&str]) -> Command {
    let mut command = tool("curl");
    let port = address.port();
    command.args(["--disable", "--silent", "--insecure", "--noproxy", "*"]);
    command.args(["--resolve", &format!("{NAME}:{port}:{}", address.ip())]);
    command.args(args).arg(format!("https://{NAME}:{port}/"));
    command
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The tool, killed when its test fails.
struct Running(Option<Child>);

impl Running {
    fn has_ended(&mut self) -> bool {
        let child = self
            .0
            .as_mut()
            .expect("a tool runs until its output is taken");
        child
            .try_wait()
            .expect("a child can be waited for")
            .is_some()
    }

    fn output(mut self) -> Output {
        let child = self
            .0
            .take()
            .expect("a tool runs until its output is taken");
        child.wait_with_output().expect("a child can be waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn accept(listener: &TcpListener, child: &mut Running) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    loop {
        let ended = child.has_ended();
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(false)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                return Ok(socket);
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock || ended => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// A server that answers any request, and taps what it moves.
struct Server {
    tls: ServerConnection,
    socket: TcpStream,
    tap: HelloTap,
    capture: Capture,
}

impl Server {
    fn new(ends: &Ends, socket: TcpStream) -> Self {
        Self {
            tls: ServerConnection::new(ends.server.clone()).expect("a server"),
            socket,
            tap: HelloTap::new(),
            capture: Capture::default(),
        }
    }

    /// Until the tool closes.
    fn run(&mut self) -> io::Result<()> {
        let mut request = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            self.flush()?;
            let len = match self.socket.read(&mut bytes) {
                Ok(0) => return Ok(()),
                // A tool that has all it wants need not close in order.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                other => other?,
            };
            self.take(&bytes[..len], &mut request)?;
            if request.ends_with(b"\r\n\r\n") {
                request.clear();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                self.tls.writer().write_all(answer)?;
                self.tls.send_close_notify();
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], request: &mut Vec<u8>) -> io::Result<()> {
        self.capture.push(Role::Client, bytes);
        feed(&mut self.tap, Role::Client, bytes).map_err(io::Error::other)?;
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plaintext)?;
            request.extend(plaintext);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes)?;
        }
        self.capture.push(Role::Server, &bytes);
        feed(&mut self.tap, Role::Server, &bytes).map_err(io::Error::other)?;
        match self.socket.write_all(&bytes) {
            // It has closed already: the next read tells.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// The line `Keying material: …` of `openssl s_client`.
fn keying_material(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Keying material: "))
        .map(str::to_lowercase)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
