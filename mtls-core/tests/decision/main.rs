//! When a server under `prefer` decides, and what it counts (`docs/protocol.md`, section 6.2).

#[path = "../support/closed_port.rs"]
mod closed_port;
mod web;
mod world;

use std::sync::Arc;
use std::time::Duration;

use mtls_core::{Error, Outcome, Policy, Reason, ServerStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::closed_port::closed_port;
use crate::world::*;

/// Long enough for a stream that does not hold its bytes back to be caught.
const A_WHILE: Duration = Duration::from_millis(100);

fn reason(stream: &ServerStream<TcpStream>) -> Option<&'static str> {
    stream.verdict().outcome.reason()
}

/// Confirms that never pass.
fn held() -> Confirms {
    Confirms::Held(Arc::new(Semaphore::new(0)))
}

async fn request(stream: &mut ServerStream<TcpStream>) -> std::io::Result<[u8; 4]> {
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    Ok(request)
}

#[test]
fn streams_can_be_sent_and_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<ServerStream<TcpStream>>();
}

#[tokio::test]
async fn a_request_that_overtakes_its_confirm_is_held_until_the_confirm() {
    let mut world = World::new(LONG).await;
    let permits = Arc::new(Semaphore::new(0));
    let side = side_path(world.address, Confirms::Held(Arc::clone(&permits))).await;
    let (mut client, mut server) = world.verified(side).await;
    assert_eq!(reason(&server), Some("undecided"));
    client.write_all(b"ping").await.expect("to write");
    client.flush().await.expect("to flush");
    let handle = server.verdict_handle();
    let mut reading = Box::pin(request(&mut server));
    timeout(A_WHILE, &mut reading).await.expect_err("held back");
    assert_eq!(world.counted.all(), [""; 0], "nothing is decided");
    permits.add_permits(1);
    assert_eq!(&reading.await.expect("a request"), b"ping");
    assert!(matches!(handle.outcome(), Outcome::Verified(_)));
    assert!(handle.get().times.verdict.is_some());
    assert_eq!(world.counted.all(), ["verified"]);
}

#[tokio::test]
async fn a_client_of_plain_tls_is_decided_by_its_first_byte_and_not_before() {
    let mut world = World::new(LONG).await;
    let (mut client, mut server) = world.plain().await;
    assert_eq!(reason(&server), Some("undecided"));
    assert_eq!(server.verdict().times.verdict, None);
    assert_eq!(world.counted.all(), [""; 0]);
    client.write_all(b"ping").await.expect("to write");
    client.flush().await.expect("to flush");
    assert_eq!(&request(&mut server).await.expect("a request"), b"ping");
    assert_eq!(reason(&server), Some("no-side-connection"));
    assert_eq!(world.counted.all(), ["no-side-connection"]);
    drop(server);
    assert_eq!(world.counted.all().len(), 1, "once");
}

#[tokio::test]
async fn a_confirm_that_never_comes_is_awaited_until_the_deadline() {
    let mut world = World::new(A_WHILE).await;
    let side = side_path(world.address, held()).await;
    let (mut client, mut server) = world.verified(side).await;
    client.write_all(b"ping").await.expect("to write");
    client.flush().await.expect("to flush");
    assert_eq!(&request(&mut server).await.expect("a request"), b"ping");
    assert_eq!(reason(&server), Some("not-confirmed"));
    assert_eq!(world.counted.all(), ["not-confirmed"]);
}

#[tokio::test]
async fn a_wrong_value_fails_the_first_read_and_every_later_use() {
    // The read waits for the deadline, by which the Confirm is there even where the machine stalls.
    let mut world = World::new(Duration::from_secs(5)).await;
    let side = side_path(world.address, Confirms::Wrong).await;
    let (mut client, mut server) = world.verified(side).await;
    client.write_all(b"ping").await.expect("to write");
    client.flush().await.expect("to flush");
    for _ in 0..2 {
        let error = request(&mut server).await.expect_err("refused");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(Error::Disputed(_))), "{error}");
    }
    server.write_all(b"pong").await.expect_err("refused");
    let error = server.wait_for_verdict().await.expect_err("refused");
    assert!(matches!(error, Error::Disputed(_)), "{error}");
    let counted = world.counted.all();
    assert!(counted[0].starts_with("failed: a side connection"));
    assert_eq!(counted.len(), 1, "{counted:?}");
}

#[tokio::test]
async fn a_server_that_speaks_first_does_not_wait() {
    let mut world = World::new(LONG).await;
    let (mut client, mut server) = world.plain().await;
    server.write_all(b"220 ").await.expect("to write");
    server.flush().await.expect("to flush");
    let mut greeting = [0; 4];
    client.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(reason(&server), Some("undecided"));
    client.write_all(b"EHLO").await.expect("to write");
    client.flush().await.expect("to flush");
    assert_eq!(&request(&mut server).await.expect("a request"), b"EHLO");
    assert_eq!(world.counted.all(), ["no-side-connection"]);
}

