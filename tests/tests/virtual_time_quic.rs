//! The cost of verifying QUIC in round trips: exactly, in virtual time.
//!
//! With `P` the primary path's round trip, `S` that of a side path, `L` the time by which the side
//! connection was begun before the handshake, and computing free:
//!
//! | | leaves the client | is at the server | is back |
//! |---|---|---|---|
//! | ClientHello, the server's first flight | 0 | 0.5 P | **P: plain QUIC is complete** |
//! | side: SYN | -L | | S - L |
//! | Open | max(0, S - L) | max(0, S - L) + 0.5 S | |
//! | Proof | | max(0.5 P, max(0, S - L) + 0.5 S) | that + 0.5 S |
//!
//! So `connect` returns at `max(P, 0.5 P + 0.5 S, S + max(0, S - L))`. The second term is never the largest:
//! `max(P, 2 S)` on a new side connection, `max(P, S)` on one that exists. With data in the SYN (TCP Fast
//! Open) the Open is at the server at 0.5 S, as on one that exists.

use std::time::Duration;

use mtls_core::quic::{QuicConnection, QuicConnector};
use mtls_core::{Error, Policy};
use mtls_lab::quic::QuicStream;
use mtls_lab::sim::{Client, Interceptor, Lab, Outcome, Served, ServerKind, SimPath};
use rustls::crypto::aws_lc_rs::kx_group::SECP384R1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

/// Round trips of the primary and of the side path, in milliseconds.
const ROUND_TRIPS: [(u64, u64); 12] = [
    (2, 4),
    (4, 4),
    (20, 4),
    (20, 10),
    (20, 12),
    (20, 20),
    (20, 22),
    (20, 40),
    (20, 100),
    (100, 98),
    (100, 240),
    (300, 40),
];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn lab(p: u64, s: u64) -> Lab {
    Lab {
        quic: true,
        ..Lab::honest(ms(p), &[ms(s)])
    }
}

fn plain_lab(p: u64, s: u64) -> Lab {
    Lab {
        server: ServerKind::Plain,
        ..lab(p, s)
    }
}

async fn timed<T>(what: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let value = what.await;
    (value, started.elapsed())
}

async fn ask(connection: quinn::Connection) {
    let mut stream = QuicStream::open(connection).await.expect("a stream");
    stream.write_all(b"ping").await.expect("to write");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"ping");
}

fn connector(client: &Client) -> QuicConnector<SimPath> {
    let settings = client.settings(Policy::Require);
    client.quic_connector(settings).expect("a connector")
}

/// Connects once, asks once, and gives the time that the connection took.
async fn verified(client: &Client, connector: &QuicConnector<SimPath>) -> (bool, Duration) {
    let (connection, time) = timed(client.quic(connector)).await;
    let connection: QuicConnection = connection.expect("a verified connection");
    let verdict = connection.verdict();
    assert!(verdict.verified().is_some());
    ask(connection.into_inner()).await;
    (verdict.paths[1].reused, time)
}

fn fresh(lab: Lab) -> Outcome<Duration> {
    lab.run(|client| async move { verified(&client, &connector(&client)).await.1 })
}

fn plain(lab: Lab) -> Outcome<Duration> {
    lab.run(|client| async move {
        let (connection, time) = timed(client.plain_quic()).await;
        ask(connection.expect("a connection")).await;
        time
    })
}

#[test]
fn the_simulated_network_takes_one_round_trip_for_plain_quic() {
    for (p, s) in ROUND_TRIPS {
        let outcome = plain(plain_lab(p, s));
        assert_eq!(outcome.client, ms(p), "P {p} ms");
        let served = Served {
            request_at: ms(p) + ms(p) / 2,
            outcome: None,
        };
        assert_eq!(outcome.served, [served]);
    }
}

#[test]
fn a_new_side_connection_takes_its_two_round_trips() {
    for (p, s) in ROUND_TRIPS {
        let outcome = fresh(lab(p, s));
        assert_eq!(outcome.client, ms(p.max(2 * s)), "P {p} ms, S {s} ms");
        // The Confirm leaves with the request, and takes half of the slower path's round trip.
        let served = Served {
            request_at: outcome.client + ms(p.max(s)) / 2,
            outcome: Some("verified"),
        };
        assert_eq!(outcome.served, [served], "P {p} ms, S {s} ms");
    }
}

