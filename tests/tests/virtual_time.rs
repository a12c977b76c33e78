//! The cost of verification in round trips, and the time of detection: exactly, in virtual time.
//!
//! With `P` the primary path's round trip, `S` that of a side path, and computing free:
//!
//! | | leaves the client | is at the server | is back |
//! |---|---|---|---|
//! | primary: SYN | 0 | | P |
//! | ClientHello, the server's first flight | P | 1.5 P | **2 P: plain TLS is complete** |
//! | side: SYN (a new side connection) | 0 | | S |
//! | Open (on a pooled connection, S is 0) | S | 1.5 S | |
//! | Proof | | max(1.5 P, 1.5 S) | max(1.5 P, 1.5 S) + 0.5 S |
//!
//! So `connect()` returns at `max(2 P, 1.5 P + 0.5 S, 2 S)`, which is `max(2 P, 2 S)`, over a new
//! side connection and at `max(2 P, 1.5 P + 0.5 S, S)` over a pooled one: when plain TLS would,
//! wherever `S <= P`. A HelloRetryRequest adds a `P` to what the primary path contributes.

use std::time::Duration;

use mtls_core::path::Dial;
use mtls_core::proto::binding::Binding;
use mtls_core::proto::client::SideFailure;
use mtls_core::{
    ClientStream, ConnectorBuilder, Error, Method, MultipathConnector, Policy, Reason, TimedOut,
};
use mtls_lab::sim::{Client, Interceptor, Lab, Outcome, Served, ServerKind, SimPath};
use rustls::crypto::aws_lc_rs::kx_group::SECP384R1;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Round trips of the primary and of the side path, in milliseconds.
const SIDE_NO_SLOWER: [(u64, u64); 6] = [(20, 20), (20, 10), (20, 4), (100, 98), (300, 40), (4, 4)];
const SIDE_SLOWER: [(u64, u64); 6] = [(2, 4), (20, 22), (20, 40), (20, 60), (20, 100), (100, 240)];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn timed<T>(what: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let value = what.await;
    (value, started.elapsed())
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    stream.write_all(b"ping").await.expect("to write");
    stream.flush().await.expect("to flush");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"ping");
}

fn built<D: Dial>(builder: ConnectorBuilder<D>) -> MultipathConnector<D> {
    builder.build().expect("a connector")
}

/// Connects once, asks once, and gives the time that the connection took.
async fn verified(
    connector: &MultipathConnector<SimPath>,
    client: &Client,
) -> (ClientStream<turmoil::net::TcpStream>, Duration) {
    let target = client.target();
    let (stream, time) = timed(connector.connect(&target)).await;
    let mut stream = stream.expect("a verified stream");
    assert!(stream.verdict().verified().is_some());
    ask(&mut stream).await;
    (stream, time)
}

fn multipath(lab: Lab) -> Outcome<Duration> {
    lab.run(|client| async move {
        let connector = built(client.connector(Policy::Require));
        verified(&connector, &client).await.1
    })
}

fn plain(lab: Lab) -> Outcome<Duration> {
    lab.run(|client| async move {
        let (stream, time) = timed(client.plain()).await;
        ask(&mut stream.expect("a stream")).await;
        time
    })
}

fn lab(p: u64, s: u64) -> Lab {
    Lab::honest(ms(p), &[ms(s)])
}

fn plain_lab(p: u64, s: u64) -> Lab {
    Lab {
        server: ServerKind::Plain,
        ..lab(p, s)
    }
}

#[test]
fn the_simulated_network_takes_two_round_trips_for_plain_tls() {
    for (p, s) in [(2, 4), (20, 20), (300, 40)] {
        let outcome = plain(plain_lab(p, s));
        assert_eq!(outcome.client, ms(2 * p));
        let served = Served {
            request_at: ms(2 * p) + ms(p) / 2,
            outcome: None,
        };
        assert_eq!(outcome.served, [served]);
    }
}

#[test]
fn a_side_path_no_slower_than_the_primary_adds_nothing() {
    for (p, s) in SIDE_NO_SLOWER {
        let with = multipath(lab(p, s));
        let without = plain(plain_lab(p, s));
        assert_eq!(with.client, without.client, "P {p} ms, S {s} ms");
    }
}

