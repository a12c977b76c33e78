//! The program `mtls-lab matrix`: every cell attacked, and wrong claims noticed.

use std::process::{Command, Output};

use mtls_lab::{Result, mptcp};
use serde_json::Value;

/// The columns on sockets of 127.0.0.0/8: all but the one in network namespaces, which takes minutes.
const ON_LOOPBACK: [&str; 10] = [
    "unauthenticated",
    "tls",
    "smkex",
    "mtls-hello",
    "mtls-exporter",
    "relays",
    "resumption",
    "auto",
    "quic",
    "mtls-quic",
];

fn matrix(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_mtls-lab"))
        .arg("matrix")
        .args(arguments)
        .output()
}

fn cells(run: &Output) -> Result<Vec<Value>> {
    let report: Value = serde_json::from_slice(&run.stdout)?;
    let cells = report["cells"].as_array().ok_or("no cells")?;
    Ok(cells.clone())
}

/// The cell of a row, where there is one protocol and one kind of trust.
fn cell<'a>(cells: &'a [Value], attackers: &str) -> Result<&'a Value> {
    let found = cells.iter().find(|cell| cell["attackers"] == attackers);
    found.ok_or_else(|| format!("no cell {attackers}").into())
}

/// Expects these parts in the attacks of a cell and in their results.
fn expect_attempts(cell: &Value, expected: &[[&str; 2]]) -> Result {
    let attempts = cell["attempts"].as_array().ok_or("no attempts")?;
    assert_eq!(attempts.len(), expected.len());
    for (attempt, [attack, client]) in attempts.iter().zip(expected) {
        let contains = |field: &str, part| {
            let text = attempt[field].as_str();
            text.is_some_and(|text| text.contains(part))
        };
        assert!(contains("attack", *attack), "{attempt:#}");
        assert!(contains("client", *client), "{attempt:#}");
    }
    Ok(())
}

/// The secrets that attackers read in an attempt.
fn secrets(attempt: &Value) -> Vec<&Value> {
    let attackers = attempt["attackers"].as_array();
    let secrets = attackers.into_iter().flatten();
    secrets
        .filter_map(|haul| haul["secrets"].as_array())
        .flatten()
        .collect()
}

/// Whether no man in the middle read an application byte of the client.
fn read_no_byte(attempt: &Value) -> bool {
    let attackers = attempt["attackers"].as_array();
    let mut saw = attackers.into_iter().flatten().filter_map(|attacker| {
        let saw = attacker["saw"].as_str()?;
        saw.split_once(" handshakes with the client, ")
    });
    saw.all(|(_, bytes)| bytes == "0 bytes of it")
}

#[test]
fn every_cell_is_what_the_threat_model_says() -> Result {
    let protocols = ON_LOOPBACK.map(|name| ["--protocol", name]);
    let run = matrix(&[&["--json"], protocols.as_flattened()].concat())?;
    let cells = cells(&run)?;
    assert_eq!(cells.len(), 640);
    for cell in &cells {
        assert_eq!(cell["expected"], cell["observed"], "{cell:#}");
        let attempts = cell["attempts"].as_array().ok_or("no attempts")?;
        assert!(!attempts.is_empty());
        let read_by = attempts
            .iter()
            .filter(|attempt| !secrets(attempt).is_empty());
        assert_eq!(
            cell["observed"] == "broken",
            read_by.count() > 0,
            "{cell:#}"
        );
        if cell["observed"] == "refused" {
            for attempt in attempts {
                assert!(read_no_byte(attempt), "{cell:#}");
            }
        }
    }
    assert!(run.status.success());
    Ok(())
}

#[test]
fn quic_is_attacked_in_every_way() -> Result {
    let run = matrix(&["--json", "--protocol", "mtls-quic", "--trust", "rogue-ca"])?;
    let cells = cells(&run)?;
    expect_attempts(
        cell(&cells, "A/.")?,
        &[
            ["verified by the server", "unknown-handshake"],
            ["sends the client's random", "wrong-value"],
            ["injects a Version Negotiation packet", "no connection"],
            ["injects a Retry packet", "no connection"],
        ],
    )?;
    expect_attempts(
        cell(&cells, "./A")?,
        &[
            ["plays the server", ""],
            ["changes the server's proof", ""],
            ["resets the side path", ""],
        ],
    )
}

