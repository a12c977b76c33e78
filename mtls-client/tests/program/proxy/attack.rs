//! A man in the middle of the primary path, with a certificate that the program behind the proxy trusts.

use std::sync::atomic::Ordering;

use super::{Running, WAYS, curl};
use crate::lab::{Lab, Run, Whose, has};

const LIE: &str = "hello from the attacker\n";

#[tokio::test(flavor = "multi_thread")]
async fn curl_alone_reads_the_attackers_page_and_through_the_proxy_the_attacker_reads_nothing() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let real = lab.site().await.port();
    let url = format!("https://localhost:{real}/");
    let (attacker, read) = lab.plain_tls(Whose::Rogue, LIE).await;
    let network = format!("http://{}", lab.hostile_network(attacker, real).await);
    let (cas, dir) = (lab.both_cas(), lab.path("evidence"));

    let mut alone = curl();
    alone.args(["--cacert", &cas, "-x", &network, &url]);
    assert_eq!(Run::of(alone).await.exits_with(0).stdout, LIE);
    assert!(read.swap(0, Ordering::Relaxed) > 0);

    for policy in ["prefer", "require"] {
        let proxy = Running::with(&[
            "--policy",
            policy,
            "--primary",
            &network,
            "--side",
            "direct",
            "--evidence-dir",
            &dir,
        ])
        .await;
        for way in WAYS {
            let run = proxy
                .curl(way, &["--cacert", &cas, &url])
                .await
                .exits_with(35);
            assert_eq!(run.stdout, "");
        }
        assert_eq!(
            read.load(Ordering::Relaxed),
            0,
            "bytes that the attacker has read"
        );
        proxy.says("*** INTERCEPTION DETECTED: localhost:").await;
        proxy.says("issuer CN=Multipath TLS test CA").await;
        proxy.says_times("Certificates saved", 2).await;
        let seen = proxy.connections(2).await;
        for one in &seen {
            assert_eq!(one["kind"], "intercepted");
            assert_eq!(one["verification"]["reason"], "unknown-handshake");
            assert_eq!(one["bytes"]["to_client"], 0);
        }
    }
    let files = std::fs::read_dir(&dir).expect("evidence");
    let mut kinds: Vec<_> = files
        .map(|file| file.expect("a file").path())
        .filter_map(|path| path.extension()?.to_str().map(str::to_owned))
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [&["json"; 8][..], &["pem"; 4]].concat());
    let listed = lab.run(["evidence", "list", "--json", &dir]).await;
    let listed = listed.exits_with(0).json();
    assert_eq!(listed.len(), 8);
    let look = listed.iter().filter_map(|line| line["file"].as_str());
    let look: Vec<_> = look.filter(|file| file.contains("second-look")).collect();
    let look = format!("{dir}/{}", look[0]);
    let verified = lab
        .run(["evidence", "verify", "--cacert", &cas, &look])
        .await;
    let verified = verified.exits_with(0).stdout;
    assert!(verified.contains("second-look: the key of"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_can_be_downloaded_from_the_page() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let real = lab.site().await.port();
    let url = format!("https://localhost:{real}/");
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let network = format!("http://{}", lab.hostile_network(attacker, real).await);
    let proxy = Running::with(&["--primary", &network, "--side", "direct"]).await;
    proxy
        .curl(super::Way::Http, &["--cacert", &lab.both_cas(), &url])
        .await
        .exits_with(35);
    proxy.presented().await;
    let evidence = proxy.json("/evidence/0.json").await;
    assert_eq!(evidence["reason"], "unknown-handshake");
    assert_eq!(evidence["connection"]["paths"][0]["via"], network.as_str());
    let leaf = &evidence["second_look"]["chain"][0]["pem"];
    let rogue = lab.pki.rogue.chain_pem();
    assert!(rogue.starts_with(leaf.as_str().expect("a certificate")));
    let pem = proxy
        .ask("GET /evidence/0.pem HTTP/1.1\r\nHost: localhost\r\n")
        .await;
    let (head, pem) = pem.split_once("\r\n\r\n").expect("a response");
    assert!(
        head.contains("attachment; filename=\"interception-0.pem\""),
        "{head}"
    );
    assert_eq!(pem, rogue);
    for nothing in [
        "/evidence/1.json",
        "/evidence/0.txt",
        "/evidence/x",
        "/evidence/",
    ] {
        let output = proxy
            .ask(&format!("GET {nothing} HTTP/1.1\r\nHost: localhost\r\n"))
            .await;
        assert!(output.starts_with("HTTP/1.1 404 "), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_accepts_an_interception_with_an_alarm() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let real = lab.site().await.port();
    let url = format!("https://localhost:{real}/");
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let network = format!("http://{}", lab.hostile_network(attacker, real).await);
    let proxy = Running::with(&[
        "--policy",
        "observe",
        "--primary",
        &network,
        "--side",
        "direct",
    ])
    .await;
    let typed = ["--cacert", &lab.both_cas(), &url];
    let run = proxy.curl(super::Way::Http, &typed).await.exits_with(0);
    assert_eq!(run.stdout, LIE);
    proxy.says("INTERCEPTION DETECTED").await;
    proxy.says("data sent is not secret").await;
}
