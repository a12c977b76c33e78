//! Plain HTTP through the proxy: long heads, and responses before the end of an upload.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Running, Way};
use crate::lab::{Lab, has};

/// Reads a request's head.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte.into()),
            Err(_) => break,
        }
    }
    head
}

/// `/COUNT/BYTES`: answers with so many fields of so many bytes each, line end included.
async fn answer_with_fields(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    let path = head.split(' ').nth(1).expect("a path");
    let (count, bytes) = path[1..].split_once('/').expect("two numbers");
    let count: usize = count.parse().expect("a number");
    let bytes: usize = bytes.parse().expect("a number");
    let mut response = String::from("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n");
    for number in 0..count {
        let name = format!("x-{number}: ");
        response += &format!("{name:v<0$}\r\n", bytes - 2);
    }
    response += "\r\nok\n";
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_plain_http_are_bounded_in_bytes() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let site = lab.listen(answer_with_fields).await;
    let proxy = Running::with(&[]).await;
    let file = lab.path("fields");
    for (path, fields, status) in [
        ("101/20", 101, "200"),
        ("4000/70", 4_000, "200"),
        ("10/29000", 1, "200"),
        ("5000/70", 1, "502"),
        ("1/20", 6_000, "431"),
    ] {
        let lines: String = (0..fields).map(|n| format!("x-{n}: abc\n")).collect();
        std::fs::write(&file, lines).expect("to write");
        let (typed, url) = (format!("@{file}"), format!("http://{site}/{path}"));
        let typed = ["-o", "/dev/null", "-w", "%{http_code}", "-H", &typed, &url];
        let run = proxy.curl(Way::Http, &typed).await.exits_with(0);
        assert_eq!(run.stdout, status, "{path}, {fields} fields");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_before_the_end_of_the_upload_reaches_the_client() {
    let mut lab = Lab::new();
    let site = lab
        .listen(|mut stream| async move {
            reject(&mut stream).await;
            // Closes as RFC 9112, section 9.6, recommends.
            let _ = stream.shutdown().await;
            let mut discarded = vec![0; 1 << 16];
            while let Ok(1..) = stream.read(&mut discarded).await {}
        })
        .await;
    assert_rejected(&lab, site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_reaches_the_client_although_the_target_resets_the_connection_after_it() {
    let mut lab = Lab::new();
    // A socket that closes with unread data resets the connection.
    let site = lab
        .listen(|mut stream| async move { reject(&mut stream).await })
        .await;
    assert_rejected(&lab, site).await;
}

/// Responds before the end of the upload.
async fn reject(stream: &mut TcpStream) {
    read_head(stream).await;
    let response = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\nbig\n";
    let _ = stream.write_all(response).await;
}

/// Uploads a large file through the proxy to a site that rejects it.
async fn assert_rejected(lab: &Lab, site: SocketAddr) {
    if !has("curl") {
        return;
    }
    let proxy = Running::with(&[]).await;
    let (file, url) = (lab.path("large"), format!("http://{site}/up"));
    let large = std::fs::File::create(&file).expect("a file");
    large.set_len(32 << 20).expect("to be long");
    for _ in 0..5 {
        let typed = ["-w", "%{http_code}", "-H", "expect:", "-T", &file, &url];
        let run = proxy.curl(Way::Http, &typed).await.exits_with(0);
        assert_eq!(run.stdout, "big\n413");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_coding_that_the_proxy_would_lose_is_refused() {
    let mut lab = Lab::new();
    let site = lab
        .listen(|mut stream| async move {
            read_head(&mut stream).await;
            let response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
            let _ = stream.write_all(response).await;
        })
        .await;
    let proxy = Running::with(&[]).await;
    for (field, status) in [("x: y", "502"), ("transfer-encoding: gzip, chunked", "501")] {
        let request = format!("POST http://{site}/ HTTP/1.1\r\nhost: {site}\r\n{field}\r\n");
        let response = crate::lab::request(proxy.address, &request).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{response}"
        );
    }
}
