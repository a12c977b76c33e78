//! The information that the time of an answer gives away, by counted instructions: the place where a
//! received value or association differs from the right one must not change the work.
//!
//! Each count is a run of this program under Callgrind, which counts only within `counted`. Without
//! valgrind the tests are skipped.

use std::collections::BTreeSet;
use std::env;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use futures_util::FutureExt;
use mtls_core::proto::binding::{Association, Bindings, HelloHash, SideSecret, SideSecrets, Value};
use mtls_core::proto::client::{ClientOutcome, ClientVerifier, Peer, SideFailure, TlsVersion};
use mtls_core::proto::frame::{Frame, FrameBody};
use mtls_core::proto::server::{
    HandshakeKeys, Lookup, LookupMode, RegistrationId, ServerEvent, ServerLimits, ServerVerifier,
};
use mtls_core::registry::{
    LookupReply, LookupRequester, MemoryRegistry, MemoryRegistryLimits, PendingRegistry,
    RegistryKey, ServiceId,
};

/// The variable that tells `run_case` what to run.
const CASE: &str = "MTLS_TIMING_CASE";
/// Handshakes that are pending while associations are looked up.
const PENDING: u64 = 1_000;
/// The share of all instructions of many look-ups by which the seed of the table, which is random,
/// may change them.
const TABLE_NOISE: f64 = 0.01;

/// The place where bytes differ from the right ones.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Nowhere,
    First,
    Last,
    Everywhere,
}

impl Wrong {
    const ALL: [Self; 3] = [Self::First, Self::Last, Self::Everywhere];

    fn change<const N: usize>(self, mut bytes: [u8; N]) -> [u8; N] {
        match self {
            Self::Nowhere => {}
            Self::First => bytes[0] ^= 1,
            Self::Last => bytes[N - 1] ^= 1,
            Self::Everywhere => bytes.iter_mut().for_each(|byte| *byte ^= 0xff),
        }
        bytes
    }
}

/// Callgrind counts from the entry of this function to its end.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

#[test]
fn a_comparison_of_values_takes_the_same_instructions_wherever_they_differ() {
    let places = [Wrong::Nowhere, Wrong::First, Wrong::Last, Wrong::Everywhere];
    assert_same("compare", &places);
}

#[test]
fn a_server_refuses_each_wrong_confirm_with_the_same_instructions() {
    assert_same("confirm", &Wrong::ALL);
}

#[test]
fn a_client_refuses_each_wrong_proof_with_the_same_instructions() {
    assert_same("proof", &Wrong::ALL);
}

#[test]
fn an_association_close_to_a_pending_one_is_looked_up_like_any_other() {
    let Some(counts) = counts("look_up", &Wrong::ALL) else {
        return;
    };
    let (least, most) = (counts.first(), counts.last());
    let (least, most) = (*least.expect("counts"), *most.expect("counts"));
    let difference = (most - least) as f64 / least as f64;
    assert!(difference < TABLE_NOISE, "{counts:?}");
}

/// The control: this way of counting finds a comparison that ends at the first difference.
#[test]
fn counting_finds_a_comparison_that_ends_early() {
    let Some(counts) = counts("ends_early", &Wrong::ALL) else {
        return;
    };
    assert!(counts.len() > 1, "{counts:?}");
}

fn assert_same(case: &str, places: &[Wrong]) {
    if let Some(counts) = counts(case, places) {
        assert_eq!(counts.len(), 1, "{case}: {counts:?} instructions");
    }
}

/// The different numbers of instructions of a case, or `None` without valgrind.
fn counts(case: &str, places: &[Wrong]) -> Option<BTreeSet<u64>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return None;
    }
    Some(places.iter().map(|place| count(case, *place)).collect())
}

fn count(case: &str, place: Wrong) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*timing*counted*"])
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", "run_case", "--ignored", "--test-threads=1"])
        .env(CASE, format!("{case} {place:?}"))
        .output()
        .expect("valgrind");
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report
        .lines()
        .find_map(|line| line.split("Collected :").nth(1))
        .and_then(|count| count.trim().parse().ok());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{report}");
    match collected {
        Some(count) if count > 0 => count,
        _ => panic!("{case} {place:?}: nothing was counted: {report}"),
    }
}

#[test]
#[ignore = "the other tests run it under valgrind"]
fn run_case() {
    // All ignored tests can be run by hand, too.
    let Ok(chosen) = env::var(CASE) else { return };
    let (case, place) = chosen.split_once(' ').expect("a case and a place");
    let place = match place {
        "Nowhere" => Wrong::Nowhere,
        "First" => Wrong::First,
        "Last" => Wrong::Last,
        "Everywhere" => Wrong::Everywhere,
        _ => panic!("no such place: {place}"),
    };
    match case {
        "compare" => compare(place),
        "confirm" => confirm(place),
        "proof" => proof(place),
        "look_up" => look_up(place),
        "ends_early" => ends_early(place),
        _ => panic!("no such case: {case}"),
    }
}

