//! Request bodies that are malformed, break off, or get a response before their end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedSender;

use crate::common::{Site, curl, read_head, text};
use crate::terminate::backend::Backend;
use crate::terminate::status;
use crate::terminate::target::target;

#[tokio::test]
async fn a_malformed_or_aborted_body_gets_400_and_the_target_no_blame() {
    let (site, backend) = (Site::new(), Backend::tcp());
    for target in [backend.url.clone(), backend.url.replace("http:", "h2c:")] {
        let mut server = site.terminate(&target, &["-v"]);
        for rest in [
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
            "transfer-encoding: chunked\r\n\r\n5\r\nhelloXX",
            "transfer-encoding: chunked\r\n\r\n5\r\nhel",
            "content-length: 10\r\n\r\nhello",
        ] {
            let mut stream = site.connect(server.address).await;
            let request = format!("POST /count HTTP/1.1\r\nhost: x\r\n{rest}");
            stream
                .write_all(request.as_bytes())
                .await
                .expect("to write");
            stream.shutdown().await.expect("to close one half");
            let mut response = Vec::new();
            stream.read_to_end(&mut response).await.expect("an end");
            assert_eq!(status(&text(&response)), "400", "{target}: {rest:?}");
        }
        let blame = |line: &&String| line.contains("WARN") || line.contains("ERROR");
        assert_eq!(server.log().iter().find(blame), None, "{target}");
    }
}

/// How a target closes after a response that came early.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// With bytes unread, so that its system resets the connection.
    AtOnce,
    /// As RFC 9112, section 9.6, wants it.
    Lingering,
}

/// A target that answers every request with 413 before it has read the body.
fn early_target(close: Close) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = refuse(stream.expect("a connection"), close);
        }
    });
    url
}

fn refuse(mut stream: TcpStream, close: Close) -> std::io::Result<()> {
    let mut bytes = vec![0; 4096];
    let _ = stream.read(&mut bytes)?;
    stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n")?;
    stream.write_all(b"connection: close\r\n\r\nbig\n")?;
    if let Close::Lingering = close {
        stream.shutdown(Shutdown::Write)?;
        while stream.read(&mut bytes)? > 0 {}
    }
    Ok(())
}

#[test]
fn a_response_before_the_end_of_the_upload_reaches_the_client() {
    let site = Site::new();
    site.add_large_file("large");
    let file = site.www().join("large").display().to_string();
    for close in [Close::AtOnce, Close::Lingering] {
        let target = early_target(close);
        let server = site.terminate(&target, &[]);
        for version in ["--http1.1", "--http2"] {
            let url = server.url("/up");
            let options = [version, "-H", "expect:", "-T", &file, &url];
            let Some(output) = curl(&site.pem("ca.pem"), &options) else {
                return;
            };
            let response = text(&output.stdout);
            assert_eq!(status(&response), "413", "{close:?} {version}: {response}");
            assert!(
                response.ends_with("big\n"),
                "{close:?} {version}: {response}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_only_after_its_upload_gets_the_early_response() {
    let site = Site::new();
    let server = site.serve(&[]);
    let mut stream = site.connect(server.address).await;
    let head = "PUT /up HTTP/1.1\r\nhost: x\r\ncontent-length: 16777216\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("to write");
    for _ in 0..16 {
        // A server that closes without reading on resets the connection.
        let part = stream.write_all(&[0; 1 << 20]).await;
        part.expect("the server to read on");
    }
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("an end");
    assert_eq!(status(&text(&response)), "405");
}

/// The head of an upload of so many bytes.
fn upload(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// Responds to each request before it reads the body, and reports request line and body.
async fn respond_early(
    mut stream: tokio::net::TcpStream,
    requests: UnboundedSender<(String, String)>,
) {
    loop {
        let (head, mut body) = read_head(&mut stream).await;
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(response).await.expect("to write");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
        while body.len() < length && stream.read_buf(&mut body).await.unwrap_or(0) > 0 {}
        let line = head.lines().next().unwrap_or_default().to_owned();
        requests.send((line, text(&body))).expect("a waiting test");
    }
}

#[tokio::test]
async fn a_body_after_an_early_response_is_not_parsed_as_a_request() {
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = target(move |_, stream| respond_early(stream, sender.clone())).await;
    let site = Site::new();
    let server = site.terminate(&format!("http://{address}"), &[]);
    let mut stream = site.connect(server.address).await;
    let fields = "x: y\r\n".repeat(150);
    let body = format!("GET /smuggled HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
    let head = upload("/up", body.len());
    stream.write_all(head.as_bytes()).await.expect("to write");
    let (response, rest) = read_head(&mut stream).await;
    assert_eq!((status(&response), &rest[..]), ("200", &b""[..]));
    stream.write_all(body.as_bytes()).await.expect("to write");
    let last = format!("GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    let received = requests.recv().await.expect("a request");
    assert_eq!(received, ("POST /up HTTP/1.1".to_owned(), body));
    stream.write_all(last.as_bytes()).await.expect("to write");
    let mut responses = Vec::new();
    stream.read_to_end(&mut responses).await.expect("an end");
    assert_eq!(text(&responses).matches("HTTP/1.1 200").count(), 1);
    let received = requests.recv().await.expect("a request");
    assert_eq!(received, ("GET /last HTTP/1.1".to_owned(), String::new()));
    assert!(requests.try_recv().is_err(), "no other request");
}

#[tokio::test]
async fn the_lines_of_a_body_right_after_its_head_count_as_no_fields() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let body = "a line\r\n".repeat(300);
    let head = upload("/count", body.len());
    // As long as the first read of hyper: the next one returns the beginning of the body, before
    // the service has been polled.
    let padding = 8192 - head.len() - "x-padding: \r\n".len();
    let head = head.replace("\r\n\r\n", "\r\nx-padding: {}\r\n\r\n");
    let request = head.replace("{}", &"x".repeat(padding)) + &body;
    for _ in 0..20 {
        let mut stream = site.connect(server.address).await;
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("to write");
        let (response, mut count) = read_head(&mut stream).await;
        assert_eq!(status(&response), "200", "{response}");
        let expected = body.len().to_string();
        while count.len() < expected.len() && stream.read_buf(&mut count).await.unwrap_or(0) > 0 {}
        assert_eq!(text(&count), expected);
    }
}

#[tokio::test]
async fn a_head_with_many_fields_passes_after_an_upload() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let fields = "x: y\r\n".repeat(150);
    for body in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-after: 1\r\n\r\n",
    ] {
        let mut stream = site.connect(server.address).await;
        let head = "POST /count HTTP/1.1\r\nhost: x\r\n";
        let request = format!("{head}{body}");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("to write");
        let (response, mut count) = read_head(&mut stream).await;
        assert_eq!(status(&response), "200", "{body}");
        while count.is_empty() {
            stream.read_buf(&mut count).await.expect("to read");
        }
        let last = format!("GET /count HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
        stream.write_all(last.as_bytes()).await.expect("to write");
        let (response, _) = read_head(&mut stream).await;
        assert_eq!(status(&response), "200", "{body}");
    }
}
