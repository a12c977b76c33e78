//! The side connection, cut after every byte of either direction.
//!
//! The primary path has a round trip of 20 ms. In ms from the departure of the ClientHello, with a
//! side path of 10 ms, and with one of 60 ms:
//!
//! | | 10 ms | 60 ms |
//! |---|--:|--:|
//! | the client connects, and sends its greeting and Open | -10 | 40 |
//! | they arrive, and the server's greeting leaves | -5 | 70 |
//! | the server registers the handshake | 10 | 10 |
//! | the Proof leaves | 10 | 70 |
//! | TLS is complete at the client | 20 | 20 |
//! | the Confirm leaves: the client has verified | 20 | 100 |
//! | TLS is complete at the server | 30 | 30 |
//! | the Confirm arrives | 25 | 130 |
//!
//! Over the slow path a Done follows the Open at once.

use std::time::Duration;

use mtls_core::Policy;
use mtls_core::proto::frame::GREETING;

use super::exchange::{
    Case, Configs, DEADLINE, EFFECTS, End, Ends, On, POLICIES, PRIMARY, every_byte, ms, run,
};
use super::wire::{Direction, Effect, Fault};

const OPEN: usize = 52;
const DONE: usize = 19;
const PROOF: usize = 84;
const CONFIRM: usize = 51;

/// A side path, and the exchange on it.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    round_trip: Duration,
    pooled: bool,
    /// The bytes of the client's before the Proof: the end of the Open, and of all.
    open_end: usize,
    question_end: usize,
    greeting: usize,
}

const FAST: Exchange = Exchange {
    round_trip: ms(10),
    pooled: false,
    open_end: GREETING.len() + OPEN,
    question_end: GREETING.len() + OPEN,
    greeting: GREETING.len(),
};

const SLOW: Exchange = Exchange {
    round_trip: ms(60),
    question_end: GREETING.len() + OPEN + DONE,
    ..FAST
};

/// On a side connection that an earlier exchange has opened.
const POOLED: Exchange = Exchange {
    pooled: true,
    open_end: OPEN,
    question_end: OPEN,
    greeting: 0,
    ..FAST
};

impl Exchange {
    fn total(self, direction: Direction) -> usize {
        match direction {
            Direction::ToServer => self.question_end + CONFIRM,
            Direction::ToClient => self.greeting + PROOF,
        }
    }

    /// The departure of the Open.
    fn opened(self) -> Duration {
        match self.pooled {
            true => Duration::ZERO,
            false => self.round_trip,
        }
    }

    fn is_slow(self) -> bool {
        self.round_trip > PRIMARY
    }
}

/// The times of an end count from the departure of the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Verified { at: Duration },
    Failed { reason: &'static str, at: Duration },
}

/// The Confirm, and the Open before it, as the server sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirm {
    Arrives {
        at: Duration,
    },
    /// The Open has arrived, while its handshake was registered.
    OpenOnly,
    Nothing,
}

/// The client's end of an exchange with this fault.
fn client(exchange: Exchange, fault: Fault) -> Client {
    let tls_complete = PRIMARY;
    let verified = Client::Verified {
        at: tls_complete.max((exchange.opened() + exchange.round_trip).saturating_sub(PRIMARY)),
    };
    let proof_cut = fault.after < exchange.total(Direction::ToClient);
    let at_deadline = |reason| Client::Failed {
        reason,
        at: DEADLINE,
    };
    match (fault.effect, fault.direction) {
        (Effect::Close, _) if exchange.pooled => reconnected(exchange, fault),
        // A Proof that can no longer be confirmed is of no use.
        (Effect::Close, Direction::ToClient) => Client::Failed {
            reason: match fault.after < exchange.greeting {
                true => "no-greeting",
                false => "side-closed",
            },
            at: tls_complete.max(closed_at(exchange, fault)),
        },
        // The server's greeting leaves when the client's arrives, and is cut too.
        (Effect::Close, Direction::ToServer) if fault.after <= exchange.question_end => {
            Client::Failed {
                reason: "no-greeting",
                at: tls_complete.max(closed_at(exchange, fault)),
            }
        }
        (Effect::Swallow, Direction::ToServer) if fault.after <= exchange.question_end => {
            at_deadline(match exchange.pooled {
                true => "side-silent",
                false => "no-greeting",
            })
        }
        (Effect::Delay(_), Direction::ToServer) if fault.after < exchange.open_end => {
            // The first byte shows the server that this is a side connection.
            at_deadline(match fault.after == 0 && !exchange.pooled {
                true => "no-greeting",
                false => "side-silent",
            })
        }
        (Effect::Swallow | Effect::Delay(_), Direction::ToClient) if proof_cut => {
            at_deadline(match fault.after < exchange.greeting {
                true => "no-greeting",
                false => "side-silent",
            })
        }
        _ => verified,
    }
}

