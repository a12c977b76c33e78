//! The start and the end of the proxy, and misbehaving clients.

use std::io::{BufRead, PipeWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LONG, Running};
use crate::lab::{Lab, closed_port, program};

async fn ends(running: &mut Running) -> i32 {
    let ended = tokio::time::timeout(LONG, running.child.wait()).await;
    let status = ended.expect("it goes on").expect("a status");
    status.code().expect("no signal ended it")
}

/// Answers each connection with what it was sent, until the end.
async fn echo(lab: &mut Lab) -> SocketAddr {
    lab.listen(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"hello").await.expect("to write");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn options_that_a_proxy_cannot_fulfil_are_refused() {
    let lab = Lab::new();
    for (typed, code, words) in [
        (
            &["--listen", "0.0.0.0:0"][..],
            2,
            &["--listen", "--unsafe-listen"][..],
        ),
        (&["--listen", "localhost"], 2, &["localhost"]),
        (
            &["--binding", "exporter"],
            2,
            &["unexpected argument", "--binding"],
        ),
        (&["--cacert", "x"], 2, &["unexpected argument", "--cacert"]),
        (
            &["--max-time", "3s"],
            2,
            &["unexpected argument", "--max-time"],
        ),
        (
            &["--exempt", "https://a.test/"],
            2,
            &["--exempt", "without scheme"],
        ),
        (&["--require", ""], 2, &["--require", "not a host"]),
        (&["--max-tunnels", "0"], 2, &["--max-tunnels"]),
        (&["--side", "eth0"], 2, &["--side"]),
    ] {
        let run = lab.run([&["proxy"][..], typed].concat()).await;
        run.exits_with(code).mentions(words);
    }
}

#[tokio::test]
async fn port_that_is_taken_is_named() {
    let lab = Lab::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    let run = lab.run(["proxy", "--listen", &address]).await;
    run.exits_with(7).mentions(&[&address, "--listen"]);
}

/// A process writes to the same pipe until it is full, and nothing reads it.
fn fill(mut pipe: PipeWriter) {
    let (written, progress) = channel();
    std::thread::spawn(move || {
        while pipe.write_all(b".").is_ok() {
            let _ = written.send(());
        }
    });
    while progress.recv_timeout(Duration::from_millis(500)).is_ok() {}
}

#[tokio::test]
async fn a_reader_that_stalls_delays_neither_tunnels_nor_the_end() {
    let mut lab = Lab::new();
    let target = echo(&mut lab).await;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = program();
    command
        .args(["proxy", "--listen", "127.0.0.1:0", "--exempt", "*", "-vv"])
        .env("RUST_LOG", "trace")
        .stderr(writer.try_clone().expect("another"));
    let child = command.spawn().expect("to run");
    drop(command);
    let mut lines = std::io::BufReader::new(reader).lines();
    let address = loop {
        let line = lines.next().expect("a line").expect("a line");
        if let Some((_, rest)) = line.split_once("proxy on ") {
            break rest.split(' ').next().unwrap_or(rest).parse();
        }
    };
    fill(writer);
    let mut proxy = Running {
        address: address.expect("an address"),
        child,
        stderr: Arc::default(),
    };
    for _ in 0..20 {
        let relayed = async {
            let (mut stream, status) = proxy.tunnel(target).await;
            assert_eq!(status, "HTTP/1.1 200 Connection established");
            echoes(&mut stream).await;
        };
        tokio::time::timeout(LONG, relayed).await.expect("it hangs");
    }
    proxy.signal("TERM");
    assert_eq!(ends(&mut proxy).await, 0);
    drop(lines);
}

#[tokio::test]
async fn a_signal_drains_open_tunnels_and_refuses_new_ones() {
    let mut lab = Lab::new();
    let target = echo(&mut lab).await;
    let mut proxy = Running::with(&["--exempt", "*", "--shutdown-timeout", "60s"]).await;
    let (mut stream, status) = proxy.tunnel(target).await;
    assert_eq!(status, "HTTP/1.1 200 Connection established");
    echoes(&mut stream).await;
    proxy.signal("TERM");
    proxy.says("for 1 open tunnels").await;
    assert!(TcpStream::connect(proxy.address).await.is_err());
    echoes(&mut stream).await;
    drop(stream);
    assert_eq!(ends(&mut proxy).await, 0);
}

#[tokio::test]
async fn a_second_signal_or_the_timeout_closes_tunnels() {
    let mut lab = Lab::new();
    let target = echo(&mut lab).await;
    for (limit, signals) in [("60s", 2), ("1ms", 1)] {
        let mut proxy = Running::with(&["--exempt", "*", "--shutdown-timeout", limit]).await;
        let (mut stream, _) = proxy.tunnel(target).await;
        echoes(&mut stream).await;
        proxy.signal("INT");
        if signals == 2 {
            proxy.says("SIGINT").await;
            proxy.signal("INT");
        }
        assert_eq!(ends(&mut proxy).await, 0);
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn tunnels_beyond_the_limit_are_refused_and_the_page_still_responds() {
    let mut lab = Lab::new();
    let target = echo(&mut lab).await;
    let proxy = Running::with(&["--exempt", "*", "--max-tunnels", "1"]).await;
    let (mut first, _) = proxy.tunnel(target).await;
    echoes(&mut first).await;
    let (_, status) = proxy.tunnel(target).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let mut socks = proxy.connect().await;
    let SocketAddr::V4(v4) = target else {
        panic!("IPv4")
    };
    let asked = [
        &[5, 1, 0, 5, 1, 0, 1][..],
        &v4.ip().octets(),
        &v4.port().to_be_bytes(),
    ]
    .concat();
    socks.write_all(&asked).await.expect("to ask");
    let mut answer = Vec::new();
    socks.read_to_end(&mut answer).await.expect("an answer");
    assert_eq!(answer, [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(proxy.json("/connections").await["open"], 1);
    echoes(&mut first).await;
    drop(first);
    loop {
        let (mut next, status) = proxy.tunnel(target).await;
        if status.contains("200") {
            echoes(&mut next).await;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn server_may_speak_first_where_its_host_is_exempt() {
    let mut lab = Lab::new();
    let target = lab
        .listen(|mut stream| async move {
            let _ = stream.write_all(b"220 hello\r\n").await;
            let _ = stream.read_u8().await;
        })
        .await;
    let proxy = Running::with(&["--exempt", "127.0.0.1"]).await;
    let (mut stream, _) = proxy.tunnel(target).await;
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(&greeting, b"220 hello\r\n");
}

#[tokio::test]
async fn early_data_is_refused_and_the_page_names_the_remedy() {
    let mut lab = Lab::new();
    let target = echo(&mut lab).await;
    let proxy = Running::with(&["--policy", "observe"]).await;
    let (mut stream, _) = proxy.tunnel(target).await;
    // The least ClientHello that offers it (RFC 8446, section 4.2.10).
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 4, 0, 42, 0, 0]);
    let length = u8::try_from(body.len()).expect("a short hello");
    let hello = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    stream.write_all(&hello).await.expect("to write");
    let mut answer = Vec::new();
    assert_eq!(stream.read_to_end(&mut answer).await.unwrap_or(0), 0);
    let seen = proxy.connections(1).await;
    assert_eq!(seen[0]["kind"], "refused");
    assert_eq!(seen[0]["verification"]["reason"], "early-data");
    assert_eq!(seen[0]["bytes"]["to_server"], 0);
    let words = seen[0]["explanation"].as_str().expect("words");
    assert!(words.contains("Disable early data"), "{words}");
}

#[tokio::test]
async fn connections_that_were_never_used_are_not_failures() {
    let mut lab = Lab::new();
    let target = lab.silent().await;
    let proxy = Running::with(&[]).await;
    let (stream, _) = proxy.tunnel(target).await;
    drop(stream);
    let seen = proxy.connections(1).await;
    assert_eq!(seen[0]["kind"], "unused");
}

#[tokio::test]
async fn silent_and_invalid_clients_are_disconnected() {
    let proxy = Running::with(&["-v"]).await;
    for (first, words) in [
        (&b"\x16\x03\x01"[..], "connect to the proxy without TLS"),
        (b"\x04\x02\x00\x50\x7f\x00\x00\x01\x00", "SOCKS4"),
        (b"\x00", "neither HTTP nor SOCKS"),
        (b"\x05\x01\x02", "requires credentials"),
        (b"CONNECT x HTTP/1.1\r\n\r\n", "no port"),
    ] {
        let mut stream = proxy.connect().await;
        stream.write_all(first).await.expect("to write");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        proxy.says(words).await;
    }
    let mut stream = proxy.connect().await;
    let long = [&b"CONNECT "[..], &[b'x'; 66_000]].concat();
    // The proxy may answer before it has read everything.
    let _ = stream.write_all(&long).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn history_is_bounded() {
    let mut lab = Lab::new();
    let target = echo(&mut lab).await;
    let proxy = Running::with(&["--exempt", "*", "--history", "2"]).await;
    for _ in 0..5 {
        let (mut stream, _) = proxy.tunnel(target).await;
        echoes(&mut stream).await;
        let mut rest = Vec::new();
        stream.shutdown().await.expect("to close");
        stream.read_to_end(&mut rest).await.expect("the end");
    }
    let waiting = async {
        loop {
            let state = proxy.json("/connections").await;
            if state["ids"] == serde_json::json!([3, 4]) {
                return assert_eq!(state["totals"]["exempt"], 5);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("two");
}

#[tokio::test]
async fn json_lines_report_each_verdict_and_each_end() {
    let closed = closed_port().await;
    let mut lab = Lab::new();
    let target = echo(&mut lab).await;
    let mut command = crate::lab::program();
    command
        .args([
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--json",
            "--exempt",
            "*",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("to run");
    let stdout = child.stdout.take().expect("a pipe");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    let mut next = async || -> serde_json::Value {
        let line = tokio::time::timeout(LONG, lines.next_line())
            .await
            .expect("it hangs");
        serde_json::from_str(&line.expect("a line").expect("a line")).expect("JSON")
    };
    let listening = next().await;
    assert_eq!(listening["event"], "listening");
    let address = listening["listen"][0]
        .as_str()
        .expect("an address")
        .to_owned();
    for (to, kind) in [(target, "exempt"), (closed, "failed")] {
        let mut stream = TcpStream::connect(&address).await.expect("the proxy");
        let asked = format!("CONNECT {to} HTTP/1.1\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.expect("to ask");
        stream.shutdown().await.expect("to close");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        for event in ["verdict", "end"] {
            let line = next().await;
            assert_eq!(line["event"], event);
            assert_eq!(line["kind"], kind);
            assert_eq!(line["target"], to.to_string());
        }
    }
}

#[tokio::test]
async fn peer_that_never_reads_keeps_memory_bounded() {
    let mut lab = Lab::new();
    // Sends as long as the proxy reads.
    let target = lab
        .listen(|mut stream| async move {
            let chunk = vec![7; 64 * 1024];
            while stream.write_all(&chunk).await.is_ok() {}
        })
        .await;
    let proxy = Running::with(&["--exempt", "*"]).await;
    let before = proxy.memory();
    let mut kept = Vec::new();
    for _ in 0..20 {
        let (stream, status) = proxy.tunnel(target).await;
        assert!(status.contains("200"), "{status}");
        kept.push(stream);
    }
    // Until nothing moves any more.
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let state = proxy.json("/connections").await;
        let all = state["connections"].as_array().expect("an array");
        let moved = all
            .iter()
            .filter_map(|one| one["bytes"]["to_client"].as_u64())
            .sum();
        if moved == last && moved > 0 {
            break;
        }
        last = moved;
    }
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for {} tunnels", kept.len());
}
