//! `connect`: the standard streams joined to a server.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy, ServerStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc};

use crate::lab::{Lab, Run, Whose, closed_port, has, program, server_config};

type Stream = ServerStream<TcpStream>;

const TYPED: &str = "the standard input, which is secret\n";

impl Lab {
    /// A multipath server that hands each stream to `serve`.
    async fn server<F>(
        &mut self,
        alpn: &[&[u8]],
        serve: impl Fn(Stream) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = server_config(&self.pki.server, alpn);
        let acceptor = MultipathAcceptor::builder(config, Policy::Require);
        let acceptor = acceptor.build().expect("an acceptor");
        let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
        self.spawn(async move {
            let mut streams = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await;
                streams.spawn(serve(stream));
            }
        });
        address
    }

    /// Answers with all that came, once its end has come.
    async fn parrot(&mut self) -> SocketAddr {
        self.server(&[], |mut stream| async move {
            let mut heard = Vec::new();
            if stream.read_to_end(&mut heard).await.is_ok() {
                let _ = stream.write_all(&heard).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// `connect` with the real CA, its standard streams piped.
    fn connect(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .args(["connect", "--silent", "--cacert", &self.ca()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `connect` to its end with this input.
    async fn pipe(&self, input: &str, arguments: &[&str]) -> Run {
        let file = self.path("stdin");
        std::fs::write(&file, input).expect("to write");
        let mut command = self.connect(arguments);
        command.stdin(std::fs::File::open(&file).expect("the input"));
        Run::of(command).await
    }
}

async fn end_of(child: Child) -> Run {
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
    let output = output.await.expect("the program hangs").expect("to run");
    Run {
        code: output.status.code().expect("an exit status, not a signal"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_standard_input_reaches_the_server_and_the_response_is_received() {
    let mut lab = Lab::new();
    let parrot = lab.parrot().await.to_string();
    for input in [TYPED, "", "no newline at the end"] {
        let run = lab.pipe(input, &[&parrot]).await.exits_with(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (input, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_servers_data_ends_standard_output_but_not_standard_input() {
    let mut lab = Lab::new();
    let (heard, mut hears) = mpsc::unbounded_channel();
    let server = lab
        .server(&[], move |mut stream| {
            let heard = heard.clone();
            async move {
                let _ = stream.write_all(b"all that I have").await;
                let _ = stream.shutdown().await;
                let mut late = Vec::new();
                let clean = stream.read_to_end(&mut late).await.is_ok();
                let _ = heard.send((clean, late));
            }
        })
        .await;
    let mut child = lab.connect(&[&server.to_string()]).spawn().expect("to run");
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut page = String::new();
    let mut stdout = stdout.expect("piped");
    stdout.read_to_string(&mut page).await.expect("an end");
    assert_eq!(page, "all that I have");
    let stdin_now = stdin.as_mut().expect("piped");
    stdin_now
        .write_all(TYPED.as_bytes())
        .await
        .expect("a reader");
    drop(stdin);
    assert_eq!(hears.recv().await, Some((true, TYPED.into())));
    end_of(child).await.exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_lines_pass_both_ways_at_once() {
    let mut lab = Lab::new();
    let echo = lab
        .server(&[], |mut stream| async move {
            let mut byte = [0; 1];
            while let Ok(1) = stream.read(&mut byte).await {
                let _ = stream.write_all(&byte).await;
            }
            let _ = stream.shutdown().await;
        })
        .await;
    let mut child = lab.connect(&[&echo.to_string()]).spawn().expect("to run");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    for byte in *b"no line" {
        stdin.write_all(&[byte]).await.expect("a reader");
        assert_eq!(stdout.read_u8().await.expect("an echo"), byte);
    }
    drop(stdin);
    end_of(child).await.exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_pass_both_ways_unchanged() {
    const LEN: usize = 100_000_000;
    let mut lab = Lab::new();
    let echo = lab
        .server(&[], |stream| async move {
            let (mut from, mut to) = tokio::io::split(stream.into_inner());
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        })
        .await;
    // Every block differs from the others, so none can be lost, doubled or moved.
    let input: Vec<u8> = (0..LEN as u64 / 8).flat_map(|n| n.to_be_bytes()).collect();
    let (from, to) = (lab.path("from"), lab.path("to"));
    std::fs::write(&from, &input).expect("to write");
    let mut command = lab.connect(&[&echo.to_string()]);
    command
        .stdin(std::fs::File::open(&from).expect("the input"))
        .stdout(std::fs::File::create(&to).expect("the output"));
    end_of(command.spawn().expect("to run")).await.exits_with(0);
    let output = std::fs::read(&to).expect("the output");
    assert_eq!(output.len(), input.len());
    assert!(output == input, "the bytes changed on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_ends_without_close_notify_is_56() {
    let mut lab = Lab::new();
    let server = lab
        .server(&[], |mut stream| async move {
            let _ = stream.write_all(b"a part").await;
            let _ = stream.flush().await;
            // The TCP connection ends in order, and TLS does not.
            let (tcp, _) = stream.get_mut().get_mut();
            let _ = tcp.shutdown().await;
            std::future::pending().await
        })
        .await;
    let run = lab.pipe(TYPED, &[&server.to_string()]).await;
    assert_eq!(run.stdout, "a part", "what came is delivered");
    run.exits_with(56)
        .mentions(&["6 bytes", "close_notify", "cut short"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_before_standard_input_ends_is_55() {
    let mut lab = Lab::new();
    let leave = Arc::new(Notify::new());
    let leaves = Arc::clone(&leave);
    let server = lab
        .server(&[], move |mut stream| {
            let leaves = Arc::clone(&leaves);
            async move {
                let _ = stream.shutdown().await;
                leaves.notified().await;
            }
        })
        .await;
    let mut child = lab.connect(&[&server.to_string()]).spawn().expect("to run");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    assert_eq!(stdout.read(&mut [0; 1]).await.expect("an end"), 0);
    leave.notify_one();
    // Until the program has noticed, and gone.
    while stdin.write_all(TYPED.as_bytes()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let run = end_of(child).await.exits_with(55);
    run.mentions(&[&server.to_string(), "before standard input ended"]);
}

/// Sends without end, and counts what it could.
async fn torrent(mut stream: Stream, sent: Arc<AtomicU64>) {
    let block = [b'x'; 16 * 1024];
    while stream.write_all(&block).await.is_ok() && stream.flush().await.is_ok() {
        sent.fetch_add(block.len() as u64, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_closes_standard_output_ends_the_pipe_without_failure() {
    let mut lab = Lab::new();
    let server = lab
        .server(&[], |stream| torrent(stream, Arc::default()))
        .await;
    let mut child = lab.connect(&[&server.to_string()]).spawn().expect("to run");
    let _stdin = child.stdin.take();
    let mut stdout = child.stdout.take().expect("piped");
    assert_eq!(stdout.read_u8().await.expect("a byte"), b'x');
    drop(stdout);
    let run = end_of(child).await.exits_with(0);
    assert_eq!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_holds_the_server_back() {
    let mut lab = Lab::new();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let server = lab
        .server(&[], move |stream| torrent(stream, Arc::clone(&counter)))
        .await;
    let mut command = lab.connect(&[&server.to_string()]);
    let mut child = command.spawn().expect("to run");
    // What the program and the system's sockets hold is full when nothing more is taken.
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        match sent.load(Ordering::Relaxed) {
            0 => {}
            now if now == before => break,
            now => before = now,
        }
    }
    assert!(before < 64 << 20, "{before} bytes went somewhere");
    child.kill().await.expect("to end it");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_that_accepts_no_data_is_23() {
    let mut lab = Lab::new();
    let parrot = lab.parrot().await.to_string();
    let mut command = lab.connect(&[&parrot]);
    let full = std::fs::File::options().write(true).open("/dev/full");
    command.stdout(full.expect("/dev/full"));
    let mut child = command.spawn().expect("to run");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(TYPED.as_bytes()).await.expect("a reader");
    drop(stdin);
    let run = end_of(child).await.exits_with(23);
    run.mentions(&["standard output"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_that_cannot_be_read_is_26_and_the_server_detects_the_truncation() {
    let mut lab = Lab::new();
    let (ended, mut endings) = mpsc::unbounded_channel();
    let server = lab
        .server(&[], move |mut stream| {
            let ended = ended.clone();
            async move {
                let _ = ended.send(
                    stream
                        .read_to_end(&mut Vec::new())
                        .await
                        .map_err(|e| e.kind()),
                );
            }
        })
        .await;
    let mut command = lab.connect(&[&server.to_string()]);
    command.stdin(std::fs::File::open("/").expect("a directory"));
    let run = Run::of(command).await.exits_with(26);
    run.mentions(&["standard input", "--no-stdin"]);
    let end = endings.recv().await.expect("the server's end");
    assert_eq!(end.map(|_| ()), Err(ErrorKind::UnexpectedEof));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_man_in_the_middle_gets_no_byte_of_standard_input() {
    let mut lab = Lab::new();
    let real = lab.parrot().await.to_string();
    let (attacker, read) = lab.plain_tls(Whose::Rogue, "the attacker's page").await;
    let (cas, target) = (lab.both_cas(), attacker.to_string());
    for policy in ["require", "prefer"] {
        let input = lab.path("typed");
        std::fs::write(&input, TYPED).expect("to write");
        let input = std::fs::File::open(&input).expect("the input");
        let mut command = program();
        command
            .args(["connect", "--policy", policy, "--cacert", &cas])
            .args(["--side-endpoint", &real, &target])
            .stdin(input.try_clone().expect("a second handle"));
        let run = Run::of(command).await.exits_with(110);
        let run = run.mentions(&["INTERCEPTION DETECTED", &target]);
        assert_eq!(run.stdout, "");
        assert_eq!(read.load(Ordering::Relaxed), 0, "bytes that he has read");
        // The program does not read it either: the next reader of the file gets all of it.
        let position = std::io::Seek::stream_position(&mut &input).expect("a position");
        assert_eq!(position, 0);
    }
    // Under observe he is let in, and the exit status says so.
    let mut command = program();
    command
        .args(["connect", "--policy", "observe", "--cacert", &cas])
        .args(["--side-endpoint", &real, &target])
        .stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("to run");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("a reader");
    let mut stdout = child.stdout.take().expect("piped");
    let mut page = String::new();
    stdout.read_to_string(&mut page).await.expect("an end");
    assert!(page.ends_with("the attacker's page"), "{page}");
    drop(stdin);
    end_of(child).await.exits_with(110);
    assert!(read.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_bindings_are_those_of_the_server() {
    let mut lab = Lab::new();
    let server = lab
        .server(&[], |mut stream| async move {
            let hex = |bytes: [u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
            let label = b"EXPORTER-Channel-Binding";
            let (_, connection) = stream.get_ref().get_ref();
            let exported = connection.export_keying_material([0; 32], label, Some(b""));
            let side = stream.channel_bindings().expect("an exporter");
            let text = format!("{} {}", hex(exported.expect("an exporter")), hex(side[0]));
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        })
        .await;
    let target = server.to_string();
    let run = lab.pipe("", &["--brief", &target]).await.exits_with(0);
    let (exporter, side) = run.stdout.split_once(' ').expect("two bindings");
    let run = run.stderr.clone();
    let lines: Vec<Vec<&str>> = run
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["VERIFIED", &target], "{run}");
    assert!(lines.contains(&vec!["tls-exporter", exporter]), "{run}");
    assert!(lines.contains(&vec!["side", "1", "bound", side]), "{run}");
    for word in ["primary", "direct", "TLSv1.3", "TLS_", "X25519MLKEM768"] {
        assert!(run.contains(word), "no `{word}` in:\n{run}");
    }

    let run = lab.pipe("", &["--json", &target]).await.exits_with(0);
    let line: serde_json::Value = serde_json::from_str(&run.stderr).expect("one line of JSON");
    let (exporter, side) = run.stdout.split_once(' ').expect("two bindings");
    assert_eq!(line["verdict"], "verified");
    assert_eq!(line["channel_bindings"]["tls-exporter"], exporter);
    assert_eq!(line["channel_bindings"]["multipath"][0], side);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_one_line_of_json_too() {
    let lab = Lab::new();
    let closed = closed_port().await.to_string();
    let run = lab.pipe(TYPED, &["--json", &closed]).await.exits_with(7);
    let line = run.stderr.lines().next().expect("a line");
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    assert_eq!(line["verdict"], "error");
    assert_eq!(line["reason"], "could-not-connect");
    assert_eq!(run.stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_protocol_is_the_requested_one() {
    let mut lab = Lab::new();
    let server = lab
        .server(&[b"mine", b"imap"], |mut stream| async move {
            let (_, connection) = stream.get_ref().get_ref();
            let alpn = connection.alpn_protocol().unwrap_or(b"none").to_vec();
            let _ = stream.write_all(&alpn).await;
            let _ = stream.shutdown().await;
        })
        .await;
    let target = server.to_string();
    for (alpn, expected) in [
        (&[][..], "none"),
        (&["--alpn", "imap"], "imap"),
        (&["--alpn", "other,imap"], "imap"),
        (&["--alpn", "imap", "--alpn", "mine"], "mine"),
    ] {
        let run = lab.pipe("", &[alpn, &[&target]].concat()).await;
        assert_eq!(run.exits_with(0).stdout, expected);
    }
    let run = lab.pipe("", &["--alpn", "other", &target]).await;
    run.exits_with(35).mentions(&[&target]);
    let run = lab.pipe("", &["--alpn", "", &target]).await;
    run.exits_with(2).mentions(&["--alpn", "h2,http/1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_stands_for_the_address() {
    let mut lab = Lab::new();
    let server = lab
        .server(&[], |mut stream| async move {
            let (_, connection) = stream.get_ref().get_ref();
            let name = connection.server_name().unwrap_or("none").to_owned();
            let _ = stream.write_all(name.as_bytes()).await;
            let _ = stream.shutdown().await;
        })
        .await;
    let target = server.to_string();
    let run = lab
        .pipe("", &["--servername", "server.test", &target])
        .await;
    assert_eq!(run.exits_with(0).stdout, "server.test");
    let run = lab.pipe("", &["--servername", "other.test", &target]).await;
    run.exits_with(60).mentions(&["other.test"]);
    let run = lab
        .pipe("", &["--servername", "server.test", "localhost:1"])
        .await;
    run.exits_with(2).mentions(&["--servername", "--resolve"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_standard_input_the_server_ends_the_connection() {
    let mut lab = Lab::new();
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let server = lab
        .server(&[], move |mut stream| {
            let counter = Arc::clone(&counter);
            async move {
                let _ = stream.write_all(b"a log line\n").await;
                let _ = stream.shutdown().await;
                let mut heard = Vec::new();
                let _ = stream.read_to_end(&mut heard).await;
                counter.fetch_add(heard.len(), Ordering::Relaxed);
            }
        })
        .await;
    let mut child = lab
        .connect(&["-N", &server.to_string()])
        .spawn()
        .expect("to run");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(TYPED.as_bytes()).await.expect("a pipe");
    let run = end_of(child).await.exits_with(0);
    assert_eq!(run.stdout, "a log line\n");
    assert_eq!(read.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_end_of_standard_input_the_connection_stays_open() {
    let mut lab = Lab::new();
    // As many web servers do: who has ended is taken for one who has gone.
    let server = lab
        .server(&[], |mut stream| async move {
            let mut line = vec![0; TYPED.len()];
            let _ = stream.read_exact(&mut line).await;
            let more = tokio::time::timeout(Duration::from_millis(300), stream.read_u8());
            if more.await.is_err() {
                let _ = stream.write_all(b"an answer").await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
    let target = server.to_string();
    let run = lab.pipe(TYPED, &["--ignore-eof", &target]).await;
    assert_eq!(run.exits_with(0).stdout, "an answer");
    let run = lab.pipe(TYPED, &[&target]).await.exits_with(56);
    run.mentions(&["--ignore-eof"]);
    // The server's end is the end, whatever may still be typed.
    let mut child = lab
        .connect(&["--ignore-eof", &target])
        .spawn()
        .expect("to run");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(TYPED.as_bytes()).await.expect("a reader");
    let run = end_of(child).await.exits_with(0);
    assert_eq!(run.stdout, "an answer");
    drop(stdin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_ends_at_its_time_limit() {
    let mut lab = Lab::new();
    let silent = lab
        .server(&[], |stream| async move {
            let _stream = stream;
            std::future::pending().await
        })
        .await;
    let run = lab
        .pipe(TYPED, &["--max-time", "2s", &silent.to_string()])
        .await;
    run.exits_with(28).mentions(&["--max-time"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_openssl_server_is_reached_only_under_prefer() {
    if !has("openssl") {
        return;
    }
    let lab = Lab::new();
    let (chain, key) = (lab.path("server.pem"), lab.path("server.key"));
    let port = closed_port().await.port().to_string();
    let address = format!("127.0.0.1:{port}");
    let mut server = Command::new("openssl");
    server
        .args([
            "s_server", "-accept", &address, "-cert", &chain, "-key", &key,
        ])
        .args(["-rev", "-quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let _server = server.spawn().expect("openssl");
    while TcpStream::connect(&address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let run = lab
        .pipe("stressed\n", &["--policy", "prefer", &address])
        .await;
    assert_eq!(run.exits_with(0).stdout, "desserts\n");
    let run = lab.pipe(TYPED, &[&address]).await.exits_with(112);
    assert_eq!(run.stdout, "");
}
