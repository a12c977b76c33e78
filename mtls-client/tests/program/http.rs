//! `get`: HTTP as servers speak it, long heads, short frames, and requests to be sent again.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use hyper::{Request, Response};
use mtls_core::ServerStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::lab::{Lab, program, read_on, server_config};
use crate::site::BOTH;

type Http2 = Connection<ServerStream<TcpStream>, Bytes>;
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

impl Lab {
    /// An HTTP/2 server: it has each request answered, with the number of its connection.
    async fn h2_site<F>(
        &mut self,
        answer: impl Fn(usize, Asked) -> F + Clone + Send + Sync + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = Arc::new(AtomicUsize::new(0));
        let config = server_config(&self.pki.server, &[b"h2"]);
        self.serve_at_a_port(config, move |stream| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            async move {
                let mut connection = h2::server::Builder::new()
                    .handshake(stream)
                    .await
                    .expect("a client");
                while let Some(Ok(asked)) = connection.accept().await {
                    tokio::spawn(answer(number, asked));
                }
            }
        })
        .await
    }

    /// An HTTP/1.1 server: the n-th connection gets the n-th of these, and then the last one.
    async fn h1_site_answering(&mut self, answers: Vec<Vec<u8>>) -> (SocketAddr, Arc<AtomicUsize>) {
        let number = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&number);
        let config = server_config(&self.pki.server, &[b"http/1.1"]);
        let answers = Arc::new(answers);
        let address = self
            .serve_at_a_port(config, move |stream| {
                let number = number.fetch_add(1, Ordering::Relaxed);
                let answers = Arc::clone(&answers);
                async move {
                    let last = answers.len() - 1;
                    write_response(stream, &answers[number.min(last)]).await;
                }
            })
            .await;
        (address, count)
    }
}

async fn write_response(mut stream: ServerStream<TcpStream>, response: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let _ = stream.write_all(response).await;
    let _ = stream.shutdown().await;
}