#[test]
fn a_request_is_verified_by_the_time_it_arrives() {
    for (p, s) in SIDE_NO_SLOWER {
        let with = multipath(lab(p, s)).served;
        let without = plain(plain_lab(p, s)).served;
        assert_eq!(with.len(), 1);
        assert_eq!(with[0].outcome, Some("verified"));
        assert_eq!(
            with[0].request_at, without[0].request_at,
            "P {p} ms, S {s} ms"
        );
    }
}

fn preferring(p: u64, s: u64) -> Lab {
    Lab {
        server: ServerKind::Multipath(Policy::Prefer),
        ..lab(p, s)
    }
}

/// When the request of a client that had its stream after `time` is read, over a side path of `s`.
/// The Confirm leaves with the request, and takes half of the slower path's round trip.
fn read_at(time: Duration, p: u64, s: u64) -> Duration {
    time + ms(p.max(s)) / 2
}

#[test]
fn a_server_that_prefers_has_the_verdict_when_it_reads_the_request() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = multipath(preferring(p, s));
        let served = Served {
            request_at: read_at(ms(2 * p.max(s)), p, s),
            outcome: Some("verified"),
        };
        assert_eq!(outcome.served, [served], "P {p} ms, S {s} ms");
    }
}

#[test]
fn a_pooled_side_connection_gives_the_same_verdict_sooner() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = preferring(p, s).run(|client| async move {
            let connector = built(client.connector(Policy::Require));
            verified(&connector, &client).await;
            let began = turmoil::elapsed();
            let (_, time) = verified(&connector, &client).await;
            began + time
        });
        let [_, second] = &outcome.served[..] else {
            panic!("expected two requests, got {:?}", outcome.served);
        };
        assert_eq!(second.outcome, Some("verified"), "P {p} ms, S {s} ms");
        // `verified` asks once more after the stream is there, which `time` does not contain.
        assert_eq!(second.request_at, read_at(outcome.client, p, s));
    }
}

#[test]
fn half_the_difference_of_the_round_trips_is_paid_once_for_each_connection() {
    for (p, s) in SIDE_SLOWER {
        let outcome = preferring(p, s).run(|client| async move {
            let connector = built(client.connector(Policy::Require));
            let mut stream = connector.connect(&client.target()).await.expect("a stream");
            let ((), first) = timed(ask(&mut stream)).await;
            let ((), second) = timed(ask(&mut stream)).await;
            (first, second)
        });
        let expected = (ms(p) + ms(s - p) / 2, ms(p));
        assert_eq!(outcome.client, expected, "P {p} ms, S {s} ms");
    }
}

#[test]
fn a_client_of_plain_tls_waits_for_nothing_at_a_server_that_prefers() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let served = Served {
            request_at: ms(2 * p) + ms(p) / 2,
            outcome: Some("unverified"),
        };
        assert_eq!(plain(preferring(p, s)).served, [served]);
    }
}

#[test]
fn every_side_path_that_a_client_waited_for_was_known_before_its_request() {
    let sides = [ms(10), ms(120), ms(36)];
    let lab = Lab {
        server: ServerKind::Multipath(Policy::Prefer),
        ..Lab::honest(ms(20), &sides)
    };
    let outcome = multipath(lab);
    let served = Served {
        // The fastest side path has confirmed long ago.
        request_at: ms(2 * 120 + 10),
        outcome: Some("verified"),
    };
    assert_eq!(outcome.served, [served]);
}

#[test]
fn a_new_connection_over_a_slower_side_path_takes_its_two_round_trips() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = multipath(lab(p, s));
        assert_eq!(outcome.client, ms((2 * p).max(2 * s)), "P {p} ms, S {s} ms");
        assert_eq!(outcome.served[0].outcome, Some("verified"));
    }
}

#[test]
fn a_pooled_side_connection_saves_its_own_round_trips() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = lab(p, s).run(|client| async move {
            let connector = built(client.connector(Policy::Require));
            let mut times = Vec::new();
            for round in 0..3 {
                let (stream, time) = verified(&connector, &client).await;
                assert_eq!(stream.verdict().paths[1].reused, round > 0);
                times.push(time);
            }
            times
        });
        let pooled = ms(2 * p).max(ms(3 * p + s) / 2).max(ms(s));
        let expected = [ms(2 * p.max(s)), pooled, pooled];
        assert_eq!(outcome.client, expected, "P {p} ms, S {s} ms");
    }
}

#[test]
fn the_slowest_of_several_side_paths_counts() {
    let sides = [ms(10), ms(36), ms(24)];
    let outcome = multipath(Lab::honest(ms(20), &sides));
    assert_eq!(outcome.client, ms(72));
    let outcome = multipath(Lab::honest(ms(36), &sides));
    assert_eq!(outcome.client, ms(72));
}

