//! Honest and hostile clients of real processes (`mtls-lab soak`), bounded by a number of connections.
//!
//! Without `setpriv` on the path the test is skipped, and without `redis-server` the fleet, with a message.

use std::process::Command;

use serde_json::Value;

#[test]
fn real_processes_under_attack_keep_every_verdict_right_and_return_what_they_took() {
    // No limit of times: this machine may be busy with other tests.
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-lab"))
        .args(["soak", "--warm-up", "8", "--connections", "216"])
        .args(["--factor", "0", "--json"])
        .output()
        .expect("to run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    if errors.contains("SKIPPED") {
        eprintln!("SKIPPED: {errors}");
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let has_fleet = report["skipped"].is_null();
    if !has_fleet {
        eprintln!("SKIPPED: {}", report["skipped"]);
    }
    let honest = report["honest"].as_array().expect("a list");
    assert_eq!(honest.len(), if has_fleet { 27 } else { 25 }, "{report}");
    let right = honest.iter().filter_map(|kind| kind["right"].as_u64());
    assert!(right.clone().all(|right| right > 0), "{report}");
    assert_eq!(right.sum::<u64>(), 216, "{report}");
    let services = report["services"].as_array().expect("a list");
    assert_eq!(services.len(), if has_fleet { 8 } else { 4 }, "{report}");
    assert!(
        report["certificate_renewals"].as_u64() > Some(0),
        "{report}"
    );
    let attacks = report["attacks"].as_object().expect("an object");
    assert_eq!(attacks.len(), 10, "{report}");
    for (title, attack) in attacks {
        assert!(attack["completed"].as_u64() > Some(0), "{title}: {report}");
        assert_eq!(attack["faults"], 0, "{title}: {report}");
    }
}