/// A response with so many fields of so many bytes each, line end included.
fn with_fields(count: usize, bytes: usize) -> Vec<u8> {
    let mut response = String::from("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n");
    for number in 0..count {
        let name = format!("x-{number}: ");
        response += &format!("{name:v<0$}\r\n", bytes - 2);
    }
    (response + "\r\nok\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_a_response_without_content_is_that_of_another_one() {
    let mut lab = Lab::new();
    let site = lab
        .h2_site(move |_, (request, mut respond)| async move {
            let status = request.uri().path().trim_start_matches('/').to_owned();
            let response = Response::builder().status(&*status);
            let response = response.header("content-length", "5").body(());
            let sent = respond.send_response(response.expect("a response"), true);
            sent.expect("to send");
        })
        .await;
    for (typed, status) in [(&[][..], "304"), (&["-X", "HEAD"], "200"), (&["-I"], "200")] {
        let url = format!("https://{site}/{status}");
        let run = lab.get(&[typed, &["-s", &url]].concat()).await;
        run.exits_with(0);
    }
    let url = format!("https://{site}/200");
    lab.get(&["-s", &url]).await.exits_with(56);
}

#[tokio::test(flavor = "multi_thread")]
async fn response_heads_up_to_300_kib_are_accepted_over_both_versions() {
    for (count, bytes, exit) in [
        (101, 20, 0),
        (4_000, 70, 0),
        (10, 29_000, 0),
        (5_000, 70, 56),
        (11, 29_000, 56),
    ] {
        let mut lab = Lab::new();
        let (h1, _) = lab.h1_site_answering(vec![with_fields(count, bytes)]).await;
        let h2 = lab
            .h2_site(move |_, (_, mut respond)| async move {
                let mut response = Response::builder().status(200);
                for number in 0..count {
                    let name = format!("x-{number}");
                    let value = "v".repeat(bytes - name.len() - ": \r\n".len());
                    response = response.header(name, value);
                }
                let response = response.body(()).expect("a response");
                let sent = respond.send_response(response, false);
                let sent = sent.and_then(|mut stream| stream.send_data("ok\n".into(), true));
                sent.expect("to send");
            })
            .await;
        for site in [h1, h2] {
            let run = lab.get(&["-s", &format!("https://{site}/")]).await;
            let run = run.exits_with(exit);
            let expected = if exit == 0 { "ok\n" } else { "" };
            assert_eq!(run.stdout, expected, "{count} of {bytes}");
        }
    }
}

/// Frames of a body, and the bytes of each.
const FRAMES: usize = 20_000;
const SHORT: usize = 100;

async fn send_short_frames(stream: &mut SendStream<Bytes>) {
    for _ in 0..1_000 {
        stream.send_data(Bytes::new(), false).expect("to send");
        tokio::task::yield_now().await;
    }
    let mut room = 0;
    for _ in 0..FRAMES {
        while room < SHORT {
            stream.reserve_capacity(16 * SHORT);
            let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            room = capacity.expect("an open stream").expect("capacity");
        }
        let data = Bytes::from_static(&[b'x'; SHORT]);
        stream.send_data(data, false).expect("to send");
        room -= SHORT;
        // Each frame is written before the next one is made.
        tokio::task::yield_now().await;
    }
    stream.send_data(Bytes::new(), true).expect("to send");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_and_empty_frames_arrive_whole_at_a_slow_reader() {
    let mut lab = Lab::new();
    let site = lab
        .h2_site(|_, (_, mut respond)| async move {
            let response = respond.send_response(Response::new(()), false);
            send_short_frames(&mut response.expect("to answer")).await;
        })
        .await;
    let mut command = program();
    command.args(["get", "-s", "--cacert", &lab.ca()]);
    command.arg(format!("https://{site}/"));
    command.stdout(Stdio::piped());
    let mut child = command.spawn().expect("to run");
    let mut stdout = child.stdout.take().expect("a pipe");
    sleep(Duration::from_secs(3)).await;
    let mut body = Vec::new();
    stdout.read_to_end(&mut body).await.expect("the body");
    assert_eq!(body.len(), FRAMES * SHORT);
    assert_eq!(child.wait().await.expect("an end").code(), Some(0));
}

async fn answer(mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = Vec::new();
    while let Some(Ok(data)) = request.body_mut().data().await {
        body.extend(data);
    }
    let response = respond.send_response(Response::new(()), false);
    let mut stream = response.expect("to answer");
    stream.send_data(body.into(), true).expect("to send");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_is_sent_again_with_its_body() {
    let mut lab = Lab::new();
    let site = lab
        .h2_site(|number, (request, mut respond)| async move {
            match number {
                0 | 1 => respond.send_reset(Reason::REFUSED_STREAM),
                _ => answer(request, respond).await,
            }
        })
        .await;
    let run = lab
        .get(&["-s", "-d", "hello", &format!("https://{site}/")])
        .await;
    assert_eq!(run.exits_with(0).stdout, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_server_that_refuses_every_stream_end() {
    let mut lab = Lab::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let site = lab
        .h2_site(move |_, (_, mut respond)| {
            seen.fetch_add(1, Ordering::Relaxed);
            async move { respond.send_reset(Reason::REFUSED_STREAM) }
        })
        .await;
    let run = lab.get(&["-s", &format!("https://{site}/")]).await;
    run.mentions(&["refused"]);
    assert_eq!(requests.load(Ordering::Relaxed), 6);
}

/// Writes HTTP/2 frames by hand: a GOAWAY whose last stream ID and error code are 0.
async fn go_away(mut stream: ServerStream<TcpStream>) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.expect("a preface");
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&settings).await.expect("to write");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("a frame");
        let mut payload = vec![0; usize::from(head[2]) | usize::from(head[1]) << 8];
        stream.read_exact(&mut payload).await.expect("a frame");
        if head[3] == 1 {
            break;
        }
    }
    let frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&frame).await.expect("to write");
    let _ = stream.shutdown().await;
    read_on(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_above_the_last_of_a_goaway_is_sent_again() {
    let mut lab = Lab::new();
    let number = Arc::new(AtomicUsize::new(0));
    let config = server_config(&lab.pki.server, &[b"h2"]);
    let site = lab
        .serve_at_a_port(config, move |stream| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            async move {
                if number == 0 {
                    return go_away(stream).await;
                }
                let h2: Result<Http2, _> = h2::server::handshake(stream).await;
                let mut h2 = h2.expect("a client");
                while let Some(Ok((request, respond))) = h2.accept().await {
                    tokio::spawn(answer(request, respond));
                }
            }
        })
        .await;
    let run = lab
        .get(&["-s", "-d", "hello", &format!("https://{site}/")])
        .await;
    assert_eq!(run.exits_with(0).stdout, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_requires_http_1_1_gets_it() {
    let mut lab = Lab::new();
    let config = server_config(&lab.pki.server, BOTH);
    let site = lab
        .serve_at_a_port(config, |stream| async move {
            let is_h2 = stream.get_ref().get_ref().1.alpn_protocol() == Some(b"h2");
            if !is_h2 {
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nold\n";
                return write_response(stream, response).await;
            }
            let h2: Result<Http2, _> = h2::server::handshake(stream).await;
            let mut h2 = h2.expect("a client");
            while let Some(Ok((_, mut respond))) = h2.accept().await {
                respond.send_reset(Reason::HTTP_1_1_REQUIRED);
            }
        })
        .await;
    let url = format!("https://{site}/");
    let run = lab.get(&["-s", &url]).await.exits_with(0);
    assert_eq!(run.stdout, "old\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_can_be_chosen_although_the_server_prefers_http_2() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/request");
    for (option, version) in [(&[][..], "HTTP/2.0"), (&["--http1.1"], "HTTP/1.1")] {
        let run = lab.get(&[option, &["-s", &url]].concat()).await;
        let run = run.exits_with(0);
        assert!(run.stdout.contains(version), "{option:?}: {}", run.stdout);
    }
}

fn with_status(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_status_is_retried_as_often_as_retry_allows() {
    let mut lab = Lab::new();
    let busy = with_status("503 Service Unavailable", "busy\n");
    for (retry, expected, connections) in
        [("0", "busy\n", 1), ("1", "here\n", 2), ("9", "here\n", 2)]
    {
        let answers = vec![busy.clone(), with_status("200 OK", "here\n")];
        let (site, count) = lab.h1_site_answering(answers).await;
        let url = format!("https://{site}/");
        let run = lab.get(&["-s", "--retry", retry, &url]).await.exits_with(0);
        assert_eq!(run.stdout, expected, "--retry {retry}");
        assert_eq!(
            count.load(Ordering::Relaxed),
            connections,
            "--retry {retry}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_attempt_is_delivered_and_other_statuses_are_not_retried() {
    let mut lab = Lab::new();
    for (status, connections) in [("503 Service Unavailable", 2), ("404 Not Found", 1)] {
        let (site, count) = lab
            .h1_site_answering(vec![with_status(status, "no\n")])
            .await;
        let url = format!("https://{site}/");
        let run = lab.get(&["--retry", "1", &url]).await.exits_with(0);
        assert_eq!(run.stdout, "no\n", "{status}");
        assert_eq!(count.load(Ordering::Relaxed), connections, "{status}");
        let warned = run.stderr.contains("retrying in 1 s");
        assert_eq!(warned, connections == 2, "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_before_the_end_of_the_upload_is_delivered() {
    let mut lab = Lab::new();
    let file = lab.path("large");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    let h2 = lab
        .h2_site(|_, (request, mut respond)| async move {
            drop(request);
            let response = Response::builder().status(413).body(()).expect("one");
            let stream = respond.send_response(response, false);
            let mut stream = stream.expect("to answer");
            stream
                .send_data("too large\n".into(), true)
                .expect("to send");
        })
        .await;
    let too_large = with_status("413 Content Too Large", "too large\n");
    let (h1, _) = lab.h1_site_answering(vec![too_large]).await;
    for site in [h1, h2] {
        let url = format!("https://{site}/up");
        let run = lab.get(&["-s", "-T", &file, &url]).await.exits_with(0);
        assert_eq!(run.stdout, "too large\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_is_retried() {
    let mut lab = Lab::new();
    let silent = lab.silent().await;
    let url = format!("https://{silent}/");
    let run = lab
        .get(&["--connect-timeout", "200ms", "--retry", "1", &url])
        .await
        .exits_with(28);
    assert_eq!(run.stderr.matches("retrying in 1 s").count(), 1);
}
