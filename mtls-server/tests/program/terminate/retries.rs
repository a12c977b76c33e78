//! Requests that the target has not processed, and those that it may have processed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Site, read_head, send_get};
use crate::terminate::status;
use crate::terminate::target::{GOAWAY, H2, RST_STREAM, target};

const REFUSED_STREAM: [u8; 4] = 7u32.to_be_bytes();
const HTTP_1_1_REQUIRED: [u8; 4] = 13u32.to_be_bytes();

/// A POST of five bytes, whose body the target gives back.
async fn post(site: &Site, address: std::net::SocketAddr) -> String {
    let server = site.terminate(&format!("h2c://{address}"), &[]);
    let mut stream = site.connect(server.address).await;
    let request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("to write");
    stream.write_all(b"hello").await.expect("to write");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("an end");
    response
}

/// Answers every request with its own body.
async fn echo(stream: TcpStream) {
    let mut h2 = H2::accept(stream).await;
    while let Some((stream, body)) = h2.request().await {
        h2.answer(stream, &body).await;
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_with_its_body() {
    let address = target(|number, stream| async move {
        let mut h2 = H2::accept(stream).await;
        let mut refuse = number == 0;
        while let Some((stream, body)) = h2.request().await {
            match std::mem::replace(&mut refuse, false) {
                true => h2.write(RST_STREAM, 0, stream, &REFUSED_STREAM).await,
                false => h2.answer(stream, &body).await,
            }
        }
    })
    .await;
    let response = post(&Site::new(), address).await;
    assert_eq!(status(&response), "200");
    assert!(response.contains("\r\nhello\r\n"), "{response}");
}

#[tokio::test]
async fn a_stream_above_the_last_of_a_goaway_is_sent_again_with_its_body() {
    let address = target(|number, stream| async move {
        if number > 0 {
            return echo(stream).await;
        }
        let mut h2 = H2::accept(stream).await;
        h2.request().await;
        // The last stream ID is 0, and so is the error code.
        h2.write(GOAWAY, 0, 0, &[0; 8]).await;
        // To close on unread bytes is to reset, and a reset can overtake what was sent.
        while h2.read().await.is_some() {}
    })
    .await;
    let response = post(&Site::new(), address).await;
    assert_eq!(status(&response), "200");
    assert!(response.contains("\r\nhello\r\n"), "{response}");
}

#[tokio::test]
async fn a_target_that_requires_http_1_1_gets_it() {
    let address = target(|number, mut stream| async move {
        if number == 0 {
            let mut h2 = H2::accept(stream).await;
            let (stream, _) = h2.request().await.expect("a request");
            h2.write(RST_STREAM, 0, stream, &HTTP_1_1_REQUIRED).await;
            while h2.read().await.is_some() {}
            return;
        }
        let mut request = String::new();
        while !request.ends_with("hello") {
            request.push(stream.read_u8().await.expect("a request").into());
        }
        assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: x\r\n"), "{request}");
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold";
        stream.write_all(response).await.expect("to write");
    })
    .await;
    let response = post(&Site::new(), address).await;
    assert_eq!(status(&response), "200");
    assert!(response.ends_with("old"), "{response}");
}

#[tokio::test]
async fn a_target_that_refuses_every_stream_is_given_up() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let address = target(move |_, stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut h2 = H2::accept(stream).await;
            while let Some((stream, _)) = h2.request().await {
                seen.fetch_add(1, Ordering::Relaxed);
                h2.write(RST_STREAM, 0, stream, &REFUSED_STREAM).await;
            }
        }
    })
    .await;
    let response = post(&Site::new(), address).await;
    assert_eq!(status(&response), "502");
    assert_eq!(requests.load(Ordering::Relaxed), 4);
}

/// Sends a GET, and then this request over the same connection to a target that answers one
/// request of each connection, and closes when the next one comes. The status, and how many
/// requests the target has seen.
async fn second_request(method: &str) -> (String, usize) {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let address = target(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut request = Vec::new();
            for number in 0..2 {
                request.clear();
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => return,
                    }
                }
                seen.fetch_add(1, Ordering::Relaxed);
                if number == 0 {
                    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(response).await.expect("to write");
                }
            }
        }
    })
    .await;
    let site = Site::new();
    let server = site.terminate(&format!("http://{address}"), &[]);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/", "keep-alive").await;
    let (head, _) = read_head(&mut stream).await;
    assert_eq!(status(&head), "200");
    let request = format!("{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("to write");
    let (head, _) = read_head(&mut stream).await;
    (status(&head).to_owned(), requests.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_stale_connection_costs_an_idempotent_request_nothing() {
    for method in ["GET", "PUT"] {
        assert_eq!(second_request(method).await, ("200".into(), 3), "{method}");
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_not_sent_again() {
    assert_eq!(second_request("POST").await, ("502".into(), 2));
}
