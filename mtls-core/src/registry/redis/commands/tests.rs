use super::*;

#[test]
fn an_engine_that_may_drop_entries_is_refused() {
    let info = |policy: &str| Info::parse(&format!("# Memory\r\nmaxmemory_policy:{policy}\r\n"));
    assert_eq!(info("noeviction").check(), Ok(()));
    for policy in ["allkeys-lru", "volatile-ttl", "volatile-random", ""] {
        let error = info(policy).check().expect_err("refused").to_string();
        assert!(
            error.contains("noeviction") && error.contains(policy),
            "{error}"
        );
    }
}

#[test]
fn evicted_entries_are_counted() {
    let info = Info::parse("# Stats\r\nevicted_keys:17\r\nevicted_keys_x:3\r\n");
    assert_eq!(info.evicted, 17);
}

#[test]
fn the_age_of_a_process_is_never_overestimated() {
    let uptime = |text: &str| Info::parse(text).uptime;
    // The engine counts whole seconds of the clock, and the first one may be short.
    let text = "# Server\r\nuptime_in_seconds:61\r\nuptime_in_days:7\r\n";
    assert_eq!(uptime(text), Duration::from_secs(60));
    for text in ["", "uptime_in_seconds:0\r\n", "uptime_in_seconds:x\r\n"] {
        assert_eq!(uptime(text), Duration::ZERO, "{text}");
    }
}

#[test]
fn names_keep_fleets_and_services_and_machines_apart() {
    use crate::proto::binding::Association;
    let key = |service: &str| RegistryKey {
        service: ServiceId::from_name(service),
        association: Association([1; 16]),
    };
    let keys = |fleet: &str| Keys::new(ServiceId::from_name(fleet));
    assert_ne!(keys("a").of('e', &key("s")), keys("b").of('e', &key("s")));
    assert_ne!(keys("a").of('e', &key("s")), keys("a").of('e', &key("t")));
    assert_ne!(keys("a").members(), keys("b").members());
    let [own, all] = keys("a").channels(MachineId(7));
    assert!(own.ends_with(":in:7") && all.ends_with(":in:all"));
    assert_ne!(all, keys("b").channels(MachineId(7))[1]);
}

#[test]
fn numbers_that_are_no_machines_are_ignored() {
    assert_eq!(
        machines(vec![7, -1, 65_536, 65_535]),
        [MachineId(7), MachineId(65_535)]
    );
}
