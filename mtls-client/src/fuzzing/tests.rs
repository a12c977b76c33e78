//! A few hundred inputs: arbitrary bytes, and damaged valid ones.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const REQUESTS: [&[u8]; 5] = [
    b"\r\nCONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nContent-Length: 0\r\n\r\nrest",
    b"\x05\x02\x02\0\x05\x01\0\x03\x0bexample.org\x01\xbbrest",
    b"\x05\x01\0\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb",
    b"\x04\x01\x01\xbb\0\0\0\x01user\0example.org\0rest",
    b"GET http://example.org/ HTTP/1.1\r\n\r\n",
];

fn input() -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<Index>(), any::<u8>()), 0..4);
    let damaged = (select(&REQUESTS[..]), damage).prop_map(|(seed, damage)| {
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
    fn first_requests_of_clients(data in input()) {
        super::proxy_request(&data);
    }
}
