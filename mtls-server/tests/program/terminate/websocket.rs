//! WebSockets pass.

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::common::{HUNG, REQUIRE, Site, text, verdict_of};
use crate::terminate::backend::{Backend, LIMIT, QUIET};

#[tokio::test]
async fn a_websocket_carries_messages_both_ways_and_closes_cleanly() {
    let site = Site::new();
    let unix = Backend::unix(site.root.path().join("app.sock"));
    for backend in [Backend::tcp(), unix] {
        let server = site.terminate(&backend.url, &REQUIRE);
        let stream = site.connect(server.address).await;
        let request = "wss://localhost/ws"
            .into_client_request()
            .expect("a request");
        let (mut socket, response) = client_async(request, stream).await.expect("a WebSocket");
        let verdict = &response.headers()["multipath-verdict"];
        assert_eq!(verdict, "verified; binding=exporter; sides=1");
        for message in [Message::text("hello"), Message::binary(vec![7; 1 << 20])] {
            socket.send(message.clone()).await.expect("to send");
            let echo = socket.next().await.expect("a message").expect("a message");
            assert_eq!(echo, message);
        }
        socket.close(None).await.expect("to close");
        let last = socket.next().await.expect("an answer").expect("an answer");
        assert!(last.is_close(), "{last:?}");
        assert!(socket.next().await.is_none(), "a clean end");
    }
}

#[tokio::test]
async fn a_websocket_that_stays_open_is_cut_off_when_the_server_stops() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--shutdown-timeout", LIMIT]);
    let stream = site.connect(server.address).await;
    let (mut socket, _) = client_async("wss://localhost/ws", stream)
        .await
        .expect("a WebSocket");
    server.signal(Signal::TERM);
    server.wait_until_closed().await;
    // An open connection may continue for a while.
    socket
        .send(Message::text("still here"))
        .await
        .expect("to send");
    let echo = socket.next().await.expect("a message").expect("a message");
    assert_eq!(echo, Message::text("still here"));
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    let last = log.last().expect("a line");
    assert!(last.contains("cut off: 1"), "{log:#?}");
}

#[tokio::test]
async fn a_websocket_on_which_nothing_moves_is_cut() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--stream-timeout", LIMIT]);
    let stream = site.connect(server.address).await;
    let (mut socket, _) = client_async("wss://localhost/ws", stream)
        .await
        .expect("a WebSocket");
    let end = timeout(HUNG, socket.next()).await.expect("an end");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn a_quiet_websocket_outlives_the_idle_timeout() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--idle-timeout", LIMIT]);
    let stream = site.connect(server.address).await;
    let (mut socket, _) = client_async("wss://localhost/ws", stream)
        .await
        .expect("a WebSocket");
    tokio::time::sleep(QUIET).await;
    let message = Message::text("still here");
    socket.send(message.clone()).await.expect("to send");
    let echo = socket.next().await.expect("a message").expect("a message");
    assert_eq!(echo, message);
}

#[tokio::test]
async fn a_target_that_wants_no_websocket_answers_as_it_likes() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let mut stream = site.connect(server.address).await;
    let request = "GET /fields HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\n\
                   upgrade: websocket\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .expect("to write");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("a response");
    let response = text(&response);
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(
        response.contains("\nupgrade: websocket\n"),
        "it was asked: {response}"
    );
    verdict_of(response.split("\r\n\r\n").next().unwrap_or_default());
}
