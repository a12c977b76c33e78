//! Tunnels that relays refuse or pass unverified, and how tunnels end.

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::path::{Endpoint, Path};
use mtls_core::relay::{ServerRelay, TunnelEnd, TunnelReport, TunnelStage};
use mtls_core::{Error, Outcome, Policy, SideServiceSettings, TimedOut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::closed_port::closed_port;
use crate::world::*;

/// A deadline that is waited for. A greeting and a handshake take less, even where the machine stalls.
const SOON: Duration = Duration::from_secs(5);
const TLS_1_2: Choice<'_> = Choice {
    groups: None,
    versions: Some(&[&rustls::version::TLS12]),
};

fn reason(report: &TunnelReport) -> Option<&'static str> {
    report.verdict.as_ref()?.outcome.reason()
}

/// A plain client through a relay of this policy: its answer, and the report.
async fn through(
    world: &World,
    policy: Policy,
    to: SocketAddr,
    side: Option<SocketAddr>,
) -> (std::io::Result<Vec<u8>>, TunnelReport) {
    let mut soon = settings(policy).side(Path::system()).deadline(SOON);
    if let Some(side) = side {
        soon = soon.side_endpoint(Endpoint::from(side));
    }
    let relay = client_relay(soon).build().expect("a relay");
    let (tcp, report) = begin(&relay, target(to)).await;
    let answer = match shake_hands(&world.client, tcp).await {
        Ok(mut stream) => ask(&mut stream).await,
        Err(error) => Err(error),
    };
    (answer, report.await.expect("a report"))
}

#[tokio::test]
async fn older_tls_of_a_speaking_server_passes_only_an_observing_client_relay() {
    let world = World::with(TLS_1_2);
    let (server, _) = library_server(&world.server, Policy::Prefer).await;
    for policy in [Policy::Require, Policy::Prefer] {
        let (answer, report) = through(&world, policy, server, None).await;
        answer.expect_err("refused");
        assert_eq!(report.bytes.to_client, 0);
        assert_eq!(reason(&report), Some("rejected-not-tls13"));
    }
    let (answer, report) = through(&world, Policy::Observe, server, None).await;
    assert_eq!(answer.expect("an answer"), QUESTION);
    assert_eq!(reason(&report), Some("rejected-not-tls13"));
}

#[tokio::test]
async fn preferring_client_relay_falls_back_where_nobody_speaks_the_side_protocol() {
    for choice in [TLS_1_2, Choice::default()] {
        let world = World::with(choice);
        let tcp = bind([127, 0, 0, 1], 0).await;
        let plain = address(&tcp);
        let _counts = plain_server(&world.server, tcp).await;
        let (answer, report) = through(&world, Policy::Prefer, plain, None).await;
        assert_eq!(answer.expect("an answer"), QUESTION);
        assert_eq!(reason(&report), Some("no-greeting"));
        let (answer, report) = through(&world, Policy::Require, plain, None).await;
        answer.expect_err("refused");
        assert_eq!(report.bytes.to_client, 0);
    }
}

#[tokio::test]
async fn silence_after_the_greeting_refuses_where_silence_before_it_does_not() {
    let world = World::new();
    let (server, _) = library_server(&world.server, Policy::Prefer).await;
    for (greets, passes) in [(true, false), (false, true)] {
        let tcp = bind([127, 0, 0, 1], 0).await;
        let side = address(&tcp);
        tokio::spawn(silent_side(tcp, greets));
        let ((preferred, report), (answer, required)) = tokio::join!(
            through(&world, Policy::Prefer, server, Some(side)),
            through(&world, Policy::Require, server, Some(side))
        );
        assert_eq!(preferred.is_ok(), passes, "greeted: {greets}");
        answer.expect_err("refused at the deadline");
        assert_eq!(required.bytes.to_client, 0);
        let expected = if greets { "side-silent" } else { "no-greeting" };
        assert_eq!(reason(&report), Some(expected));
        assert_eq!(reason(&required), Some(expected));
    }
}

async fn silent_side(listener: TcpListener, greets: bool) {
    let mut kept = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        if greets {
            let _ = stream.write_all(b"MTLS/1\r\n").await;
        }
        kept.push(stream);
    }
}

#[tokio::test]
async fn server_that_never_answers_is_given_up_at_the_deadline() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let server = address(&tcp);
    tokio::spawn(silent_side(tcp, false));
    let (answer, report) = through(&world, Policy::Require, server, None).await;
    answer.expect_err("refused");
    let error = report.error.expect("an error");
    assert!(
        matches!(&*error, Error::TimedOut(TimedOut::Deadline)),
        "{error}"
    );
}

