use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{dial, name, read, refusal, send, serve_one};
use crate::path::http_connect::MAX_HTTP_HEAD;
use crate::path::{Dial as _, DialFailure, DialStage, Path, ProxyRefusal};

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n";

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap()
}

/// Takes a request and answers with these bytes. Gives the request.
async fn proxy(answer: impl Into<Vec<u8>>) -> (Path, JoinHandle<String>) {
    let answer = answer.into();
    let (proxy, task) = serve_one(async move |mut stream| {
        let request = read_request(&mut stream).await;
        send(&mut stream, &answer).await;
        request
    })
    .await;
    (Path::http_connect(proxy), task)
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_name_and_no_byte_of_the_target_is_lost() {
    let (path, task) = proxy([ESTABLISHED, b"hello"].concat()).await;
    let mut dialed = dial(&path, "target.test:443").await.unwrap();
    assert_eq!(read(&mut dialed.stream, 5).await, b"hello");
    assert_eq!(
        task.await.unwrap(),
        "CONNECT target.test:443 HTTP/1.1\r\nHost: target.test:443\r\n\r\n"
    );
    assert_eq!(dialed.via, *path.kind());
    assert_eq!(
        dialed.route.proxy,
        path.kind().proxy().map(ToString::to_string)
    );
}

#[tokio::test]
async fn an_answer_in_single_bytes_is_read_all_the_same() {
    let (proxy, _task) = serve_one(async |mut stream: TcpStream| {
        stream.set_nodelay(true).unwrap();
        read_request(&mut stream).await;
        for byte in [ESTABLISHED, b"hello"].concat() {
            send(&mut stream, &[byte]).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut dialed = dial(&Path::http_connect(proxy), "target.test:443")
        .await
        .unwrap();
    assert_eq!(read(&mut dialed.stream, 5).await, b"hello");
}

#[tokio::test]
async fn given_addresses_are_asked_for_instead_of_the_name() {
    let (path, task) = proxy(ESTABLISHED).await;
    let path = path.resolve(
        name("target.test"),
        443,
        core::net::IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]),
    );
    dial(&path, "target.test:443").await.unwrap();
    assert!(
        task.await
            .unwrap()
            .starts_with("CONNECT [2001:db8::7]:443 HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn credentials_are_sent_as_basic() {
    let (path, task) = proxy(ESTABLISHED).await;
    let path = path.credentials("Aladdin", "open sesame").unwrap();
    dial(&path, "target.test:443").await.unwrap();
    let request = task.await.unwrap();
    // The example of RFC 7617, section 2.
    let expected = "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    assert!(request.ends_with(expected), "{request}");
}

#[tokio::test]
async fn every_status_but_success_is_a_refusal_that_is_told() {
    for (code, said) in [
        (100, "HTTP status 100"),
        (301, "HTTP status 301"),
        (403, "HTTP status 403: its rules do not allow the target"),
        (405, "HTTP status 405: it does not support CONNECT"),
        (407, "credentials"),
        (502, "HTTP status 502: it cannot reach the target"),
        (999, "HTTP status 999"),
    ] {
        let (path, _task) = proxy(format!("HTTP/1.1 {code} Whatever\r\n\r\n")).await;
        let refusal = refusal(&path).await;
        assert!(
            matches!(refusal, ProxyRefusal::HttpStatus(got) if got == code),
            "{refusal}"
        );
        assert!(refusal.to_string().contains(said), "{refusal}");
    }
}

#[tokio::test]
async fn an_answer_cut_short_at_any_byte_is_refused() {
    for len in 0..ESTABLISHED.len() {
        let (path, _task) = proxy(&ESTABLISHED[..len]).await;
        let refusal = refusal(&path).await;
        assert!(
            matches!(refusal, ProxyRefusal::Closed),
            "{len} bytes: {refusal}"
        );
    }
}

#[tokio::test]
async fn a_malformed_answer_is_refused() {
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "\r\n\r\n",
    ] {
        let (path, _task) = proxy(answer).await;
        let refusal = refusal(&path).await;
        assert!(
            matches!(refusal, ProxyRefusal::Malformed(_)),
            "{answer:?}: {refusal}"
        );
    }
}

#[tokio::test]
async fn the_head_may_have_its_limit_and_not_a_byte_more() {
    for (excess, allowed) in [(0, true), (1, false)] {
        let start = "HTTP/1.1 200 OK\r\nX: ";
        let filler = "x".repeat(MAX_HTTP_HEAD + excess - start.len() - 4);
        let (path, _task) = proxy(format!("{start}{filler}\r\n\r\n")).await;
        match dial(&path, "target.test:443").await {
            Ok(_) => assert!(allowed),
            Err(DialFailure::Proxy {
                refusal: ProxyRefusal::TooLong(_),
                ..
            }) => assert!(!allowed),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_that_falls_silent_within_its_answer_is_given_up() {
    let (reached, silent) = oneshot::channel();
    let (proxy, _task) = serve_one(async |mut stream: TcpStream| {
        read_request(&mut stream).await;
        send(&mut stream, &ESTABLISHED[..20]).await;
        reached.send(()).unwrap();
        core::future::pending::<()>().await;
    })
    .await;
    let dialing = tokio::spawn(Path::http_connect(proxy).dial(&"target.test:443".parse().unwrap()));
    silent.await.unwrap();
    tokio::time::pause();
    let reason = dialing.await.unwrap().unwrap_err().reason;
    let stage = DialStage::AwaitingProxy;
    assert!(
        matches!(reason, DialFailure::TimedOut { stage: s, .. } if s == stage),
        "{reason}"
    );
}
