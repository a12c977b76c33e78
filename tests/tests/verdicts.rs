//! `mtls-lab verdicts`, run as a program.

use std::process::Command;

#[test]
fn side_paths_up_to_twenty_times_slower_give_the_right_verdict_at_the_specified_time() {
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-lab"))
        .arg("verdicts")
        .output()
        .expect("to run");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let row = |side: &str, client: &str| {
        let found = text
            .lines()
            .find(|line| line.starts_with(side) && line.contains(client));
        let line = found.unwrap_or_else(|| panic!("no row {side}, {client}: {text}"));
        line.split_whitespace().rev().take(7).collect::<Vec<_>>()
    };
    for (side, ready, read, held) in [
        ("20 ms", "40", "50", "0"),
        ("40 ms", "80", "100", "10"),
        ("100 ms", "200", "250", "40"),
        ("400 ms", "800", "1000", "190"),
    ] {
        let expected = ["verified", "ms", held, "ms", read, "ms", ready];
        assert_eq!(row(side, "new side connection"), expected, "{side}");
        let plain = ["unverified", "ms", "0", "ms", "50", "ms", "40"];
        assert_eq!(row(side, "plain TLS"), plain, "{side}");
        assert_eq!(row(side, "kept side connection")[0], "verified", "{side}");
    }
    assert!(text.contains("12 of 12 verdicts"), "{text}");
}
