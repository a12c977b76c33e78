//! A few hundred inputs of each target: arbitrary bytes, and damaged valid ones.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const SOCKS5: [&[u8]; 3] = [
    b"\0\x05\0\x05\0\0\x01\x7f\0\0\x01\x01\xbbrest",
    b"\x01\x05\x02\x01\0\x05\0\0\x03\x02ab\0\0rest",
    b"\x01\x05\xff",
];
const HTTP_CONNECT: [&[u8]; 3] = [
    b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nrest",
    b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n",
    b"HTTP/1.1 200\r\n\r\n",
];
const KNOWN_HOSTS: [&[u8]; 2] = [
    br#"{"version":1,"hosts":[]}"#,
    br#"{"version":1,"clock":{"unix":1,"boot":"b","since_boot":2},"hosts":[{"host":"a.test:443","entry":
       {"support":"greets","origin":"field","recorded":1,"max_age":2,"side_endpoint":"[::1]:9443"}}]}"#,
];
const HTTP3: [&[u8]; 3] = [
    b"\x40\x01\x03abc\x00\x02xy\x21\x04skip\x00\0",
    b"\x41\0\x04\x02\x01\x02",
    b"\x40\x01\xc0\0\x01\0\0\0\0\0",
];

/// Arbitrary bytes, or these with damage.
fn input(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<Index>(), any::<u8>()), 0..4);
    let damaged = (select(seeds), damage, any::<Index>()).prop_map(|(seed, damage, end)| {
        let mut bytes = seed.to_vec();
        for (index, value) in damage {
            *index.get_mut(&mut bytes) = value;
        }
        // Half of them are whole.
        bytes.truncate(end.index(2 * seed.len()));
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..300), damaged]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences_of_results_of_resumption(data in vec(any::<u8>(), 0..20)) {
        super::resumption(&data);
    }

    #[test]
    fn answers_of_a_socks5_proxy(data in input(&SOCKS5)) {
        super::socks5_answer(&data);
    }

    #[test]
    fn answers_of_an_http_proxy(data in input(&HTTP_CONNECT)) {
        super::http_connect_answer(&data);
    }

    #[test]
    fn files_of_known_hosts(data in input(&KNOWN_HOSTS)) {
        super::known_hosts_file(&data);
    }

    #[test]
    fn frames_of_http3(data in input(&HTTP3)) {
        super::http3_frames(&data);
    }
}