#[test]
fn a_pooled_side_connection_costs_nothing_where_it_is_no_slower() {
    for (p, s) in ROUND_TRIPS {
        let outcome = lab(p, s).run(|client| async move {
            let connector = connector(&client);
            let mut times = Vec::new();
            for round in 0..3 {
                let (reused, time) = verified(&client, &connector).await;
                assert_eq!(reused, round > 0);
                times.push(time);
            }
            times
        });
        let pooled = ms(p.max(s));
        let expected = [ms(p.max(2 * s)), pooled, pooled];
        assert_eq!(outcome.client, expected, "P {p} ms, S {s} ms");
        if s <= p {
            assert_eq!(pooled, plain(plain_lab(p, s)).client);
        }
    }
}

#[test]
fn a_verified_connection_over_tcp_leaves_its_side_connection_to_quic() {
    let (p, s) = (20, 20);
    let outcome = lab(p, s).run(|client| async move {
        let tcp = client.connector(Policy::Require).build();
        let tcp = tcp.expect("a connector");
        let over_tcp = tcp.connect(&client.target()).await.expect("verified");
        let quic = client.quic_over(&tcp).expect("a connector");
        drop(over_tcp);
        verified(&client, &quic).await
    });
    assert_eq!(outcome.client, (true, ms(20)));
}

#[test]
fn a_side_connection_that_is_begun_earlier_saves_as_much() {
    for (p, s) in ROUND_TRIPS {
        for lead in [s / 2, s - 1, s + 10] {
            let outcome = lab(p, s).run(move |client| async move {
                let connector = connector(&client);
                connector.open_sides(&client.target());
                sleep(ms(lead)).await;
                verified(&client, &connector).await.1
            });
            let expected = ms(p.max(s + s.saturating_sub(lead)));
            assert_eq!(outcome.client, expected, "P {p}, S {s}, L {lead} ms");
        }
    }
}

#[test]
fn data_in_the_syn_make_a_new_side_connection_as_fast_as_one_that_exists() {
    for (p, s) in ROUND_TRIPS {
        let outcome = lab(p, s).run(|client| async move {
            let connector = connector(&client);
            client.fast_open_side(0).await.expect("a listener");
            verified(&client, &connector).await
        });
        assert_eq!(outcome.client, (false, ms(p.max(s))), "P {p} ms, S {s} ms");
    }
}

#[test]
fn the_slowest_of_several_side_paths_counts() {
    let sides = [ms(10), ms(36), ms(24)];
    let lab = || Lab {
        quic: true,
        ..Lab::honest(ms(20), &sides)
    };
    assert_eq!(fresh(lab()).client, ms(72));
    let pooled = lab().run(|client| async move {
        let connector = connector(&client);
        verified(&client, &connector).await;
        verified(&client, &connector).await.1
    });
    assert_eq!(pooled.client, ms(36));
}

#[test]
fn a_hello_retry_request_adds_a_primary_round_trip() {
    let retry = |lab: Lab| Lab {
        // The client offers shares for others.
        server_groups: vec![SECP384R1],
        ..lab
    };
    for (p, s) in ROUND_TRIPS {
        let without = plain(retry(plain_lab(p, s)));
        assert_eq!(without.client, ms(2 * p), "it was a retry");
        let with = fresh(retry(lab(p, s)));
        let expected = ms(2 * p).max(ms(3 * p + s) / 2).max(ms(2 * s));
        assert_eq!(with.client, expected, "P {p} ms, S {s} ms");
    }
}

#[test]
fn an_interception_is_noticed_one_side_round_trip_after_the_handshake() {
    for (p, s) in ROUND_TRIPS {
        let intercepted = || Lab {
            interceptor: Interceptor::Terminates,
            server: ServerKind::Multipath(Policy::Observe),
            ..lab(p, s)
        };
        assert_eq!(
            plain(intercepted()).client,
            ms(p),
            "plain QUIC sees nothing"
        );
        let outcome = intercepted().run(|client| async move {
            let connector = connector(&client);
            let (first, fresh) = timed(client.quic(&connector)).await;
            assert!(matches!(first, Err(Error::Interception(_))), "{first:?}");
            let (second, pooled) = timed(client.quic(&connector)).await;
            assert!(matches!(second, Err(Error::Interception(_))), "{second:?}");
            [fresh, pooled]
        });
        // Done leaves when the handshake is complete and the side connection is there.
        let expected = [ms(p.max(s) + s), ms(p + s)];
        assert_eq!(outcome.client, expected, "P {p} ms, S {s} ms");
        assert_eq!(outcome.served, [], "not a byte for the application");
    }
}