#[test]
fn multipath_tcp_is_attacked_in_every_way_and_a_wrong_claim_about_it_is_noticed() -> Result {
    let mut typed = vec!["--json", "--protocol", "mtls-mptcp", "--trust", "rogue-ca"];
    for row in ["./.", "P-P", "A/.", "./A", "A/A", "A-A", "A-A/."] {
        typed.extend(["--attackers", row]);
    }
    if mptcp::skipped() {
        let run = matrix(&typed)?;
        assert!(run.status.success());
        let cells = cells(&run)?;
        assert!(cells.iter().all(|cell| cell["skipped"].is_string()));
        return Ok(());
    }
    typed.extend(["--expect", "rogue-ca A-A mtls-mptcp refused"]);
    let run = matrix(&typed)?;
    assert_eq!(run.status.code(), Some(1));
    let cells = cells(&run)?;
    assert_eq!(cells.len(), 7);
    for cell in &cells {
        let is_claimed = cell["attackers"] == "A-A";
        assert_eq!(cell["as_expected"], !is_claimed, "{cell:#}");
    }
    expect_attempts(
        cell(&cells, "A/.")?,
        &[
            ["with a listener of Multipath TCP", "mptcp-join-failed"],
            ["sends the client's random", "mptcp-join-failed"],
            ["in the middle, and strips MP_CAPABLE", "mptcp-fallback"],
            ["first link: strips MP_CAPABLE", "mptcp-fallback"],
            ["drops MP_PRIO", "path-mismatch"],
            ["forges bytes", "path-mismatch"],
        ],
    )?;
    expect_attempts(
        cell(&cells, "./A")?,
        &[
            ["with a listener of Multipath TCP", "mptcp-join-failed"],
            ["resets the join", "mptcp-join-failed"],
            ["cuts the second subflow", "mptcp-lossy"],
            ["changes the server's proof", "wrong-value"],
        ],
    )?;
    let broken = cell(&cells, "A-A")?;
    assert_eq!(broken["observed"], "broken", "{broken:#}");
    let third = cell(&cells, "A-A/.")?;
    assert_eq!(third["attempts"], Value::Array(Vec::new()));
    assert!(third["skipped"].is_string() && third["observed"].is_null());
    Ok(())
}

#[test]
fn a_wrong_claim_is_noticed_and_shown_with_what_happened() -> Result {
    let run = matrix(&[
        "--trust",
        "rogue-ca",
        "--protocol",
        "mtls-exporter",
        "--expect",
        "rogue-ca A-A mtls-exporter refused",
        "--expect",
        "rogue-ca A/. mtls-exporter protected",
    ])?;
    assert_eq!(run.status.code(), Some(1));
    let shown = String::from_utf8(run.stdout)?;
    for expected in [
        "rogue-ca A-A mtls-exporter: expected refused, observed broken",
        "read [\"session=canary-of-the-client\", \"canary-of-the-server\"]",
        "rogue-ca A/. mtls-exporter: expected protected, observed refused",
        "client: intercepted: ",
        "2 of 16 cells are not as expected",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    Ok(())
}

#[test]
fn programs_and_pages_are_told_of_a_difference_too() -> Result {
    let typed = [
        "--protocol",
        "tls",
        "--trust",
        "honest-cas",
        "--expect",
        "honest-cas A/A tls broken",
    ];
    let run = matrix(&[&typed[..], &["--json"]].concat())?;
    assert_eq!(run.status.code(), Some(1));
    let wrong = cells(&run)?;
    let wrong = wrong.iter().filter(|cell| cell["as_expected"] == false);
    assert_eq!(wrong.count(), 1);

    let run = matrix(&[&typed[..], &["--markdown"]].concat())?;
    assert_eq!(run.status.code(), Some(1));
    let page = String::from_utf8(run.stdout)?;
    assert!(page.contains("| Attackers | | TLS |"), "{page}");
    assert!(page.contains("refused (expected: **broken**)"), "{page}");
    Ok(())
}

#[test]
fn a_claim_about_nothing_is_refused() -> Result {
    for (claim, code) in [
        ("rogue-ca A-A tls refused", 1),
        ("rogue-ca X-X smkex refused", 2),
        ("rogue-ca A-A smkex", 2),
    ] {
        let run = matrix(&["--protocol", "smkex", "--expect", claim])?;
        assert_eq!(run.status.code(), Some(code), "{claim}");
        let said = String::from_utf8(run.stderr)?;
        assert!(said.contains("--expect"), "{said}");
    }
    Ok(())
}