fn compare(place: Wrong) {
    let right = Value([0x5a; Value::LEN]);
    let sent = Value(place.change(right.0));
    let equal = counted(|| black_box(&right) == black_box(&sent));
    assert_eq!(equal, matches!(place, Wrong::Nowhere));
}

fn ends_early(place: Wrong) {
    let right = [0x5a_u8; 32];
    let sent = place.change(right);
    let equal = counted(|| {
        let mut pairs = black_box(&right).iter().zip(black_box(&sent));
        pairs.all(|(one, other)| black_box(one == other))
    });
    assert!(!equal);
}

fn secret() -> SideSecret {
    SideSecret::new([3; SideSecret::LEN])
}

fn keys(number: u64) -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(secret()),
        ..SideSecrets::from_hello(&HelloHash([number as u8; 32]))
    })
}

/// A server that has sent a Proof, the Proof, and the client that waits for it.
struct Exchange {
    client: ClientVerifier,
    server: ServerVerifier,
    proof: Frame,
    now: Instant,
}

const ASSOCIATION: Association = Association([1; Association::LEN]);

impl Exchange {
    fn new() -> Self {
        let now = Instant::now();
        let mut client = ClientVerifier::new(ASSOCIATION, Bindings::ALL);
        client.handle_link([5; 32]);
        client.handle_peer(Peer::Greeted);
        client.handle_tls_complete(TlsVersion::Tls13, [8; 32]);
        let mut server = ServerVerifier::new(ServerLimits::default());
        let open = client.poll_transmit().expect("an Open");
        server.handle_frame(&open, now);
        while server.poll_event().is_some() {}
        let found = Lookup::Found {
            registration: RegistrationId(1),
            keys: &keys(0),
        };
        server.handle_lookup(ASSOCIATION, &found, [6; 32], now);
        let proof = server.poll_transmit().expect("a Proof");
        Self {
            client,
            server,
            proof,
            now,
        }
    }

    /// The client takes the Proof, with a value of this kind, and compares it.
    fn check(&mut self, place: Wrong) {
        if let FrameBody::Proof { value, .. } = &mut self.proof.body {
            value.0 = place.change(value.0);
        }
        self.client.handle_frame(&self.proof, [7; 32]);
        let check = self.client.poll_check().expect("a Proof to check");
        let values = secret().values(&check.context);
        counted(|| self.client.handle_values(black_box(&values)));
    }
}

fn proof(place: Wrong) {
    let mut exchange = Exchange::new();
    exchange.check(place);
    let outcome = exchange.client.outcome();
    assert!(
        matches!(outcome, ClientOutcome::Failed(SideFailure::Interception(_))),
        "{outcome:?}"
    );
}

fn confirm(place: Wrong) {
    let mut exchange = Exchange::new();
    let context = match exchange.proof.body {
        FrameBody::Proof { .. } => {
            exchange.client.handle_frame(&exchange.proof, [7; 32]);
            exchange
                .client
                .poll_check()
                .expect("a Proof to check")
                .context
        }
        _ => panic!("{:?}", exchange.proof),
    };
    exchange.client.handle_values(&secret().values(&context));
    let mut frame = std::iter::from_fn(|| exchange.client.poll_transmit())
        .find(|frame| matches!(frame.body, FrameBody::Confirm { .. }))
        .expect("a Confirm");
    if let FrameBody::Confirm { value } = &mut frame.body {
        value.0 = place.change(value.0);
    }
    let (server, now) = (&mut exchange.server, exchange.now);
    counted(|| server.handle_frame(black_box(&frame), now));
    let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, ServerEvent::Confirmed(_))),
        "{events:?}"
    );
}

/// Look-ups of associations that differ from pending ones there.
fn look_up(place: Wrong) {
    let registry = MemoryRegistry::new(MemoryRegistryLimits::default());
    let key = |number: u64, place: Wrong| {
        let mut random = [0x5a; 32];
        random[8..16].copy_from_slice(&number.to_be_bytes());
        let pending = Association::from_client_random(&random);
        RegistryKey {
            service: ServiceId::default(),
            association: Association(place.change(pending.0)),
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _guard = runtime.enter();
    let _held: Vec<_> = (0..PENDING)
        .map(|number| {
            let registered = registry.register(key(number, Wrong::Nowhere), keys(number));
            registered
                .now_or_never()
                .expect("at once")
                .expect("a place")
        })
        .collect();
    let requester = LookupRequester::new([192, 0, 2, 1].into(), false);
    let keys: Vec<_> = (0..PENDING).map(|number| key(number, place)).collect();
    let unknown = counted(|| {
        let replies = keys.iter().map(|key| {
            let reply = registry.look_up(*key, LookupMode::Immediate, requester);
            reply.now_or_never().expect("at once")
        });
        replies
            .filter(|reply| matches!(reply, LookupReply::Unknown))
            .count()
    });
    assert_eq!(unknown, keys.len());
}
