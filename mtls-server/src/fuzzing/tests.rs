//! A few hundred inputs of each target: arbitrary bytes, and damaged valid ones.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const CONFIGURATIONS: [&[u8]; 2] = [
    b"[serve]\nlisten = [\"127.0.0.1:1\", \"[::1]:2\"]\ndir = \"/srv\"\npolicy = \"prefer\"\nverbose = 2\n",
    b"[passthrough]\nlisten = \"0.0.0.0:443\"\ntarget = \"127.0.0.1:8443\"\nsend-proxy = true\n[terminate]\n",
];
const PROXY_HEADERS: [&[u8]; 3] = [
    b"PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\nrest",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x03\xe8\x01\xbbrest",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\0\x02\x04\0\x01\0",
];
const FIELDS: [&[u8]; 3] = [
    b"\x01host: example.org\nconnection: upgrade, x-a, te\nupgrade: websocket\nx-a: 1\nx-b: 2\nte: trailers\n",
    b"\0host: a\nX_Forwarded_For: 1\nmultipath-verdict: verified\nforwarded: for=x\ncookie: a\ncookie: b\n",
    b"\x07host: a\nexpect: 100-continue\nvia: x\ntransfer-encoding: chunked\nx-real-ip: y\nkeep-alive: z\n",
];

/// Arbitrary bytes, or these with damage.
fn input(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<Index>(), any::<u8>()), 0..4);
    let damaged = (select(seeds), damage).prop_map(|(seed, damage)| {
        let mut bytes = seed.to_vec();
        for (index, value) in damage {
            *index.get_mut(&mut bytes) = value;
        }
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..200), damaged]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn configuration_files(data in input(&CONFIGURATIONS)) {
        super::configuration(&data);
    }

    #[test]
    fn headers_of_the_proxy_protocol(data in input(&PROXY_HEADERS)) {
        super::proxy_header(&data);
    }

    #[test]
    fn fields_of_forwarded_requests(data in input(&FIELDS)) {
        super::forwarded_fields(&data);
    }
}
