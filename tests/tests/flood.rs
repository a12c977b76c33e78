//! Floods of real processes (`mtls-lab flood`), a small part of two of them.
//!
//! Without `setpriv` on the path the test is skipped, with a message.

use std::process::Command;

use serde_json::Value;

#[test]
fn honest_clients_are_answered_during_a_flood() {
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-lab"))
        .args(["flood", "--scale", "0.005", "--json"])
        .args(["--only", "half-handshakes", "--only", "strangers-opens"])
        .output()
        .expect("to run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    if errors.contains("SKIPPED") {
        eprintln!("SKIPPED: {errors}");
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let floods = report["floods"].as_array().expect("a list");
    assert_eq!(floods.len(), 2, "{report}");
    for flood in floods {
        assert!(flood["amount"].as_u64() > Some(0), "{flood}");
        assert!(flood["honest"]["right"].as_u64() > Some(0), "{flood}");
        assert_eq!(flood["honest"]["lost"], 0, "{flood}");
        assert_eq!(flood["honest"]["wrong"], 0, "{flood}");
    }
}