#[tokio::test]
async fn waiting_for_the_verdict_takes_no_byte_from_the_stream() {
    let mut world = World::new(LONG).await;
    let permits = Arc::new(Semaphore::new(1));
    let side = side_path(world.address, Confirms::Held(permits)).await;
    let (mut client, server) = world.verified(side).await;
    client.write_all(b"ping").await.expect("to write");
    client.flush().await.expect("to flush");
    let server = server.wait_for_verdict().await.expect("a verdict");
    assert!(server.verdict().verified().is_some());
    let mut tls = server.into_inner();
    let mut request = [0; 4];
    tls.read_exact(&mut request).await.expect("a request");
    assert_eq!(&request, b"ping");
    assert_eq!(world.counted.all(), ["verified"]);
}

#[tokio::test]
async fn waiting_for_the_confirm_needs_no_byte_of_the_client() {
    let mut world = World::new(LONG).await;
    let permits = Arc::new(Semaphore::new(1));
    let side = side_path(world.address, Confirms::Held(permits)).await;
    let (_client, server) = world.verified(side).await;
    let server = server.wait_for_confirm().await.expect("a verdict");
    assert!(server.verdict().verified().is_some());
    assert_eq!(world.counted.all(), ["verified"]);
}

#[tokio::test]
async fn waiting_for_the_confirm_of_a_client_of_plain_tls_ends_at_the_deadline() {
    let mut world = World::new(A_WHILE).await;
    let (_client, server) = world.plain().await;
    let server = server.wait_for_confirm().await.expect("a verdict");
    assert_eq!(reason(&server), Some("no-side-connection"));
    assert_eq!(world.counted.all(), ["no-side-connection"]);
}

#[tokio::test]
async fn a_connection_that_ends_before_its_first_byte_is_counted_once_as_of_then() {
    let mut world = World::new(LONG).await;
    let (client, mut server) = world.plain().await;
    drop(client);
    // Whether by an end or by a reset is up to the system.
    let read = server.read(&mut [0]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(server);
    assert_eq!(world.counted.all(), ["no-side-connection"]);

    let (_client, server) = world.plain().await;
    drop(server);
    assert_eq!(world.counted.all(), ["no-side-connection"; 2]);

    let side = side_path(world.address, held()).await;
    let (_client, server) = world.verified(side).await;
    drop(server);
    let expected = ["no-side-connection", "no-side-connection", "not-confirmed"];
    assert_eq!(world.counted.all(), expected);
}

#[tokio::test]
async fn a_client_that_verifies_and_closes_without_a_byte_is_counted_as_verified() {
    let mut world = World::new(LONG).await;
    let permits = Arc::new(Semaphore::new(0));
    let side = side_path(world.address, Confirms::Held(Arc::clone(&permits))).await;
    let (mut client, mut server) = world.verified(side).await;
    client.shutdown().await.expect("to close");
    let mut nothing = Vec::new();
    let mut reading = Box::pin(server.read_to_end(&mut nothing));
    timeout(A_WHILE, &mut reading).await.expect_err("held back");
    permits.add_permits(1);
    assert_eq!(reading.await.expect("an end"), 0);
    assert_eq!(world.counted.all(), ["verified"]);
}

#[tokio::test]
async fn a_stream_that_is_taken_apart_is_counted_as_undecided_and_its_verdict_still_rises() {
    let mut world = World::new(LONG).await;
    let (_client, server) = world.plain().await;
    let (_tls, verdict) = server.into_parts();
    assert_eq!(verdict.outcome(), Outcome::Unverified(Reason::Undecided));
    assert_eq!(world.counted.all(), ["undecided"]);

    let permits = Arc::new(Semaphore::new(0));
    let side = side_path(world.address, Confirms::Held(Arc::clone(&permits))).await;
    let (_client, server) = world.verified(side).await;
    let (_tls, verdict) = server.into_parts();
    permits.add_permits(1);
    while verdict.get().verified().is_none() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_client_that_falls_back_does_not_wait() {
    let mut world = World::new(LONG).await;
    let (_socket, nowhere) = closed_port([127, 0, 0, 1]);
    let (mut client, mut server) = world.connect(nowhere, Policy::Prefer).await;
    assert_eq!(client.verdict().outcome.reason(), Some("side-unreachable"));
    client.write_all(b"ping").await.expect("to write");
    client.flush().await.expect("to flush");
    assert_eq!(&request(&mut server).await.expect("a request"), b"ping");
    assert_eq!(world.counted.all(), ["no-side-connection"]);
}