#[test]
fn the_hello_binding_takes_as_long_as_the_exporter_binding() {
    for (p, s) in [(20, 20), (20, 40), (40, 20)] {
        let outcome = lab(p, s).run(|client| async move {
            let builder =
                client.connector_with(client.settings(Policy::Require).bindings(Binding::Hello));
            let (stream, time) = verified(&built(builder), &client).await;
            assert_eq!(stream.verdict().binding(), Some(Binding::Hello));
            time
        });
        assert_eq!(outcome.client, ms(2 * p.max(s)), "P {p} ms, S {s} ms");
    }
}

#[test]
fn a_hello_retry_request_costs_what_it_costs_plain_tls() {
    let retry = |lab: Lab| Lab {
        // The client offers shares for others.
        server_groups: vec![SECP384R1],
        ..lab
    };
    for (p, s) in [(20, 20), (20, 8), (20, 30), (20, 40)] {
        let without = plain(retry(plain_lab(p, s)));
        assert_eq!(without.client, ms(3 * p), "it was a retry");
        let with = multipath(retry(lab(p, s)));
        let expected = ms(3 * p).max(ms(5 * p + s) / 2).max(ms(2 * s));
        assert_eq!(with.client, expected, "P {p} ms, S {s} ms");
        if s <= p {
            assert_eq!(with.client, without.client);
            assert_eq!(with.served[0].request_at, without.served[0].request_at);
        }
    }
}

fn intercepted(p: u64, s: u64) -> Lab {
    Lab {
        interceptor: Interceptor::Terminates,
        server: ServerKind::Multipath(Policy::Observe),
        ..lab(p, s)
    }
}

#[test]
fn an_interception_is_noticed_one_side_round_trip_after_tls() {
    for (p, s) in SIDE_NO_SLOWER.into_iter().chain(SIDE_SLOWER) {
        let fooled = plain(intercepted(p, s));
        assert_eq!(fooled.client, ms(2 * p), "plain TLS sees nothing");
        assert_eq!(fooled.served.len(), 1, "it asked through the interceptor");

        let outcome = intercepted(p, s).run(|client| async move {
            let connector = built(client.connector(Policy::Require));
            let (result, time) = timed(connector.connect(&client.target())).await;
            (result.expect_err("an interception"), time)
        });
        let (error, time) = outcome.client;
        assert!(matches!(error, Error::Interception(_)), "{error}");
        // Done leaves when TLS is complete and the side connection is there.
        assert_eq!(time, ms((2 * p).max(s) + s), "P {p} ms, S {s} ms");
        assert_eq!(outcome.served, [], "not a byte for the application");
    }
}

#[test]
fn an_interception_is_noticed_over_a_pooled_side_connection_as_soon() {
    let (p, s) = (20, 30);
    let outcome = intercepted(p, s).run(|client| async move {
        let connector = built(client.connector(Policy::Require));
        let first = connector.connect(&client.target()).await;
        assert!(matches!(first, Err(Error::Interception(_))), "{first:?}");
        let (second, time) = timed(connector.connect(&client.target())).await;
        assert!(matches!(second, Err(Error::Interception(_))), "{second:?}");
        time
    });
    assert_eq!(outcome.client, ms(2 * p + s));
}

/// The deadline counts from the ClientHello's leaving, one primary round trip after the start.
const DEADLINE: u64 = 3_000;

fn swallowed(policy: Policy, pooled: bool) -> (Result<&'static str, Error>, Duration) {
    let lab = Lab {
        server: ServerKind::Multipath(Policy::Observe),
        ..lab(20, 10)
    };
    let outcome = lab.run(move |client| async move {
        let connector =
            built(client.connector_with(client.settings(policy).deadline(ms(DEADLINE))));
        if pooled {
            verified(&connector, &client).await;
        }
        client.swallow_side(0);
        let (result, time) = timed(connector.connect(&client.target())).await;
        let result = result.map(|stream| stream.verdict().outcome.reason().expect("a reason"));
        (result, time)
    });
    outcome.client
}

