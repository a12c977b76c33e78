//! Plain HTTP through the proxy, at the level of bytes (RFC 9110, RFC 9112).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Running;
use crate::lab::Lab;

type Heads = Arc<Mutex<Vec<String>>>;

/// A server that answers each connection's first request with these bytes, and keeps its head.
async fn server(lab: &mut Lab, answer: &'static [u8]) -> (SocketAddr, Heads) {
    let heads = Heads::default();
    let kept = Arc::clone(&heads);
    let address = lab
        .listen(move |mut stream| {
            let kept = Arc::clone(&kept);
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                kept.lock().expect("a lock").push(head);
                let _ = stream.write_all(answer).await;
            }
        })
        .await;
    (address, heads)
}

fn taken(heads: &Heads) -> Vec<String> {
    std::mem::take(&mut *heads.lock().expect("a lock"))
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

#[tokio::test]
async fn options_without_a_path_is_about_the_server_as_a_whole() {
    let mut lab = Lab::new();
    let (server, heads) = server(&mut lab, OK).await;
    let proxy = Running::with(&[]).await;
    for (target, line) in [
        ("", "OPTIONS * HTTP/1.1"),
        ("/", "OPTIONS / HTTP/1.1"),
        ("?a", "OPTIONS /?a HTTP/1.1"),
    ] {
        let request = format!("OPTIONS http://{server}{target} HTTP/1.1\r\nHost: x\r\n");
        let answer = proxy.ask(&request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let seen = taken(&heads);
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with(&format!("{line}\r\n")), "{}", seen[0]);
    }
    let request = format!("GET http://{server} HTTP/1.1\r\nHost: x\r\n");
    proxy.ask(&request).await;
    assert!(taken(&heads)[0].starts_with("GET / HTTP/1.1\r\n"));
    let own = proxy.ask("OPTIONS * HTTP/1.1\r\nHost: x\r\n").await;
    assert!(own.starts_with("HTTP/1.1 200 OK\r\nallow: GET, "), "{own}");
}

#[tokio::test]
async fn requests_end_at_the_proxy_where_max_forwards_is_zero() {
    let mut lab = Lab::new();
    let (server, heads) = server(&mut lab, OK).await;
    let proxy = Running::with(&[]).await;
    let fields = "Host: x\r\nX-A: b\r\nCookie: secret\r\nAuthorization: Basic secret\r\n";
    let ask = async |method: &str, count: &str| {
        let line = format!("{method} http://{server}/a HTTP/1.1\r\n");
        let request = format!("{line}{fields}Max-Forwards: {count}\r\n");
        proxy.ask(&request).await
    };
    let trace = ask("TRACE", "0").await;
    let (head, body) = trace.split_once("\r\n\r\n").expect("a response");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: message/http"), "{head}");
    let line = format!("TRACE http://{server}/a HTTP/1.1\r\n");
    assert!(body.starts_with(&line), "{body}");
    assert!(body.contains("\r\nx-a: b\r\n"), "{body}");
    assert!(!body.contains("secret"), "{body}");
    let options = ask("OPTIONS", "0").await;
    assert!(options.contains("\r\nallow: "), "{options}");
    assert_eq!(taken(&heads), [""; 0], "nothing was passed on");
    ask("TRACE", "2").await;
    assert!(taken(&heads)[0].contains("\r\nmax-forwards: 1\r\n"));
    ask("GET", "0").await;
    assert!(taken(&heads)[0].contains("\r\nmax-forwards: 0\r\n"));
}

#[tokio::test]
async fn messages_in_both_directions_name_the_proxy() {
    let mut lab = Lab::new();
    let answer = b"HTTP/1.0 200 OK\r\nVia: 1.1 other\r\nContent-Length: 3\r\n\r\nok\n";
    let (server, heads) = server(&mut lab, answer).await;
    let proxy = Running::with(&[]).await;
    for (version, via) in [("1.1", "1.1 mtls-client"), ("1.0", "1.0 mtls-client")] {
        let request = format!("GET http://{server}/ HTTP/{version}\r\nHost: x\r\n");
        let answer = proxy.ask(&request).await;
        assert!(
            answer.contains("via: 1.1 other\r\nvia: 1.0 mtls-client\r\n"),
            "{answer}"
        );
        let seen = taken(&heads).remove(0);
        assert!(seen.contains(&format!("\r\nvia: {via}\r\n")), "{seen}");
        assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let mut lab = Lab::new();
    let answer = b"HTTP/1.1 100 Continue\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-b\r\nX-B: c\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n\
                   HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
    let (server, _) = server(&mut lab, answer).await;
    let proxy = Running::with(&[]).await;
    let answer = proxy
        .ask(&format!("GET http://{server}/ HTTP/1.1\r\nHost: x\r\n"))
        .await;
    let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nvia: 1.1 mtls-client\r\n\r\n\
                    HTTP/1.1 103 Early Hints\r\nlink: </b>\r\nvia: 1.1 mtls-client\r\n\r\n\
                    HTTP/1.1 200 OK\r\n";
    assert!(answer.starts_with(expected), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    let older = proxy
        .ask(&format!("GET http://{server}/ HTTP/1.0\r\nHost: x\r\n"))
        .await;
    assert!(older.starts_with("HTTP/1.0 200 OK\r\n"), "{older}");
}

#[tokio::test]
async fn interim_responses_of_pipelined_requests_stay_in_order() {
    const BODY: usize = 1 << 20;
    let mut lab = Lab::new();
    let big = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n{}",
        "x".repeat(BODY)
    );
    let (first, _) = server(&mut lab, big.leak().as_bytes()).await;
    let early = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
    let (second, _) = server(&mut lab, early).await;
    let proxy = Running::with(&[]).await;
    let mut stream = proxy.connect().await;
    let requests = format!(
        "GET http://{first}/ HTTP/1.1\r\nHost: x\r\n\r\n\
         GET http://{second}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(requests.as_bytes()).await.expect("to ask");
    // The first response fills all buffers before it is read.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answers");
    let answer = String::from_utf8(answer).expect("a text");
    let (head, rest) = answer.split_once("\r\n\r\n").expect("a response");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let (body, rest) = rest.split_at(BODY);
    assert!(
        body.bytes().all(|byte| byte == b'x'),
        "something is inside the body"
    );
    assert!(rest.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{rest}");
    assert!(rest.ends_with("\r\n\r\nok\n"), "{rest}");
}

#[tokio::test]
async fn obsolete_forms_of_response_fields_are_normalized() {
    let mut lab = Lab::new();
    let answer = b"HTTP/1.1 200 OK\r\nX-Long: one\r\n two\r\n\tthree\r\nX-Space : b\r\n\
                   Content-Length: 3\r\n\r\nok\n";
    let (server, _) = server(&mut lab, answer).await;
    let proxy = Running::with(&[]).await;
    let answer = proxy
        .ask(&format!("GET http://{server}/ HTTP/1.1\r\nHost: x\r\n"))
        .await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let value = lines.find(|(own, _)| *own == name).map(|(_, value)| value);
        value.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(field("x-long").as_deref(), Some("one two three"), "{head}");
    assert_eq!(field("x-space").as_deref(), Some("b"), "{head}");
    assert_eq!(body, "ok\n");
}
