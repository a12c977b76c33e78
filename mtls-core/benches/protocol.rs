//! Frames, the exporter, the two machines, and handshakes in memory.

mod common;

use std::hint::black_box;

use criterion::Criterion;
use mtls_certs::Pki;
use mtls_core::proto::binding::{Association, SideSecret, SideSecrets, Value};
use mtls_core::proto::frame::Frame;
use mtls_core::proto::server::HandshakeKeys;
use rustls::crypto::aws_lc_rs;

use common::{Ends, Machines, open};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    frames(&mut criterion);
    exporter(&mut criterion);
    verification(&mut criterion);
    wrong_values(&mut criterion);
    handshakes(&mut criterion);
    criterion.final_summary();
}

fn frames(criterion: &mut Criterion) {
    let frame = open(1);
    let mut encoded = Vec::new();
    frame.encode(&mut encoded);
    criterion.bench_function("frame/encode", |bencher| {
        let mut out = Vec::with_capacity(encoded.len());
        bencher.iter(|| {
            out.clear();
            black_box(&frame).encode(&mut out);
            black_box(&out);
        });
    });
    criterion.bench_function("frame/decode", |bencher| {
        bencher.iter(|| Frame::decode(black_box(&encoded)).expect("a frame"));
    });
}

fn exporter(criterion: &mut Criterion) {
    for (name, len) in [("exporter/sha256", 32), ("exporter/sha384", 48)] {
        let secret = vec![3; len];
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| SideSecret::from_exporter_secret(black_box(&secret)));
        });
    }
    let ends = ends();
    let (client, _) = ends.plain();
    criterion.bench_function("exporter/rustls", |bencher| {
        bencher.iter(|| {
            client
                .export_keying_material([0; SideSecret::LEN], SideSecret::exporter_label(), None)
                .expect("a complete handshake")
        });
    });
}

/// All of a verification but TLS: frames are encoded and read again at the other end.
fn verification(criterion: &mut Criterion) {
    let secret = SideSecret::new([3; 32]);
    let keys = HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(secret.clone()),
        hello: None,
    });
    criterion.bench_function("verification/machines", |bencher| {
        bencher.iter(|| {
            let mut machines = Machines::new(Association([1; Association::LEN]));
            machines.prove(&keys);
            machines.check(&secret);
            black_box(machines.confirmed());
        });
    });
}

/// The time must not tell where a value differs; `tests/timing.rs` counts the instructions.
fn wrong_values(criterion: &mut Criterion) {
    let right = Value([0x5a; Value::LEN]);
    let mut group = criterion.benchmark_group("compare");
    for (name, byte) in [("first_byte_wrong", 0), ("last_byte_wrong", Value::LEN - 1)] {
        let mut wrong = right;
        wrong.0[byte] ^= 1;
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&right) == black_box(&wrong));
        });
    }
    group.bench_function("equal", |bencher| {
        bencher.iter(|| black_box(&right) == black_box(&{ right }));
    });
    group.finish();
}

fn handshakes(criterion: &mut Criterion) {
    let ends = ends();
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("plain", |bencher| bencher.iter(|| black_box(ends.plain())));
    group.bench_function("multipath", |bencher| {
        bencher.iter(|| black_box(ends.multipath()));
    });
    group.finish();
}

/// Both ends as they are by default.
fn ends() -> Ends {
    let pki = Pki::new(&["localhost"]).expect("a pki");
    let (chain, key) = (pki.server.chain_der(), pki.server.key_der());
    Ends::new(aws_lc_rs::default_provider(), pki.ca.cert_der(), chain, key)
}