#[test]
fn a_side_path_that_swallows_everything_fails_at_the_deadline() {
    for (pooled, expected) in [
        (false, SideFailure::Unreachable),
        (true, SideFailure::Silent),
    ] {
        let (result, time) = swallowed(Policy::Require, pooled);
        let Err(Error::Unverified(unverified)) = result else {
            panic!("expected a refusal, got {result:?}");
        };
        assert_eq!(unverified.reason, Reason::Side(expected));
        assert_eq!(time, ms(20 + DEADLINE));
    }
}

#[test]
fn who_prefers_falls_back_at_the_deadline_only_where_nothing_had_answered() {
    let (result, time) = swallowed(Policy::Prefer, false);
    assert_eq!(result.expect("a fallback"), "side-unreachable");
    assert_eq!(time, ms(20 + DEADLINE));
    let (result, time) = swallowed(Policy::Prefer, true);
    assert!(matches!(result, Err(Error::Unverified(_))), "{result:?}");
    assert_eq!(time, ms(20 + DEADLINE));
}

#[test]
fn a_silent_interceptor_does_not_stretch_the_deadline() {
    let lab = Lab {
        interceptor: Interceptor::Silent,
        ..lab(20, 10)
    };
    let outcome = lab.run(|client| async move {
        let connector =
            built(client.connector_with(client.settings(Policy::Require).deadline(ms(DEADLINE))));
        let (result, time) = timed(connector.connect(&client.target())).await;
        (result.expect_err("nothing to connect to"), time)
    });
    let (error, time) = outcome.client;
    assert!(
        matches!(error, Error::TimedOut(TimedOut::Deadline)),
        "{error}"
    );
    assert_eq!(time, ms(20 + DEADLINE));
}

fn by_resumption(lab: Lab, method: Method) -> Outcome<Duration> {
    lab.run(move |client| async move {
        let connector = built(client.connector(Policy::Require).method(method));
        let (stream, time) = verified(&connector, &client).await;
        assert_eq!(stream.verdict().method, Method::Resumption);
        time
    })
}

#[test]
fn resumption_takes_one_side_round_trip_after_the_ticket_which_takes_a_primary_one() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = by_resumption(plain_lab(p, s), Method::Resumption);
        // The side path is connected meanwhile.
        let expected = ms((2 * p + p).max(s) + s);
        assert_eq!(outcome.client, expected, "P {p} ms, S {s} ms");
    }
}

#[test]
fn a_hello_retry_request_delays_resumption_on_the_primary_path_alone() {
    for (p, s) in [(20, 20), (20, 8), (20, 40)] {
        let lab = Lab {
            server_groups: vec![SECP384R1],
            ..plain_lab(p, s)
        };
        let outcome = by_resumption(lab, Method::Resumption);
        let expected = ms((3 * p + p).max(s) + s);
        assert_eq!(outcome.client, expected, "P {p} ms, S {s} ms");
    }
}

#[test]
fn resumption_after_a_missing_greeting_connects_the_side_path_again_beside_the_ticket() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = by_resumption(plain_lab(p, s), Method::Auto);
        let no_greeting = (2 * p).max(2 * s);
        let expected = ms((3 * p).max(no_greeting + s) + s);
        assert_eq!(outcome.client, expected, "P {p} ms, S {s} ms");
    }
}

#[test]
fn an_inherited_connection_is_verified_when_plain_tls_is_complete() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = plain_lab(p, s).run(|client| async move {
            let builder = client.connector(Policy::Require);
            let builder = builder.method(Method::Resumption).tickets(1);
            let connector = built(builder.inherit(Duration::from_secs(3600)));
            drop(verified(&connector, &client).await);
            let (stream, time) = verified(&connector, &client).await;
            assert!(stream.verdict().inheritance().is_some());
            time
        });
        assert_eq!(outcome.client, ms(2 * p), "P {p} ms, S {s} ms");
    }
}

#[test]
fn a_connection_with_a_ticket_in_advance_is_verified_when_plain_tls_is_complete() {
    for (p, s) in SIDE_SLOWER.into_iter().chain(SIDE_NO_SLOWER) {
        let outcome = plain_lab(p, s).run(|client| async move {
            let builder = client.connector(Policy::Require);
            let connector = built(builder.method(Method::Resumption).tickets(1));
            let fetched = connector.prefetch(&client.target()).await;
            assert!(fetched.expect("tickets") > 0);
            let (stream, time) = verified(&connector, &client).await;
            assert_eq!(stream.verdict().tls.handshake, Some("resumed"));
            time
        });
        assert_eq!(outcome.client, ms(2 * p), "P {p} ms, S {s} ms");
    }
}
