//! Three servers, two Redis engines and HAProxy as real processes (`mtls-lab fleet`).
//!
//! Without `redis-server` or `haproxy` on the path the test is skipped, with a message.

use std::process::Command;

use serde_json::Value;

#[test]
fn real_processes_verify_every_client_detect_every_attack_and_survive_a_dead_engine() {
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-lab"))
        .args(["fleet", "--json", "--connections", "200", "--faulty", "200"])
        .args(["--clients", "8", "no-fault", "one-engine-killed"])
        .output()
        .expect("to run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    if errors.contains("SKIPPED") {
        eprintln!("SKIPPED: {errors}");
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [healthy, killed] = [0, 1].map(|index| &report["scenarios"][index]);
    assert_eq!(healthy["verified"], 190, "{report}");
    assert_eq!(healthy["attacks_detected"], 10, "{report}");
    for row in [healthy, killed] {
        assert_eq!(row["false_alarms"], 0, "{report}");
        assert_eq!(row["wrong_verdicts"], 0, "{report}");
    }
}