/// The time at which a side connection closes early, before the Confirm.
fn closed_at(exchange: Exchange, fault: Fault) -> Duration {
    let connected = exchange.opened().saturating_sub(PRIMARY);
    let one_way = exchange.round_trip / 2;
    match (fault.after, fault.direction) {
        (0, _) => connected,
        (_, Direction::ToServer) => connected + one_way,
        (_, Direction::ToClient) => connected + exchange.round_trip,
    }
}

/// A connection of the pool that closes is replaced by another one, which has no fault.
fn reconnected(exchange: Exchange, fault: Fault) -> Client {
    let proof_sent = fault.direction == Direction::ToClient && fault.after > 0;
    Client::Verified {
        at: match proof_sent {
            // The Proof arrives at 15, and the other connection takes two round trips.
            true => ms(15) + 2 * exchange.round_trip,
            false => PRIMARY,
        },
    }
}

/// The server's end.
fn confirm(exchange: Exchange, fault: Fault, client: Client) -> Confirm {
    let one_way = exchange.round_trip / 2;
    let in_server = fault.direction == Direction::ToServer;
    let total = exchange.total(Direction::ToServer);
    match (client, fault.effect) {
        (Client::Verified { at }, Effect::Delay(late)) if in_server && fault.after < total => {
            Confirm::Arrives {
                at: at + one_way + late,
            }
        }
        (Client::Verified { .. }, Effect::Close | Effect::Swallow)
            if in_server && fault.after < total && fault.after > exchange.question_end =>
        {
            Confirm::OpenOnly
        }
        // The Proof was the last byte.
        (Client::Verified { .. }, Effect::Swallow) if !in_server => Confirm::OpenOnly,
        (Client::Verified { at }, _) => Confirm::Arrives { at: at + one_way },
        (Client::Failed { .. }, _) if open_arrives(exchange, fault) => Confirm::OpenOnly,
        (Client::Failed { .. }, _) => Confirm::Nothing,
    }
}

/// Whether the Open is at the server while its handshake is registered there, though the client has
/// failed. Over the fast path it arrives before, and waits as long as its connection is open.
fn open_arrives(exchange: Exchange, fault: Fault) -> bool {
    match (fault.direction, fault.effect) {
        (Direction::ToServer, Effect::Close) => {
            exchange.is_slow() && fault.after >= exchange.open_end
        }
        (Direction::ToServer, _) => fault.after >= exchange.open_end,
        (Direction::ToClient, Effect::Close) => match exchange.is_slow() {
            true => fault.after > 0,
            false => fault.after > exchange.greeting,
        },
        (Direction::ToClient, Effect::Swallow) => fault.after > 0,
        (Direction::ToClient, Effect::Delay(_)) => true,
    }
}

