//! `get`: how connections end, and what a server's end of them means.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use hyper::Response;
use mtls_core::ServerStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::{Lab, PATIENCE, closed_port, eventually, read_on, server_config};
use crate::site::H1;

/// The end of a server's stream.
type Ends = Arc<Mutex<Vec<Result<usize, String>>>>;

/// A server of HTTP/1.1 that answers this, and then reads to the end.
async fn listening_site(lab: &mut Lab, answer: &'static [u8]) -> (String, Ends) {
    let ends = Ends::default();
    let config = server_config(&lab.pki.server, H1);
    let seen = Arc::clone(&ends);
    let handle = move |mut stream: ServerStream<TcpStream>| {
        let seen = Arc::clone(&seen);
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            stream.write_all(answer).await.expect("to answer");
            stream.flush().await.expect("to answer");
            let end = stream.read(&mut [0; 1]).await;
            let end = end.map_err(|error| error.to_string());
            seen.lock().expect("the ends").push(end);
        }
    };
    let site = lab.serve_at_a_port(config, handle).await;
    (format!("https://{site}/"), ends)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_receives_close_notify_after_every_outcome() {
    let mut lab = Lab::new();
    let closed = format!("https://{}/", closed_port().await);
    let elsewhere = format!("HTTP/1.1 302 Found\r\nlocation: {closed}\r\n\r\nbody").leak();
    for (answer, options, code) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"[..],
            &[][..],
            0,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n",
            &["-I"],
            0,
        ),
        (
            b"HTTP/1.1 404 No\r\ncontent-length: 3\r\n\r\nok\n",
            &["-f"],
            22,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok\n",
            &["--max-time", PATIENCE],
            28,
        ),
        (b"", &["--max-time", PATIENCE], 28),
        (b"nonsense\r\n\r\n", &[], 56),
        (elsewhere.as_bytes(), &["-L"], 7),
    ] {
        let (url, ends) = listening_site(&mut lab, answer).await;
        let run = lab.get(&[options, &["-s", &url]].concat()).await;
        run.exits_with(code);
        let seen = || ends.lock().expect("the ends").first().cloned();
        eventually("the end", || seen().is_some()).await;
        assert_eq!(seen(), Some(Ok(0)), "{options:?}: no close_notify");
    }
}

/// The end of a stream by an HTTP/2 server.
#[derive(Clone, Copy, Debug)]
enum H2End {
    Reset(Reason),
    ResetInBody(Reason),
    /// A frame that may not be: the client ends the connection.
    BadFrame,
    /// TCP ends.
    Gone,
    GoneInBody,
    /// The whole body, and then a reset of what the client still sends.
    WholeAndReset,
}

/// The same socket once more.
fn second_handle(socket: &impl AsFd) -> TcpStream {
    let socket = socket.as_fd().try_clone_to_owned().expect("a descriptor");
    TcpStream::from_std(socket.into()).expect("a socket")
}

/// Ends the server's half of TCP, and stays until the client has gone.
async fn end_tcp(mut tcp: TcpStream) {
    let _ = tcp.shutdown().await;
    read_on(&mut tcp).await;
}

/// Sends what waits, and returns when the client has it: it answers a PING in order.
async fn deliver<T>(connection: &mut h2::server::Connection<T, Bytes>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut ping = connection.ping_pong().expect("the first one");
    let pong = ping.ping(h2::Ping::opaque());
    let closed = std::future::poll_fn(|context| connection.poll_closed(context));
    tokio::select! {
        pong = pong => drop(pong.expect("a pong")),
        closed = closed => panic!("closed before the pong: {closed:?}"),
    }
}

async fn h2_site(lab: &mut Lab, end: H2End) -> String {
    let config = server_config(&lab.pki.server, &[b"h2"]);
    let handle = move |stream: ServerStream<TcpStream>| async move {
        let (mut tls, _) = stream.into_parts();
        let tcp = second_handle(&tls.get_ref().0);
        if let H2End::BadFrame = end {
            // SETTINGS, and DATA of stream 0 (RFC 9113, section 6.1).
            let frames = [[0, 0, 0, 4, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0]];
            tls.write_all(&frames.concat()).await.expect("to write");
            let _ = tls.read_to_end(&mut Vec::new()).await;
            return;
        }
        let mut connection = h2::server::handshake(tls).await.expect("HTTP/2");
        let Some(Ok((_, mut respond))) = connection.accept().await else {
            panic!("no request");
        };
        let mut with_body = |end: bool| {
            let mut body = respond
                .send_response(Response::new(()), false)
                .expect("a head");
            body.send_data(Bytes::from_static(b"ok\n"), end)
                .expect("a body");
            body
        };
        match end {
            H2End::Reset(reason) => respond.send_reset(reason),
            H2End::BadFrame => unreachable!("before the handshake"),
            H2End::Gone => return end_tcp(tcp).await,
            H2End::ResetInBody(_) | H2End::GoneInBody | H2End::WholeAndReset => {
                let mut body = with_body(matches!(end, H2End::WholeAndReset));
                deliver(&mut connection).await;
                match end {
                    H2End::ResetInBody(reason) => body.send_reset(reason),
                    H2End::WholeAndReset => body.send_reset(Reason::NO_ERROR),
                    _ => return end_tcp(tcp).await,
                }
            }
        }
        let _ = std::future::poll_fn(|context| connection.poll_closed(context)).await;
    };
    let site = lab.serve_at_a_port(config, handle).await;
    format!("https://{site}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_an_http2_stream_has_its_exit_status() {
    let mut lab = Lab::new();
    for (end, code, body) in [
        (H2End::Reset(Reason::INTERNAL_ERROR), 92, ""),
        (H2End::Reset(Reason::NO_ERROR), 92, ""),
        (H2End::Reset(Reason::CANCEL), 92, ""),
        (H2End::ResetInBody(Reason::INTERNAL_ERROR), 92, "ok\n"),
        (H2End::ResetInBody(Reason::CANCEL), 92, "ok\n"),
        // hyper takes it for the end of a body.
        (H2End::ResetInBody(Reason::NO_ERROR), 18, "ok\n"),
        (H2End::BadFrame, 16, ""),
        (H2End::Gone, 52, ""),
        (H2End::GoneInBody, 18, "ok\n"),
        (H2End::WholeAndReset, 0, "ok\n"),
    ] {
        let url = h2_site(&mut lab, end).await;
        let run = lab.get(&["-s", &url]).await;
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (code, body),
            "{end:?}: {}",
            run.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_52_with_close_notify_and_without() {
    let mut lab = Lab::new();
    let polite = lab.raw_site(b"").await;
    let config = server_config(&lab.pki.server, H1);
    let rude = lab.serve_at_a_port(config, |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        // TCP ends, and TLS does not.
    });
    for site in [polite, rude.await] {
        let run = lab.get(&["-s", &format!("https://{site}/")]).await;
        run.exits_with(52).mentions(&["without a response"]);
    }
}