#[tokio::test]
async fn early_data_is_refused_under_every_policy_by_both_relays() {
    let hello = early_data_hello();
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let (to, _) = raw_target().await;
        let relay = client_relay(settings(policy).side(Path::system()))
            .build()
            .expect("a relay");
        let (mut tcp, report) = begin(&relay, to.into()).await;
        tcp.write_all(&hello).await.expect("to write");
        let report = report.await.expect("a report");
        assert_eq!(reason(&report), Some("early-data"));
        assert_eq!(report.bytes.to_server, 0);

        let (passthrough, mut monitors) = passthrough(server_relay(to, policy)).await;
        let mut tcp = tokio::net::TcpStream::connect(passthrough)
            .await
            .expect("a connection");
        tcp.write_all(&hello).await.expect("to write");
        let mut rest = Vec::new();
        assert_eq!(tcp.read_to_end(&mut rest).await.unwrap_or(0), 0);
        let monitor = monitors.recv().await.expect("a tunnel");
        assert_eq!(reason(&monitor.report()), Some("early-data"));
        assert_eq!(monitor.report().bytes.to_server, 0);
    }
}

/// The least ClientHello that offers early data.
fn early_data_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session id, one suite, no compression, and the extension alone.
    body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 4, 0, 42, 0, 0]);
    let message = u8::try_from(body.len()).expect("a short hello");
    let mut record = vec![22, 3, 1, 0, message + 4, 1, 0, 0, message];
    record.extend(body);
    record
}

#[tokio::test]
async fn what_is_not_tls_passes_unless_verification_is_required() {
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let (to, mut got) = raw_target().await;
        let relay = client_relay(settings(policy).side(Path::system()))
            .build()
            .expect("a relay");
        let (tcp, report) = begin(&relay, to.into()).await;
        let answer = speak(tcp, b"GET / HTTP/1.1\r\n\r\n").await;
        let report = report.await.expect("a report");
        assert_eq!(reason(&report), Some("not-tls"));
        let passes = policy != Policy::Require;
        assert_eq!(answer.is_ok_and(|answer| answer == b"18 bytes"), passes);
        assert_eq!(got.try_recv().is_ok(), passes);

        let (passthrough, _monitors) = passthrough(server_relay(to, policy)).await;
        let tcp = tokio::net::TcpStream::connect(passthrough)
            .await
            .expect("a connection");
        let answer = speak(tcp, b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(answer.is_ok_and(|answer| answer == b"18 bytes"), passes);
    }
}

/// Half-closes after the question, and reads to the end.
async fn speak(mut tcp: tokio::net::TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
    tcp.write_all(question).await?;
    tcp.shutdown().await?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// A TCP server that answers only when its client has half-closed, with a count.
async fn raw_target() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let tcp = bind([127, 0, 0, 1], 0).await;
    let to = address(&tcp);
    let (tell, got) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).await.is_ok() && !bytes.is_empty() {
                let answer = format!("{} bytes", bytes.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = tell.send(bytes);
            }
        }
    });
    (to, got)
}

#[tokio::test]
async fn resets_are_relayed_as_resets() {
    let tcp = bind([127, 0, 0, 1], 0).await;
    let to = address(&tcp);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut byte = [0];
            let _ = stream.read_exact(&mut byte).await;
            let socket = socket2::SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        }
    });
    let relay = client_relay(settings(Policy::Observe).side(Path::system()))
        .build()
        .expect("a relay");
    let (mut tcp, report) = begin(&relay, to.into()).await;
    tcp.write_all(b"x").await.expect("to write");
    let error = tcp.read_u8().await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let stage = report.await.expect("a report").stage;
    assert_eq!(stage, TunnelStage::Ended(TunnelEnd::ServerReset));
}

#[tokio::test]
async fn alert_of_the_server_reaches_the_client() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let server = address(&tcp);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut bytes = [0; 64];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40, 1, 2, 3]).await;
            let _ = stream.shutdown().await;
            // A socket that closes with unread bytes resets the connection.
            tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
        }
    });
    for policy in [Policy::Require, Policy::Prefer] {
        let (answer, report) = through(&world, policy, server, None).await;
        let error = answer.expect_err("an alert").to_string();
        assert!(error.contains("HandshakeFailure"), "{error}");
        assert_eq!(report.bytes.to_client, 7, "the alert alone");
        let error = report.error.expect("an error");
        assert!(matches!(&*error, Error::Tls(_)), "{error}");
    }
}

