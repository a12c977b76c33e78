//! `check`: the verdict for people and for programs.

use std::collections::BTreeSet;

use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::lab::{Lab, Run, has, program};

const KEYS: [&str; 14] = [
    "age_s",
    "association",
    "binding",
    "independence",
    "method",
    "origin",
    "paths",
    "proves",
    "reason",
    "schema",
    "target",
    "times_ms",
    "tls",
    "verdict",
];

const PATH_KEYS: [&str; 14] = [
    "error",
    "independence",
    "inside",
    "interface",
    "local",
    "mptcp",
    "peer",
    "resolver",
    "result",
    "resumed",
    "reused",
    "role",
    "same_key",
    "via",
];

fn keys(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_verified_connection_has_every_key() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let run = lab.check(&["--json", &site]).await.exits_with(0);
    let lines = run.json();
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(keys(line), BTreeSet::from(KEYS));
    assert_eq!(line["schema"], 1);
    assert_eq!(line["target"], site);
    assert_eq!(line["verdict"], "verified");
    assert_eq!(line["binding"], "exporter");
    assert_eq!(line["method"], "side");
    assert_eq!(line["proves"], "same-handshake");
    assert_eq!(line["association"].as_str().map(str::len), Some(32));
    assert_eq!(line["reason"], Value::Null);
    assert_eq!(line["origin"], Value::Null, "nothing is inherited");
    assert_eq!(line["age_s"], Value::Null);
    assert!(["same", "unknown"].contains(&line["independence"].as_str().expect("a word")));
    for (path, role) in line["paths"]
        .as_array()
        .expect("paths")
        .iter()
        .zip(["primary", "side"])
    {
        assert_eq!(path["role"], role);
        assert_eq!(keys(path), BTreeSet::from(PATH_KEYS));
        assert_eq!(path["via"], "direct");
        assert_eq!(path["peer"], site);
        assert!(
            path["local"]
                .as_str()
                .is_some_and(|local| local.starts_with("127.0.0.1:"))
        );
    }
    assert_eq!(line["tls"]["version"], "TLSv1.3");
    assert_eq!(line["tls"]["alpn"], "h2");
    assert_eq!(line["tls"]["handshake"], "full");
    let chain = line["tls"]["peer_chain_sha256"]
        .as_array()
        .expect("a chain");
    assert_eq!(chain.len(), lab.pki.server.chain_der().len());
    let times = &line["times_ms"];
    let ms = |name: &str| times[name].as_f64().expect("a time");
    assert!(ms("connected") <= ms("tls") && ms("tls") <= ms("verdict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_failure_has_the_same_keys_and_a_message() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let closed = crate::lab::closed_port().await.to_string();
    let mut expected = BTreeSet::from(KEYS);
    expected.insert("message");
    for (typed, code, verdict, reason) in [
        (vec![closed.as_str()], 7, "error", "could-not-connect"),
        (vec!["nonexistent.invalid"], 6, "error", "could-not-resolve"),
        (
            vec!["--side-endpoint", &closed, &site],
            111,
            "unverified",
            "side-unreachable",
        ),
    ] {
        let run = lab
            .check(&[&["--json"], &typed[..]].concat())
            .await
            .exits_with(code);
        let line = &run.json()[0];
        assert_eq!(keys(line), expected);
        assert_eq!(line["verdict"], verdict);
        assert_eq!(line["reason"], reason);
        assert_eq!(line["binding"], Value::Null);
        let path = &line["paths"][0];
        assert_eq!(path["role"], "primary");
        assert_eq!(keys(path), BTreeSet::from(PATH_KEYS));
        let message = line["message"].as_str().expect("a message");
        assert!(run.stderr.contains(message), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_writes_its_verdict_in_addition_to_a_file() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let file = lab.path("page");
    let url = format!("https://{site}/");
    let run = lab.get(&["--json", "-o", &file, &url]).await.exits_with(0);
    assert_eq!(run.json()[0]["verdict"], "verified");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), crate::site::PAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binding_can_be_chosen() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    for binding in ["exporter", "hello"] {
        let run = lab
            .check(&["--json", "--binding", binding, &site])
            .await
            .exits_with(0);
        assert_eq!(run.json()[0]["binding"], binding);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_for_people_names_everything_and_has_no_colours_in_a_pipe() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let url = format!("https://{site}/some/page");
    let run = lab.check(&["-s", &url]).await.exits_with(0);
    let report = run.stdout;
    assert!(
        report.starts_with(&format!("VERIFIED  {site}\n")),
        "{report}"
    );
    for words in [
        "exporter", "primary", "side 1", "→", "TLSv1.3", "verified", " ms",
    ] {
        assert!(report.contains(words), "no `{words}` in:\n{report}");
    }
    assert!(!report.contains('\x1b'));
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_without_no_color() {
    if !has("script") {
        return;
    }
    let mut lab = Lab::new();
    let site = lab.site().await;
    let words = [
        env!("CARGO_BIN_EXE_mtls-client"),
        "check",
        "--deadline",
        "30s",
        "--cacert",
        &lab.ca(),
    ];
    let typed = format!("{} {site}", words.join(" "));
    for (value, coloured) in [("", true), ("1", false)] {
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &typed, "/dev/null"]);
        script.env("TERM", "xterm").env("NO_COLOR", value);
        let run = Run::of(script).await.exits_with(0);
        assert!(run.stdout.contains("VERIFIED"), "{}", run.stdout);
        assert_eq!(run.stdout.contains('\x1b'), coloured, "{}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roots_of_the_system_can_be_chosen() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    // The file that rustls-native-certs reads as the system's roots.
    let mut command = program();
    command
        .args(["check", "--system-roots", &site])
        .env("SSL_CERT_FILE", lab.ca());
    Run::of(command).await.exits_with(0);
    let mut command = program();
    command
        .args(["check", &site])
        .env("SSL_CERT_FILE", lab.ca());
    Run::of(command).await.exits_with(60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_requires_verification_accepts_a_check() {
    let lab = Lab::new();
    let config = crate::lab::server_config(&lab.pki.server, &[b"http/1.1"]);
    let acceptor = MultipathAcceptor::builder(config, crate::lab::patient_server(Policy::Require))
        .build()
        .expect("an acceptor");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let site = tcp.local_addr().expect("an address").to_string();
    let mut listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    let typed = [site.as_str()];
    for _ in 0..5 {
        let accepted = async {
            let (mut stream, _) = listener.accept().await;
            let mut nothing = Vec::new();
            stream
                .read_to_end(&mut nothing)
                .await
                .expect("an end in order");
            (stream.verdict(), nothing)
        };
        let (run, (verdict, received)) = tokio::join!(lab.check(&typed), accepted);
        run.exits_with(0);
        assert!(verdict.verified().is_some());
        assert_eq!(received, b"", "a check sends nothing");
    }
}
