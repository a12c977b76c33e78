//! The primary connection, cut after every byte of both hellos and every sixteenth of the rest under
//! `require`, and after every eighth and sixteenth under the other policies.
//!
//! With a round trip of 20 ms and a side path of 10 ms, in ms from the departure of the ClientHello: it
//! arrives at 10, the Proof at 15, the server's flight at 20, the Confirm at 25, and the client's
//! Finished, with the request, at 30.

use std::time::Duration;

use mtls_core::{Policy, TimedOut};

use super::exchange::{
    Case, Configs, DEADLINE, EFFECTS, End, Ends, Failure, HANDSHAKE, LATE, On, POLICIES, PRIMARY,
    every_byte, ms, run,
};
use super::wire::{Direction, Effect, Fault, Wire};

const HANDSHAKE_RECORD: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;
/// The arrival of the ClientHello, of the server's flight, and of the client's Finished.
const HELLO: Duration = ms(10);
const FLIGHT: Duration = PRIMARY;
const FINISHED: Duration = ms(30);

/// The ends of the flights, in bytes.
#[derive(Clone, Copy, Debug)]
struct Flights {
    client_hello: usize,
    client_finished: usize,
    server_hello: usize,
    server_finished: usize,
    /// The request and the answer are as long.
    request: usize,
}

impl Flights {
    /// Those of an exchange without a fault.
    fn of(wire: &Wire) -> Self {
        let client = records(&wire.sent(Direction::ToServer));
        let server = records(&wire.sent(Direction::ToClient));
        // ClientHello, ChangeCipherSpec, Finished, request; the rest is the close.
        let [
            (HANDSHAKE_RECORD, client_hello),
            (CHANGE_CIPHER_SPEC, _),
            (_, client_finished),
            (_, request),
            ..,
        ] = client[..]
        else {
            panic!("other records of the client: {client:?}");
        };
        let [
            (HANDSHAKE_RECORD, server_hello),
            (CHANGE_CIPHER_SPEC, _),
            ..,
            (_, server_finished),
            (_, answer),
        ] = server[..]
        else {
            panic!("other records of the server: {server:?}");
        };
        assert_eq!(request - client_finished, answer - server_finished);
        Self {
            client_hello,
            client_finished,
            server_hello,
            server_finished,
            request: request - client_finished,
        }
    }

    fn positions(self, policy: Policy, direction: Direction) -> Vec<usize> {
        let (hello, finished) = match direction {
            Direction::ToServer => (self.client_hello, self.client_finished),
            Direction::ToClient => (self.server_hello, self.server_finished),
        };
        let wanted = |after: &usize| {
            every_byte()
                || after.is_multiple_of(16)
                || (*after < hello && (policy == Policy::Require || after.is_multiple_of(8)))
                || [1, hello, finished]
                    .iter()
                    .any(|end| after.abs_diff(*end) <= 1)
        };
        (0..=finished + self.request).filter(wanted).collect()
    }
}

/// The type and the end of each TLS record.
fn records(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    let mut end = 0;
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        end += 5 + length;
        records.push((*kind, end));
        bytes = &rest[length..];
    }
    records
}

fn failed(failure: Failure, at: Duration) -> (End, Duration) {
    (End::Failed(failure), at)
}

/// A client whose handshake does not end.
fn client_waits(policy: Policy) -> (End, Duration) {
    match policy {
        Policy::Require => failed(Failure::TimedOut(TimedOut::Deadline), DEADLINE),
        _ => failed(Failure::TimedOut(TimedOut::Handshake), HANDSHAKE),
    }
}

/// Both ends of an exchange whose handshake is complete at the client when the deadline is over, at
/// this time. The server has the Open, and no Confirm.
fn late(policy: Policy, complete: Duration) -> [(End, Duration); 2] {
    let finished = complete + PRIMARY / 2;
    let client = (End::unverified(policy, "side-silent"), complete);
    let server = End::Unverified("not-confirmed");
    match policy {
        Policy::Require => panic!("the client has given up"),
        // The client that prefers refuses the connection, and breaks it.
        Policy::Prefer | Policy::Observe => [client, (server, finished)],
    }
}

const VERIFIED: [(End, Duration); 2] = [(End::Verified, FLIGHT), (End::Verified, FINISHED)];