/// Puts warnings before whatever the server of `config` sends.
async fn warning_server(world: &World, warnings: usize) -> SocketAddr {
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    drop(plain_server(&world.server, tcp).await);
    let tcp = bind([127, 0, 0, 1], 0).await;
    let front = address(&tcp);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = tcp.accept().await {
            tokio::spawn(async move {
                let mut first = [0];
                let _ = client.peek(&mut first).await;
                let mut server = tokio::net::TcpStream::connect(plain).await?;
                if first == [22] {
                    let unrecognized_name = [21, 3, 3, 0, 2, 1, 112];
                    client
                        .write_all(&unrecognized_name.repeat(warnings))
                        .await?;
                }
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    front
}

#[tokio::test]
async fn older_tls_after_a_warning_passes_client_relays_that_do_not_require() {
    let world = World::with(TLS_1_2);
    let server = warning_server(&world, 1).await;
    for policy in [Policy::Prefer, Policy::Observe] {
        let (answer, report) = through(&world, policy, server, None).await;
        assert_eq!(answer.expect("an answer"), QUESTION, "{policy}");
        assert_eq!(reason(&report), Some("no-greeting"), "{policy}");
    }
    let (answer, report) = through(&world, Policy::Require, server, None).await;
    answer.expect_err("refused");
    assert_eq!(report.bytes.to_client, 0, "the warning is held back too");
}

#[tokio::test]
async fn warning_of_a_server_that_then_closes_reaches_the_client() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let server = address(&tcp);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 1, 40]).await;
        }
    });
    let (_, report) = through(&world, Policy::Require, server, None).await;
    assert_eq!(report.bytes.to_client, 7, "the alert");
    let error = report.error.expect("an error").to_string();
    assert!(error.contains("HandshakeFailure"), "{error}");
}

#[tokio::test]
async fn requiring_passthrough_gives_its_target_nothing_of_a_client_without_side_paths() {
    let world = World::new();
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    let mut counts = plain_server(&world.server, tcp).await;
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let settings = SideServiceSettings::new(policy).deadline(SOON);
        let relay = ServerRelay::builder(
            &rustls::crypto::aws_lc_rs::default_provider(),
            plain.into(),
            settings,
        )
        .build()
        .expect("a relay");
        let (passthrough, mut monitors) = passthrough(relay).await;
        let tcp = tokio::net::TcpStream::connect(passthrough)
            .await
            .expect("a connection");
        let mut stream = shake_hands(&world.client, tcp)
            .await
            .expect("the server's flight passes");
        let answer = ask(&mut stream).await;
        drop(stream);
        let passes = policy != Policy::Require;
        assert_eq!(answer.is_ok(), passes, "{policy}");
        let expected = if passes { QUESTION.len() } else { 0 };
        assert_eq!(counts.recv().await, Some(expected));
        let report = monitors.recv().await.expect("a tunnel").report();
        assert_eq!(reason(&report), Some("no-side-connection"));
    }
}

#[tokio::test]
async fn older_tls_passes_a_passthrough_unless_it_requires() {
    let world = World::with(TLS_1_2);
    let tcp = bind([127, 0, 0, 1], 0).await;
    let plain = address(&tcp);
    let _counts = plain_server(&world.server, tcp).await;
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let (passthrough, mut monitors) = passthrough(server_relay(plain, policy)).await;
        let tcp = tokio::net::TcpStream::connect(passthrough)
            .await
            .expect("a connection");
        let answer = match shake_hands(&world.client, tcp).await {
            Ok(mut stream) => ask(&mut stream).await,
            Err(error) => Err(error),
        };
        assert_eq!(answer.is_ok(), policy != Policy::Require);
        let verdict = monitors.recv().await.expect("a tunnel").report().verdict;
        let outcome = verdict.expect("a verdict").outcome;
        assert!(matches!(outcome, Outcome::Unverified(_)));
        assert_eq!(outcome.reason(), Some("not-tls13"));
    }
}

#[tokio::test]
async fn target_that_cannot_be_reached_is_told_before_the_tunnel_begins() {
    let (_socket, closed) = closed_port([127, 0, 0, 1]);
    let relay = client_relay(settings(Policy::Prefer).side(Path::system()))
        .build()
        .expect("a relay");
    let error = relay.tunnel(closed.into()).dial().await.expect_err("none");
    assert!(matches!(error, Error::Dial(_)), "{error}");
    let (_tcp, report) = begin(&relay, closed.into()).await;
    let error = report.await.expect("a report").error.expect("an error");
    assert!(matches!(&*error, Error::Dial(_)), "{error}");
}
