//! Request bodies that are malformed, break off, or get a response before their end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::Backend;
use crate::common::{Site, curl, text};
use crate::status;

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
        assert_eq!(server.said().iter().find(blame), None, "{target}");
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