/// The expected conclusions of both ends.
fn expected(policy: Policy, exchange: Exchange, fault: Fault) -> Ends {
    let expected = client(exchange, fault);
    let confirm = confirm(exchange, fault, expected);
    let (client, client_time) = match expected {
        Client::Verified { at } => (End::Verified, at),
        Client::Failed { reason, at } => (End::unverified(policy, reason), at),
    };
    let tls_complete = PRIMARY * 3 / 2;
    // The client's first bytes, or its close, arrive half a round trip after its conclusion.
    let first_bytes = client_time + PRIMARY / 2;
    let decision = match policy {
        Policy::Require => PRIMARY / 2 + DEADLINE,
        // A client that refuses the connection breaks it.
        Policy::Prefer if confirm == Confirm::Nothing || !client.is_handed_out() => first_bytes,
        Policy::Prefer => first_bytes + DEADLINE,
        Policy::Observe => tls_complete,
    };
    let reason = match confirm {
        Confirm::Nothing => "no-side-connection",
        // Over the slow path the Open arrives after this decision.
        _ if policy == Policy::Observe && exchange.is_slow() => "no-side-connection",
        Confirm::Arrives { .. } | Confirm::OpenOnly => "not-confirmed",
    };
    let (server, server_time) = match (policy, confirm) {
        (_, Confirm::Arrives { at }) if at <= decision => (End::Verified, at.max(tls_complete)),
        (Policy::Require, _) => (End::Refused(reason), decision),
        _ => (End::Unverified(reason), decision),
    };
    let is_late = matches!(fault.effect, Effect::Delay(_))
        && fault.direction == Direction::ToServer
        && fault.after < exchange.open_end;
    let server_finally = match (&server, confirm) {
        (End::Refused(_), _) => None,
        (_, Confirm::Arrives { .. }) => Some(End::Verified),
        (_, Confirm::OpenOnly) => Some(End::Unverified("not-confirmed")),
        (_, Confirm::Nothing) if is_late => Some(End::Unverified("not-confirmed")),
        _ => Some(server.clone()),
    };
    Ends {
        answered: client.is_handed_out() && server.is_handed_out(),
        client,
        client_time,
        server,
        server_time,
        server_finally,
    }
}

/// The positions of cuts: every one, or every eighth and those next to the end of a part.
fn positions(exchange: Exchange, direction: Direction, all: bool) -> Vec<usize> {
    let ends = match direction {
        Direction::ToServer => [GREETING.len(), exchange.open_end, exchange.question_end],
        Direction::ToClient => [exchange.greeting; 3],
    };
    let total = exchange.total(direction);
    let wanted = |after: &usize| {
        all || after.is_multiple_of(8)
            || *after + 1 >= total
            || ends.iter().any(|end| after.abs_diff(*end) <= 1)
    };
    (0..=total).filter(wanted).collect()
}

/// Cuts after every byte under these policies, and at some of the positions under the others.
fn cut_everywhere(exchange: Exchange, policies: &[Policy]) {
    let configs = Configs::new();
    let mut count = 0;
    for policy in POLICIES {
        let all = every_byte() || policies.contains(&policy);
        for direction in Direction::BOTH {
            for effect in EFFECTS {
                for after in positions(exchange, direction, all) {
                    let fault = Fault {
                        direction,
                        after,
                        effect,
                    };
                    let case = Case {
                        policy,
                        side: exchange.round_trip,
                        pooled: exchange.pooled,
                        fault: Some((On::Side, fault)),
                    };
                    let seen = run(&configs, case);
                    count += 1;
                    assert_eq!(seen.ends, expected(policy, exchange, fault), "{case:?}");
                }
            }
        }
    }
    println!("{count} exchanges");
}

#[test]
fn a_new_side_connection_that_is_faster_than_the_primary_path() {
    cut_everywhere(FAST, &[Policy::Require, Policy::Prefer]);
}

#[test]
fn a_new_side_connection_that_is_slower_than_the_primary_path() {
    cut_everywhere(SLOW, &[Policy::Require]);
}

#[test]
fn a_side_connection_of_the_pool() {
    cut_everywhere(POOLED, &[Policy::Require]);
}
