//! The registry in memory with a million handshakes pending, and what each of them weighs.

use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use futures_util::FutureExt;
use mtls_core::proto::binding::{Association, HelloHash, SideSecret, SideSecrets};
use mtls_core::proto::server::{HandshakeKeys, LookupMode};
use mtls_core::registry::{
    LookupReply, LookupRequester, MemoryRegistry, MemoryRegistryLimits, PendingRegistry,
    Registration, RegistryKey, ServiceId,
};

/// A little less than the registry's default bound.
const PENDING: u64 = 1_000_000;
/// Of Linux on the machines that this is measured on.
const PAGE: u64 = 4096;

fn main() {
    let mut limits = MemoryRegistryLimits::default();
    // The next insertion sweeps the tombstones of `insert` away.
    limits.tombstone = Duration::ZERO;
    let registry = MemoryRegistry::new(limits);
    let mut held = Vec::with_capacity(PENDING as usize);
    let before = resident();
    held.extend((0..PENDING).map(|number| register(&registry, number)));
    let after = resident();
    if let (Some(before), Some(after)) = (before, after) {
        let each = (after - before) / PENDING;
        // The bench harness writes its results to standard output too.
        let _ = writeln!(
            std::io::stdout(),
            "registry/memory: {each} bytes for each of {PENDING} pending handshakes"
        );
    }
    let mut criterion = Criterion::default().configure_from_args();
    insert(&mut criterion, &registry);
    look_up(&mut criterion, &registry);
    criterion.final_summary();
}

fn insert(criterion: &mut Criterion, registry: &MemoryRegistry) {
    let mut next = PENDING;
    criterion.bench_function("registry/insert at 1 M", |bencher| {
        bencher.iter_batched(
            || {
                next += 1;
                (key(next), keys(next))
            },
            |(key, keys)| {
                // The registration is dropped: the whole life of a handshake.
                let registered = registry.register(key, keys).now_or_never();
                black_box(registered.expect("at once").expect("a place"));
            },
            BatchSize::SmallInput,
        );
    });
}

fn look_up(criterion: &mut Criterion, registry: &MemoryRegistry) {
    let requester = LookupRequester::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true);
    let mut number = 0;
    criterion.bench_function("registry/look-up at 1 M", |bencher| {
        bencher.iter(|| {
            // A stride that visits all, and no neighbours.
            number = (number + 611_953) % PENDING;
            let reply = registry
                .look_up(key(number), LookupMode::Immediate, requester)
                .now_or_never();
            assert!(matches!(reply, Some(LookupReply::Found(_))));
        });
    });
}

fn register(registry: &MemoryRegistry, number: u64) -> Box<dyn Registration> {
    let registered = registry.register(key(number), keys(number)).now_or_never();
    registered.expect("at once").expect("a place")
}

fn key(number: u64) -> RegistryKey {
    let mut random = [0; 32];
    random[..8].copy_from_slice(&number.to_be_bytes());
    RegistryKey {
        service: ServiceId::default(),
        association: Association::from_client_random(&random),
    }
}

/// As large as a server's are.
fn keys(number: u64) -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(SideSecret::new([number as u8; 32])),
        ..SideSecrets::from_hello(&HelloHash([number as u8; 32]))
    })
}

/// The bytes of this process that are in memory; `None` where `/proc` does not say.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}