/// Both ends, the client first, where bytes of the client's are cut.
fn to_server(policy: Policy, flights: Flights, fault: Fault) -> [(End, Duration); 2] {
    let verified = (End::Verified, FLIGHT);
    let at = match fault.after {
        0 => ms(0),
        after if after <= flights.client_hello => HELLO,
        _ => FINISHED,
    };
    let in_hello = fault.after < flights.client_hello;
    let after_hello = fault.after > flights.client_hello;
    if fault.after >= flights.client_finished {
        return VERIFIED;
    }
    match fault.effect {
        Effect::Close if after_hello => [verified, failed(Failure::Ended, at)],
        Effect::Close => [failed(Failure::Ended, at), failed(Failure::Ended, at)],
        Effect::Swallow if in_hello => {
            let server = Failure::TimedOut(TimedOut::ClientHello);
            [client_waits(policy), failed(server, HANDSHAKE)]
        }
        Effect::Swallow => {
            let server = failed(Failure::TimedOut(TimedOut::Handshake), HELLO + HANDSHAKE);
            match after_hello {
                true => [verified, server],
                false => [client_waits(policy), server],
            }
        }
        // The client closes behind its late ClientHello.
        Effect::Delay(_) if in_hello && policy == Policy::Require => {
            [client_waits(policy), failed(Failure::Ended, HELLO + LATE)]
        }
        Effect::Delay(_) if in_hello => late(policy, FLIGHT + LATE),
        Effect::Delay(_) => [verified, (End::Verified, at + LATE)],
    }
}

/// Both ends, the client first, where bytes of the server's are cut.
fn to_client(policy: Policy, flights: Flights, fault: Fault) -> [(End, Duration); 2] {
    let at = match fault.after {
        0 => ms(0),
        _ => FLIGHT,
    };
    let in_flight = fault.after < flights.server_finished;
    if fault.after > flights.server_finished {
        return VERIFIED;
    }
    match fault.effect {
        // After the whole flight too: the client's Finished cannot leave.
        Effect::Close => [failed(Failure::Ended, at), failed(Failure::Ended, at)],
        Effect::Swallow if fault.after == 0 => {
            let server = Failure::TimedOut(TimedOut::ClientHello);
            [client_waits(policy), failed(server, HANDSHAKE)]
        }
        Effect::Swallow => {
            let server = failed(Failure::TimedOut(TimedOut::Handshake), HELLO + HANDSHAKE);
            match in_flight {
                true => [client_waits(policy), server],
                false => [(End::Verified, FLIGHT), server],
            }
        }
        Effect::Delay(_) if in_flight && policy == Policy::Require => {
            let (_, gives_up) = client_waits(policy);
            let server = failed(Failure::Ended, gives_up + PRIMARY / 2);
            [client_waits(policy), server]
        }
        Effect::Delay(_) if in_flight => late(policy, FLIGHT + LATE),
        Effect::Delay(_) => VERIFIED,
    }
}

/// Whether the request and its answer arrive.
fn is_answered(flights: Flights, fault: Fault, client: &End, server: &End) -> bool {
    let total = match fault.direction {
        Direction::ToServer => flights.client_finished + flights.request,
        Direction::ToClient => flights.server_finished + flights.request,
    };
    let arrives = matches!(fault.effect, Effect::Delay(_))
        || (fault.after == total && fault.direction == Direction::ToClient);
    arrives && client.is_handed_out() && server.is_handed_out()
}

fn expected(policy: Policy, flights: Flights, fault: Fault) -> Ends {
    let [(client, client_time), (server, server_time)] = match fault.direction {
        Direction::ToServer => to_server(policy, flights, fault),
        Direction::ToClient => to_client(policy, flights, fault),
    };
    Ends {
        answered: is_answered(flights, fault, &client, &server),
        server_finally: server.is_handed_out().then(|| server.clone()),
        client,
        client_time,
        server,
        server_time,
    }
}

#[test]
fn the_primary_connection() {
    let configs = Configs::new();
    let honest = Case {
        policy: Policy::Require,
        side: ms(10),
        pooled: false,
        fault: None,
    };
    let flights = Flights::of(&run(&configs, honest).primary);
    let mut count = 0;
    for policy in POLICIES {
        for direction in Direction::BOTH {
            for effect in EFFECTS {
                for after in flights.positions(policy, direction) {
                    let fault = Fault {
                        direction,
                        after,
                        effect,
                    };
                    let case = Case {
                        policy,
                        fault: Some((On::Primary, fault)),
                        ..honest
                    };
                    let seen = run(&configs, case);
                    count += 1;
                    let expected = expected(policy, flights, fault);
                    assert_eq!(seen.ends, expected, "{flights:?} {case:?}");
                }
            }
        }
    }
    println!("{count} exchanges");
}
