//! Responses of targets whose length or fields are not as they should be.

use hyper::{Request, StatusCode};
use mtls_core::ClientStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Running, Site, read_head, text};
use crate::terminate::frames::connect_h2;
use crate::terminate::target::{DATA, END_HEADERS, END_STREAM, H2, HEADERS, target};

/// `terminate` before a target that sends this response to each request, and closes.
async fn in_front_of(site: &Site, response: &'static str) -> Running {
    let address = target(move |_, mut stream| async move {
        read_head(&mut stream).await;
        let sent = stream.write_all(response.as_bytes()).await;
        sent.expect("to write");
    })
    .await;
    site.terminate(&format!("http://{address}"), &[])
}

async fn request(stream: &mut ClientStream<TcpStream>, method: &str) -> String {
    let request = format!(
        "{method} / HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\nconnection: close, te\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("to write");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("a response");
    text(&response)
}

#[tokio::test]
async fn a_response_of_ambiguous_length_becomes_502_for_every_method() {
    let site = Site::new();
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\nok",
    ] {
        let server = in_front_of(&site, response).await;
        for method in ["POST", "HEAD"] {
            let received = request(&mut site.connect(server.address).await, method).await;
            assert!(
                received.starts_with("HTTP/1.1 502 "),
                "{response}: {received}"
            );
        }
    }
}

#[tokio::test]
async fn a_repeated_length_reaches_the_client_once() {
    let site = Site::new();
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        // RFC 9112, sections 5.1 and 5.2.
        "HTTP/1.1 200 OK\r\ncontent-length : 2\r\nx: a\r\n b\r\n\r\nok",
    ] {
        let server = in_front_of(&site, response).await;
        for (method, body) in [("GET", "\r\n\r\nok"), ("HEAD", "\r\n\r\n")] {
            let received = request(&mut site.connect(server.address).await, method).await;
            assert!(
                received.starts_with("HTTP/1.1 200 "),
                "{response}: {received}"
            );
            let lengths = received.matches("content-length: 2\r\n").count();
            assert_eq!(lengths, 1, "{response}: {received}");
            assert!(received.ends_with(body), "{response}: {received}");
        }
    }
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_cut_the_body() {
    let site = Site::new();
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n\
                    2\r\nok\r\n0\r\n\r\n";
    let server = in_front_of(&site, response).await;
    let received = request(&mut site.connect(server.address).await, "GET").await;
    assert!(!received.contains("content-length"), "{received}");
    assert!(received.ends_with("2\r\nok\r\n0\r\n\r\n"), "{received}");
}

const WITH_TRAILERS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
                             trailer: x-kept, connection, multipath-verdict\r\n\r\n\
                             2\r\nok\r\n0\r\nx-kept: 1\r\nconnection: close\r\n\
                             multipath-verdict: verified\r\n\r\n";

#[tokio::test]
async fn trailers_of_the_targets_connection_do_not_reach_the_client() {
    let site = Site::new();
    let server = in_front_of(&site, WITH_TRAILERS).await;
    let received = request(&mut site.connect(server.address).await, "GET").await;
    let (_, trailers) = received.split_once("\r\n0\r\n").expect("trailers");
    assert_eq!(trailers, "x-kept: 1\r\n\r\n");

    let stream = connect_h2(&site, server.address).await.into_inner();
    let (h2, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut h2 = h2.ready().await.expect("HTTP/2");
    let request = Request::get("https://localhost/")
        .body(())
        .expect("a request");
    let (response, _) = h2.send_request(request, true).expect("to send");
    let mut body = response.await.expect("a response").into_body();
    while let Some(data) = body.data().await {
        data.expect("the whole body");
    }
    let trailers = body.trailers().await.expect("an end").expect("trailers");
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-kept"]);
}

#[tokio::test]
async fn a_response_without_content_has_none_although_the_target_sends_some() {
    let address = target(|_, stream| async move {
        let mut h2 = H2::accept(stream).await;
        while let Some((stream, _)) = h2.request().await {
            // Status 204 (RFC 7541, appendix A).
            h2.write(HEADERS, END_HEADERS, stream, &[0x89]).await;
            h2.write(DATA, END_STREAM, stream, b"body").await;
        }
    })
    .await;
    let site = Site::new();
    let server = site.terminate(&format!("h2c://{address}"), &[]);
    let stream = connect_h2(&site, server.address).await.into_inner();
    let (h2, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut h2 = h2.ready().await.expect("HTTP/2");
    let request = Request::get("https://localhost/")
        .body(())
        .expect("a request");
    let (response, _) = h2.send_request(request, true).expect("to send");
    let response = response.await.expect("a response");
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.into_body().data().await.is_none());
}
