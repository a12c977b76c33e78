//! `connect`: standard input and output connected to a server.

mod options;

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

use crate::lab::{Lab, Run, Whose, closed_port, has, patient_server, program, server_config};

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
        let acceptor = MultipathAcceptor::builder(config, patient_server(Policy::Require));
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
    // The buffers of the program and of the sockets are full when nothing more is read.
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
    // A reset, where the system had not yet given the client all that the server sent.
    assert!(
        matches!(
            end,
            Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        ),
        "{end:?}"
    );
}
