//! Short and empty HTTP/2 DATA frames, which `h2` takes for an attack while they wait.

use std::sync::Arc;
use std::time::Duration;

use h2::SendStream;
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientSettings, ClientStream, MultipathConnector, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::common::{HUNG, Site, read_head};
use crate::terminate::status;
use crate::terminate::target::target;

/// Frames of a body, and the bytes of each.
const FRAMES: usize = 20_000;
const SHORT: usize = 100;
const EMPTY: usize = 1_000;

/// Sends a body of short frames, one by one, after empty ones.
async fn send_frames(stream: &mut SendStream<Bytes>) {
    for _ in 0..EMPTY {
        let sent = stream.send_data(Bytes::new(), false);
        sent.expect("to send");
        tokio::task::yield_now().await;
    }
    let mut room = 0;
    for _ in 0..FRAMES {
        while room < SHORT {
            stream.reserve_capacity(16 * SHORT);
            let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            room = capacity.expect("an open stream").expect("capacity");
        }
        let sent = stream.send_data(Bytes::from_static(&[b'x'; SHORT]), false);
        sent.expect("to send");
        room -= SHORT;
        // Each frame is written before the next one is made.
        tokio::task::yield_now().await;
    }
    stream.send_data(Bytes::new(), true).expect("to send");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_frames_of_a_target_reach_a_slow_client_whole() {
    let address = target(|_, stream| async move {
        let mut h2 = h2::server::handshake(stream).await.expect("a client");
        while let Some(request) = h2.accept().await {
            let (_, mut respond) = request.expect("a request");
            tokio::spawn(async move {
                let mut stream = respond
                    .send_response(Response::new(()), false)
                    .expect("to answer");
                send_frames(&mut stream).await;
            });
        }
    })
    .await;
    let site = Site::new();
    let server = site.terminate(&format!("h2c://{address}"), &[]);
    let mut stream = site.connect(server.address).await;
    let request = b"GET / HTTP/1.0\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.expect("to write");
    let (head, mut body) = read_head(&mut stream).await;
    assert_eq!(status(&head), "200");
    sleep(Duration::from_secs(2)).await;
    stream.read_to_end(&mut body).await.expect("the whole body");
    assert_eq!(body.len(), FRAMES * SHORT);
}

/// A client that offers HTTP/2 alone.
pub(crate) async fn connect_h2(
    site: &Site,
    address: std::net::SocketAddr,
) -> ClientStream<TcpStream> {
    let mut config = (*site.client_config()).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let settings = ClientSettings::new(Policy::Observe)
        .side(Path::system())
        .handshake_timeout(HUNG);
    let connector = MultipathConnector::builder(Arc::new(config), settings)
        .build()
        .expect("a connector");
    let endpoint = Endpoint::from(address);
    connector.connect(&endpoint).await.expect("a stream")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_frames_of_a_client_reach_a_slow_target_whole() {
    let address = target(|_, mut stream| async move {
        let (head, mut body) = read_head(&mut stream).await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        sleep(Duration::from_secs(2)).await;
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut body).await.expect("the body"), 0);
        }
        let count = body.iter().filter(|&&byte| byte == b'x').count();
        let count = count.to_string();
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", count.len());
        let response = response + &count;
        stream
            .write_all(response.as_bytes())
            .await
            .expect("to write");
    })
    .await;
    let site = Site::new();
    let server = site.terminate(&format!("http://{address}"), &[]);
    let stream = connect_h2(&site, server.address).await.into_inner();
    let (h2, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut h2 = h2.ready().await.expect("HTTP/2");
    let request = Request::builder()
        .method(Method::POST)
        .uri("https://localhost/")
        .body(())
        .expect("a request");
    let (response, mut stream) = h2.send_request(request, false).expect("to send");
    send_frames(&mut stream).await;
    let mut body = response.await.expect("a response").into_body();
    let count = body.data().await.expect("a body").expect("a body");
    assert_eq!(count, (FRAMES * SHORT).to_string());
}
