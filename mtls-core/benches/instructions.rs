//! Counted instructions instead of measured times: what does not depend on what else the machine
//! does. Run by valgrind through gungraun; keys, certificates and randomness are fixed.
//!
//! `cargo bench -p mtls-core --bench instructions` needs valgrind and `gungraun-runner` of the
//! version that Cargo.lock has.

#![allow(
    missing_docs,
    clippy::exit,
    reason = "the harness's macros make such items"
)]

mod common;
mod fixed;

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use gungraun::prelude::*;
use mtls_core::proto::binding::{Association, HelloHash, SideSecret, SideSecrets};
use mtls_core::proto::frame::{Frame, FrameBody, FrameReader, GREETING, RejectCode};
use mtls_core::proto::server::{HandshakeKeys, ServerLimits, ServerVerifier};
use mtls_core::registry::{
    MemoryRegistry, MemoryRegistryLimits, PendingRegistry, Registration, RegistryKey, ServiceId,
};
use rustls::{ClientConnection, ServerConnection};

use common::{Ends, Machines, open};

/// Handshakes that the registry has pending before the one that counts.
const PENDING: u64 = 1_000;

/// Both ends, whose first handshake is done: what is made once is made.
fn ends() -> Ends {
    let (root, chain, key) = fixed::certificates();
    let ends = Ends::new(fixed::provider(), root, chain, key);
    drop(ends.multipath());
    ends
}

#[library_benchmark]
#[bench::memory(ends())]
fn handshake_of_plain_tls(ends: Ends) -> (Ends, (ClientConnection, ServerConnection)) {
    let connected = black_box(&ends).plain();
    (ends, connected)
}

#[library_benchmark]
#[bench::memory(ends())]
fn handshake_with_verification(ends: Ends) -> (Ends, (ClientConnection, ServerConnection)) {
    let connected = black_box(&ends).multipath();
    (ends, connected)
}

fn secret() -> SideSecret {
    SideSecret::new([3; 32])
}

fn keys(number: u64) -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(secret()),
        ..SideSecrets::from_hello(&HelloHash([number as u8; 32]))
    })
}

#[library_benchmark]
#[bench::machines((keys(0), secret()))]
fn verification(parts: (HandshakeKeys, SideSecret)) -> (HandshakeKeys, bool) {
    let (keys, secret) = black_box(parts);
    let mut machines = Machines::new(Association([1; Association::LEN]));
    machines.prove(&keys);
    machines.check(&secret);
    (keys, machines.confirmed())
}

/// A server's end that can take no more verifications, and the bytes of one more.
fn full() -> (ServerVerifier, FrameReader, Vec<u8>) {
    let now = Instant::now();
    let limits = ServerLimits::default();
    let mut server = ServerVerifier::new(limits);
    let mut reader = FrameReader::new();
    reader.read(&GREETING, |_| {}).expect("a greeting");
    for number in 0..limits.exchanges {
        let mut frame = open(0);
        frame.association.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
        server.handle_frame(&frame, now);
    }
    while server.poll_event().is_some() {}
    assert!(server.poll_transmit().is_none());
    let mut one_more = Vec::new();
    open(0xff).encode(&mut one_more);
    (server, reader, one_more)
}

#[library_benchmark]
#[bench::full(full())]
fn flood_frame(flooded: (ServerVerifier, FrameReader, Vec<u8>)) -> (ServerVerifier, Vec<u8>) {
    let (mut server, mut reader, bytes) = black_box(flooded);
    let now = Instant::now();
    reader
        .read(&bytes, |frame| server.handle_frame(&frame, now))
        .expect("a frame");
    let mut answer = Vec::new();
    while let Some(frame) = server.poll_transmit() {
        let refused = FrameBody::Reject {
            code: RejectCode::Busy,
        };
        assert!(matches!(frame, Frame { body, .. } if body == refused));
        frame.encode(&mut answer);
    }
    assert!(!answer.is_empty());
    (server, answer)
}

fn key(number: u64) -> RegistryKey {
    let mut random = [0; 32];
    random[..8].copy_from_slice(&number.to_be_bytes());
    RegistryKey {
        service: ServiceId::default(),
        association: Association::from_client_random(&random),
    }
}

type Held = Vec<Box<dyn Registration>>;

fn register(registry: &MemoryRegistry, number: u64) -> Box<dyn Registration> {
    let registered = registry.register(key(number), keys(number)).now_or_never();
    registered.expect("at once").expect("a place")
}

fn pending() -> (MemoryRegistry, Held, RegistryKey, HandshakeKeys) {
    let mut limits = MemoryRegistryLimits::default();
    limits.tombstone = Duration::from_secs(10);
    let registry = MemoryRegistry::new(limits);
    let held = (0..PENDING)
        .map(|number| register(&registry, number))
        .collect();
    (registry, held, key(PENDING), keys(PENDING))
}

#[library_benchmark]
#[bench::thousand_pending(pending())]
fn registry_insert(
    pending: (MemoryRegistry, Held, RegistryKey, HandshakeKeys),
) -> (MemoryRegistry, Held, Box<dyn Registration>) {
    let (registry, held, key, keys) = black_box(pending);
    let registered = registry.register(key, keys).now_or_never();
    let registered = registered.expect("at once").expect("a place");
    (registry, held, registered)
}

library_benchmark_group!(
    name = all,
    benchmarks = [
        handshake_of_plain_tls,
        handshake_with_verification,
        verification,
        flood_frame,
        registry_insert
    ]
);

main!(library_benchmark_groups = all);
