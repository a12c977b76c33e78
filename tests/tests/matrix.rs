//! The program `mtls-lab matrix`: every cell attacked, and wrong claims noticed.

use std::process::{Command, Output};

use mtls_lab::Result;
use serde_json::Value;

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

/// The secrets that attackers read in an attempt.
fn secrets(attempt: &Value) -> Vec<&Value> {
    let attackers = attempt["attackers"].as_array();
    let secrets = attackers.into_iter().flatten();
    secrets
        .filter_map(|haul| haul["secrets"].as_array())
        .flatten()
        .collect()
}

#[test]
fn every_cell_is_what_the_threat_model_says() -> Result {
    let run = matrix(&["--json"])?;
    let cells = cells(&run)?;
    assert_eq!(cells.len(), 384);
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
    }
    assert!(run.status.success());
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
