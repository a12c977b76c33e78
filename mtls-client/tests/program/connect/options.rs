//! The options of `connect`, and servers that it must not trust.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::lab::PATIENCE;

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
        assert_eq!(
            read.load(Ordering::Relaxed),
            0,
            "bytes that the attacker has read"
        );
        // The program does not read it either: the next reader of the file gets all of it.
        let position = std::io::Seek::stream_position(&mut &input).expect("a position");
        assert_eq!(position, 0);
    }
    // `observe` lets the attacker in, and the exit status reports it.
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

impl Lab {
    /// As many web servers do: who has ended is taken for one who has gone. Answers a line when no end
    /// has followed it for so long.
    async fn impatient(&mut self, wait: Option<Duration>) -> String {
        let server = self.server(&[], move |mut stream| async move {
            let mut line = vec![0; TYPED.len()];
            let _ = stream.read_exact(&mut line).await;
            let more = stream.read_u8();
            let Some(wait) = wait else {
                return drop(more.await);
            };
            if tokio::time::timeout(wait, more).await.is_err() {
                let _ = stream.write_all(b"an answer").await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        server.await.to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_end_of_standard_input_the_connection_stays_open() {
    let mut lab = Lab::new();
    let target = lab.impatient(Some(Duration::from_millis(300))).await;
    let run = lab.pipe(TYPED, &["--ignore-eof", &target]).await;
    assert_eq!(run.exits_with(0).stdout, "an answer");
    let waiting = lab.impatient(None).await;
    let run = lab.pipe(TYPED, &[&waiting]).await.exits_with(56);
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
    // It serves one connection at a time, so the one over the side path gets no answer.
    let typed = ["--deadline", PATIENCE, &address];
    let run = lab
        .pipe(
            "stressed\n",
            &[&["--policy", "prefer"], &typed[..]].concat(),
        )
        .await;
    assert_eq!(run.exits_with(0).stdout, "desserts\n");
    let run = lab.pipe(TYPED, &typed).await.exits_with(112);
    assert_eq!(run.stdout, "");
}
