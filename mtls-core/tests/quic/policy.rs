//! Policies, where the side path is down and where the client does not verify.

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::proto::frame::{Frame, FrameBody, FrameReader};
use mtls_core::{ClientSettings, Error, Outcome, Policy, Reason, SideServiceSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::closed_port::closed_port;
use super::world::*;

#[tokio::test]
async fn without_a_side_path_the_policy_decides_and_require_sends_nothing() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Prefer)).await;
    let (_socket, closed) = closed_port([127, 0, 0, 1]);
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let settings = direct(policy, served.address).side_endpoint(closed.into());
        let connected = connector(&world.client, settings)
            .connect(&target(served.address))
            .await;
        let before = served.bytes();
        match (policy, connected) {
            (Policy::Require, Err(Error::Unverified(unverified))) => {
                assert_eq!(unverified.reason.as_str(), "side-unreachable");
                assert_eq!(served.bytes(), before);
            }
            (Policy::Prefer | Policy::Observe, Ok(connection)) => {
                assert_eq!(
                    connection.verdict().outcome.reason(),
                    Some("side-unreachable")
                );
                request(connection.get_ref()).await;
                assert_eq!(served.bytes(), before + REQUEST.len());
            }
            (_, other) => panic!("{policy:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn prefer_and_observe_serve_clients_of_plain_quic_unverified() {
    let world = World::new();
    for policy in [Policy::Prefer, Policy::Observe] {
        let mut served = serve(&world.server, patient(policy)).await;
        let client = plain_client(&world.client);
        let connection = client
            .connect(served.address, HOST)
            .expect("a connection")
            .await;
        let connection = connection.expect("a server");
        request(&connection).await;
        let verdict = served.verdicts.recv().await.expect("a verdict");
        let expected = Outcome::Unverified(Reason::NoSideConnection);
        assert_eq!(verdict.outcome, expected, "{policy:?}");
    }
}

#[tokio::test]
async fn prefer_is_undecided_until_the_first_stream_and_loses_none() {
    let world = World::new();
    let mut served = serve(&world.server, patient(Policy::Prefer)).await;
    let client = plain_client(&world.client);
    let connection = client
        .connect(served.address, HOST)
        .expect("a connection")
        .await;
    let connection = connection.expect("a server");
    // Nothing that the application does not see: the handshake is confirmed, and no stream is open.
    let early = timeout(Duration::from_millis(100), served.verdicts.recv()).await;
    assert!(early.is_err(), "{early:?}");
    for _ in 0..3 {
        request(&connection).await;
    }
    served.verdicts.recv().await.expect("a verdict");
    assert_eq!(served.bytes(), 3 * REQUEST.len());
}

#[tokio::test]
async fn prefer_waits_for_the_confirm_of_a_client_that_verifies() {
    let world = World::new();
    let mut served = serve(&world.server, patient(Policy::Prefer)).await;
    let connector = connector(&world.client, direct(Policy::Prefer, served.address));
    for _ in 0..5 {
        let connection = connector
            .connect(&target(served.address))
            .await
            .expect("verified");
        request(connection.get_ref()).await;
        let verdict = served.verdicts.recv().await.expect("a verdict");
        assert_eq!(verdict.outcome.as_str(), "verified");
    }
}

#[tokio::test]
async fn what_an_unverified_client_sends_is_bounded() {
    let world = World::new();
    let settings = SideServiceSettings::new(Policy::Require).deadline(Duration::from_secs(5));
    let served = serve(&world.server, settings).await;
    let client = plain_client(&world.client);
    let connection = client
        .connect(served.address, HOST)
        .expect("a connection")
        .await;
    let connection = connection.expect("the handshake completes");
    let mut sent = 0;
    let refused = async {
        loop {
            let (mut send, _) = connection.open_bi().await?;
            let written = send.write(&[0; 4096]).await?;
            sent += written;
        }
    };
    let refused: Result<(), quinn::WriteError> = refused.await;
    assert!(refused.is_err());
    assert!(sent <= 64 * 1024, "{sent} bytes before the verdict");
    assert_eq!(served.bytes(), 0);
}

#[tokio::test]
async fn a_side_connection_that_is_cut_after_the_greeting_is_refused_and_nothing_is_sent() {
    let world = World::new();
    let served = serve(&world.server, patient(Policy::Observe)).await;
    let attacker = ([127, 0, 0, 2], served.address.port());
    let attacker = std::net::SocketAddr::from(attacker);
    let listener = tokio::net::TcpListener::bind(attacker)
        .await
        .expect("a port");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut greeting = [0; 8];
            let _ = stream.read_exact(&mut greeting).await;
            // Unread bytes make the close a reset.
            let _ = stream.write_all(b"MTLS/1\r\n").await;
        }
    });
    for policy in [Policy::Require, Policy::Prefer] {
        let settings = ClientSettings::new(policy)
            .primary(path_to(served.address, served.address.ip()))
            .side(path_to(served.address, attacker.ip()))
            .deadline(LONG);
        let refused = connector(&world.client, settings)
            .connect(&target(served.address))
            .await;
        let Err(Error::Unverified(unverified)) = refused else {
            panic!("{policy:?}: {refused:?}");
        };
        assert_eq!(unverified.reason.as_str(), "side-closed");
    }
    assert_eq!(served.bytes(), 0);
}

/// A side path at 127.0.0.2 that keeps each Confirm of a client for itself.
async fn without_confirms(to: SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.2", to.port())).await;
    let listener = listener.expect("a port");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.expect("to connect");
            let (mut from_client, mut to_client) = near.into_split();
            let (mut from_server, mut to_server) = far.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut frames = FrameReader::new();
                let mut buffer = [0; 1024];
                loop {
                    let read = from_client.read(&mut buffer).await?;
                    let mut confirms = false;
                    let note = |frame: Frame| {
                        confirms |= matches!(frame.body, FrameBody::Confirm { .. });
                    };
                    frames.read(&buffer[..read], note).expect("frames");
                    if read == 0 || confirms {
                        return std::future::pending::<std::io::Result<()>>().await;
                    }
                    to_server.write_all(&buffer[..read]).await?;
                }
            });
        }
    });
}

#[tokio::test]
async fn a_confirm_that_never_comes_is_awaited_until_the_deadline_and_the_data_are_not_lost() {
    let world = World::new();
    let settings = SideServiceSettings::new(Policy::Prefer).deadline(Duration::from_millis(300));
    let mut served = serve(&world.server, settings).await;
    without_confirms(served.address).await;
    let settings = ClientSettings::new(Policy::Require)
        .primary(path_to(served.address, served.address.ip()))
        .side(path_to(served.address, [127, 0, 0, 2].into()))
        .deadline(LONG);
    let connection = connector(&world.client, settings)
        .connect(&target(served.address))
        .await
        .expect("the client has its Proof");
    request(connection.get_ref()).await;
    let verdict = timeout(Duration::from_secs(20), served.verdicts.recv()).await;
    let verdict = verdict.expect("a decision at the deadline");
    let outcome = verdict.expect("a verdict").outcome;
    assert_eq!(outcome, Outcome::Unverified(Reason::NotConfirmed));
    assert_eq!(served.bytes(), REQUEST.len());
}
