//! The format of the file: every content comes back, and no text does harm.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::known_hosts::entry::{KeyPin, Origin, Support};

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let host = prop_oneof![
        "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\\.(test|example)",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
    ];
    (host, 1_u16..)
        .prop_filter_map("a host", |(host, port)| {
            format!("{host}:{port}").parse().ok()
        })
        .prop_map(|host| canonical(&host))
}

fn pin() -> impl Strategy<Value = KeyPin> {
    any::<[u8; 4]>().prop_map(|key| KeyPin::of(&key))
}

fn entry() -> impl Strategy<Value = HostEntry> {
    let support = prop_oneof![
        Just(Support::Neither),
        Just(Support::Resumes),
        Just(Support::Greets)
    ];
    let origin = prop_oneof![
        Just(Origin::User),
        Just(Origin::Field),
        Just(Origin::Observed)
    ];
    let times = (any::<u64>(), any::<u64>(), option::of(any::<u64>()));
    let keys = (
        vec(pin(), 0..=MAX_KEYS),
        option::of(pin()),
        option::of(pin()),
    );
    (support, origin, times, option::of(endpoint()), keys).prop_map(
        |(support, origin, (recorded, max_age, verified), side_endpoint, keys)| HostEntry {
            support,
            origin,
            recorded,
            max_age,
            verified,
            side_endpoint,
            keys: keys.0,
            raw_key: keys.1,
            sides: keys.2,
        },
    )
}

fn contents() -> impl Strategy<Value = Contents> {
    let clock = ("[0-9a-f-]{0,64}", any::<u64>(), any::<u64>());
    let clock = clock.prop_map(|(boot, unix, since_boot)| Anchor::new(boot, unix, since_boot));
    let hosts = btree_map(endpoint().prop_map(|host| host.to_string()), entry(), 0..6);
    (option::of(clock), hosts).prop_map(|(clock, hosts)| Contents {
        clock,
        hosts: hosts
            .into_iter()
            .map(|(host, entry)| {
                let endpoint = host.parse().expect("an endpoint");
                (host, (endpoint, entry))
            })
            .collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_content_comes_back_from_its_file(contents in contents()) {
        let text = contents.render().expect("a text");
        prop_assert_eq!(Contents::parse(&text).expect("a file"), contents);
    }

    #[test]
    fn a_damaged_file_is_refused_or_is_another_valid_file(
        contents in contents(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = contents.render().expect("a text").into_bytes();
        for (index, value) in damage {
            *index.get_mut(&mut bytes) = value;
        }
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(parsed) = Contents::parse(&text)
        {
            let again = parsed.render().expect("a text");
            prop_assert_eq!(Contents::parse(&again).expect("a file"), parsed);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        prop_assert!(Contents::parse(&text).is_err(), "no such text is a file");
    }

    #[test]
    fn no_order_of_entries_exceeds_the_limit(
        entries in vec((endpoint(), entry()), 0..30),
        now in any::<u64>(),
    ) {
        const LIMIT: usize = 8;
        let mut contents = Contents::default();
        for (host, entry) in entries {
            let before = contents.clone();
            let inserted = contents.insert(host.clone(), entry.clone(), LIMIT, now);
            if inserted.is_ok() {
                prop_assert_eq!(contents.get(&host), Some(&entry));
            }
            prop_assert!(contents.hosts().count() <= LIMIT);
            // No entry makes room but expired ones and those that strengthen nothing.
            let lost = before.hosts().find(|(known, entry)| {
                is_strong(entry) && !entry.is_expired(now) && contents.get(known).is_none()
            });
            prop_assert_eq!(lost, None);
        }
    }
}
