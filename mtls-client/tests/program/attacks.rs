//! A man in the middle of the primary path, with a certificate from a trusted rogue CA.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use tokio::process::Command;

use crate::lab::{Lab, Run, Whose, has};

const LIE: &str = "hello from the attacker\n";

/// The attack works against plain TLS: curl reads the attacker's page.
async fn curl_is_fooled(lab: &Lab, url: &str) {
    if has("curl") {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--noproxy",
            "*",
            "--cacert",
            &lab.path("rogue-ca.pem"),
            url,
        ]);
        let run = Run::of(curl).await.exits_with(0);
        assert_eq!(run.stdout, LIE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interception_is_110_and_the_attacker_reads_nothing() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, read) = lab.plain_tls(Whose::Rogue, LIE).await;
    let url = format!("https://{attacker}/");
    curl_is_fooled(&lab, &url).await;
    for policy in ["require", "prefer"] {
        read.store(0, Ordering::Relaxed);
        let (file, cas) = (lab.path("page"), lab.both_cas());
        let typed = [
            "get", "--policy", policy, "--cacert", &cas, "-o", &file, "-s",
        ];
        let run = lab
            .run([&typed[..], &["--side-endpoint", &real, &url]].concat())
            .await;
        let run = run.exits_with(110).mentions(&[
            "INTERCEPTION DETECTED",
            &attacker.to_string(),
            "subject",
            "issuer",
            "Multipath TLS test CA",
            "sha256",
            "--evidence-dir",
        ]);
        assert_eq!(run.stdout, "");
        assert_eq!(
            read.load(Ordering::Relaxed),
            0,
            "bytes that the attacker has read"
        );
        assert!(!std::path::Path::new(&file).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_observe_the_body_is_received_and_the_exit_status_is_110() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let (url, cas, dir) = (
        format!("https://{attacker}/"),
        lab.both_cas(),
        lab.path("evidence"),
    );
    curl_is_fooled(&lab, &url).await;
    let typed = [
        "get",
        "--policy",
        "observe",
        "--cacert",
        &cas,
        "--side-endpoint",
        &real,
        &url,
    ];
    let run = lab
        .run([&typed[..], &["--evidence-dir", &dir]].concat())
        .await
        .exits_with(110);
    let run = run.mentions(&["INTERCEPTION DETECTED", "observe", "Evidence saved"]);
    assert_eq!(run.stdout, LIE);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    // Errors that follow change nothing.
    let run = lab
        .run([&typed[..], &["-o", "/dev/full"]].concat())
        .await
        .exits_with(110);
    run.mentions(&["/dev/full"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_can_read_saved_evidence() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let (target, cas, dir) = (attacker.to_string(), lab.both_cas(), lab.path("evidence"));
    let typed = [
        "check",
        "--json",
        "--cacert",
        &cas,
        "--side-endpoint",
        &real,
        &target,
    ];
    let run = lab
        .run([&typed[..], &["--evidence-dir", &dir]].concat())
        .await
        .exits_with(110);
    let line = &run.json()[0];
    assert_eq!(line["verdict"], "intercepted");
    assert_eq!(line["reason"], "unknown-handshake");
    assert_eq!(line["paths"][1]["result"], "unknown-handshake");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&dir).expect("the evidence") {
        let path = entry.expect("a file").path();
        let mode = path.metadata().expect("a mode").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{}", path.display());
        let text = std::fs::read_to_string(&path).expect("a text");
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => {
                let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(json["target"], target);
                seen.push("json");
            }
            Some("pem") => {
                assert!(text.starts_with(lab.pki.rogue.chain_pem().trim_end().split_at(200).0));
                seen.push("pem");
            }
            _ => panic!("{}", path.display()),
        }
        assert!(!text.contains("PRIVATE KEY"));
    }
    seen.sort_unstable();
    assert_eq!(seen, ["json", "pem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_cannot_be_saved_is_reported_and_the_exit_status_stays() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let (target, cas) = (attacker.to_string(), lab.both_cas());
    let typed = ["check", "--cacert", &cas, "--side-endpoint", &real, &target];
    let run = lab
        .run([&typed[..], &["--evidence-dir", "/dev/null/no"]].concat())
        .await;
    let run = run.exits_with(110).mentions(&["NOT saved", "/dev/null/no"]);
    assert!(run.stdout.starts_with("INTERCEPTED"), "{}", run.stdout);
}

/// Mounts a file system without free space, and lists what is on it afterwards.
const FULL_DISK: &str = "\
mkdir -p \"$1\" && mount -t tmpfs -o size=8k tmpfs \"$1\" || exit 99
cat /dev/zero > \"$1/filler\" 2>/dev/null
disk=\"$1\"; shift; \"$@\"; status=$?; ls -A \"$disk\"; exit $status";

#[tokio::test(flavor = "multi_thread")]
async fn evidence_for_which_there_is_no_space_is_reported_and_leaves_no_incomplete_file() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let (cas, disk) = (lab.both_cas(), lab.path("disk"));
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", FULL_DISK, "sh", &disk]);
    command.arg(env!("CARGO_BIN_EXE_mtls-client")).arg("check");
    command.args(["--deadline", "30s"]);
    command.args(["--cacert", &cas, "--side-endpoint", &real]);
    command
        .args(["--evidence-dir", &disk])
        .arg(attacker.to_string());
    let run = Run::of(command).await;
    if [1, 99].contains(&run.code) {
        println!("skipped: no mount namespaces without root");
        return;
    }
    let run = run
        .exits_with(110)
        .mentions(&["NOT saved", "No space left"]);
    assert!(run.stdout.starts_with("INTERCEPTED"), "{}", run.stdout);
    // The list of files follows the output of the program.
    assert!(run.stdout.contains("\nfiller\n"), "{}", run.stdout);
    assert!(!run.stdout.contains("interception-"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interception_is_worse_than_every_other_target() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let closed = crate::lab::closed_port().await.to_string();
    let (target, cas) = (attacker.to_string(), lab.both_cas());
    let typed = [
        "check",
        "--cacert",
        &cas,
        "--side-endpoint",
        &real,
        &target,
        &closed,
        &real,
    ];
    let run = lab.run(typed).await.exits_with(110);
    assert!(run.stdout.contains("\nVERIFIED"), "{}", run.stdout);
}
