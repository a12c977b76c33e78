//! Large transfers, WebSocket, and hellos in small pieces.

use std::pin::Pin;
use std::task::{Context, Poll};

use mtls_core::path::Endpoint;
use mtls_core::proto::binding::Binding;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{REQUIRE, Site, get, read_head, text};
use crate::passthrough::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn large_up_and_downloads_arrive_unchanged_through_both_relays() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(nginx.address, &REQUIRE);
    let proxy = local_proxy(through.address).await;
    let source = large_file(site.root.path().join("source"), megabytes());
    let expected = checksum(&source);
    let from = source.display().to_string();
    let back = site.root.path().join("back");
    let to = back.display().to_string();
    for option in ["--http1.1", "--http2"] {
        let file = url(proxy.address, "/large");
        let up = [option, "-f", "-T", from.as_str(), file.as_str()];
        let Some(output) = curl(&site, proxy.address, &up).await else {
            return;
        };
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(checksum(&site.www().join("large")) == expected, "upload");
        let down = [option, "-f", "-o", to.as_str(), file.as_str()];
        let output = curl(&site, proxy.address, &down).await.expect("curl");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(checksum(&back) == expected, "download");
        std::fs::remove_file(site.www().join("large")).expect("to remove");
    }
}

/// Answers one upgrade, and sends every byte back.
async fn web_socket_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        let (head, _) = read_head(&mut tcp).await;
        assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\n\r\n";
        tcp.write_all(answer.as_bytes()).await.expect("to write");
        let (mut read, mut write) = tcp.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn web_socket_frames_pass_both_ways() {
    let site = Site::new();
    let behind = web_socket_server().await;
    let extra = format!(
        "location /ws {{ proxy_pass http://{behind}; proxy_http_version 1.1; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection Upgrade; }}"
    );
    let Some(nginx) = nginx(&site, "", &extra).await else {
        return;
    };
    let through = passthrough(nginx.address, &REQUIRE);
    let mut stream = site.connect(through.address).await;
    let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .await
        .expect("to write");
    let (head, _) = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for length in [1, 125, 3] {
        // A binary frame with a mask of zeros (RFC 6455, section 5.2).
        let mut frame = vec![0x82, 0x80 | length, 0, 0, 0, 0];
        frame.extend(vec![length; usize::from(length)]);
        stream.write_all(&frame).await.expect("to write");
        stream.flush().await.expect("to write");
        let mut echoed = vec![0; frame.len()];
        stream.read_exact(&mut echoed).await.expect("an echo");
        assert_eq!(echoed, frame);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hellos_split_at_every_byte_are_verified() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(nginx.address, &REQUIRE);
    let tcp = TcpStream::connect(through.address)
        .await
        .expect("a connection");
    tcp.set_nodelay(true).expect("a socket");
    let name = "localhost".try_into().expect("a name");
    let side = Endpoint::from(through.address);
    let connected = connector(&site)
        .connect_stream(name, Dribble(tcp), &side)
        .await;
    let mut stream = connected.expect("a verified stream");
    assert_eq!(stream.verdict().binding(), Some(Binding::Hello));
    let answer = get(&mut stream, "/index.html").await;
    assert!(answer.ends_with("<p>the index"), "{answer}");
}

/// Writes one byte at a time, each in a segment of its own.
struct Dribble(TcpStream);

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let first = &buf[..buf.len().min(1)];
        Pin::new(&mut self.0).poll_write(cx, first)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
