//! Known hosts of the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::{Running, Way, curl};
use crate::lab::{Lab, PATIENCE, Run, Whose, eventually, has};
use crate::site::PAGE;

const LIE: &str = "hello from the attacker\n";

/// A TLS server that answers a side connection with silence, and counts its connections.
async fn silent_on_the_side(lab: &mut Lab) -> (SocketAddr, Arc<AtomicUsize>) {
    let (tls, _) = lab.plain_tls(Whose::Server, PAGE).await;
    lab.counting_relay(tls, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_waited_for_once_and_gets_no_further_side_connection() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let (server, count) = silent_on_the_side(&mut lab).await;
    let (ca, file, url) = (
        lab.ca(),
        lab.path("hosts.json"),
        format!("https://{server}/"),
    );
    let proxy = Running::with(&["--known-hosts", &file, "--deadline", PATIENCE]).await;
    for _ in 0..3 {
        let run = proxy.curl(Way::Http, &["-sS", "--cacert", &ca, &url]).await;
        assert_eq!(run.exits_with(0).stdout, PAGE);
    }
    assert_eq!(
        count.load(Ordering::Relaxed),
        4,
        "three tunnels and one side connection"
    );
    let connections = proxy.connections(3).await;
    let mut reasons: Vec<_> = connections
        .iter()
        .map(|one| one["verification"]["reason"].clone())
        .collect();
    reasons.sort_by_key(ToString::to_string);
    assert_eq!(
        reasons,
        ["known-unsupported", "known-unsupported", "no-greeting"]
    );
    // A rule of the user's still applies.
    let strict = [
        "--known-hosts",
        &file,
        "--deadline",
        PATIENCE,
        "--require",
        "127.0.0.1",
    ];
    let strict = Running::with(&strict).await;
    let run = strict
        .curl(Way::Http, &["-sS", "--cacert", &ca, &url])
        .await;
    assert_ne!(run.code, 0);
    let count = || count.load(Ordering::Relaxed);
    eventually("a tunnel and a side connection", || count() >= 6).await;
    assert_eq!(count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_host_is_refused_without_verification_also_by_its_name_in_the_hello() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let port = lab.site().await.port();
    let listener = TcpListener::bind(("127.0.0.2", port))
        .await
        .expect("a port");
    let (_, read) = lab.plain_tls_on(listener, Whose::Rogue, LIE);
    let (cas, file) = (lab.both_cas(), lab.path("hosts.json"));
    let url = format!("https://server.test:{port}/");
    let resolve = |ip: &str| format!("server.test:{port}:{ip}");
    let known = ["--known-hosts", &file];
    let (honest, attacked) = (resolve("127.0.0.1"), resolve("127.0.0.2"));
    let fetch = ["-sS", "--cacert", &cas, &url];
    // The attack works against a host that is not known.
    let proxy = Running::with(&["--no-known-hosts", "--resolve", &attacked]).await;
    let run = proxy.curl(Way::Http, &fetch).await;
    assert_eq!(run.exits_with(0).stdout, LIE);
    let proxy = Running::with(&[&known[..], &["--remember", "--resolve", &honest]].concat()).await;
    let run = proxy.curl(Way::Http, &fetch).await;
    assert_eq!(run.exits_with(0).stdout, PAGE);
    read.store(0, Ordering::Relaxed);
    let proxy = Running::with(&[&known[..], &["--resolve", &attacked]].concat()).await;
    for way in [Way::Http, Way::Socks] {
        assert_ne!(proxy.curl(way, &fetch).await.code, 0);
    }
    // Curl resolves the name itself, so the proxy receives an address.
    let mut by_address = curl();
    by_address.args([
        "--socks5",
        &proxy.address.to_string(),
        "--resolve",
        &attacked,
    ]);
    by_address.args(fetch);
    assert_ne!(Run::of(by_address).await.code, 0);
    assert_eq!(
        read.load(Ordering::Relaxed),
        0,
        "bytes that the attacker has read"
    );
    for one in proxy.connections(3).await {
        let text = one["explanation"].as_str().expect("an explanation");
        assert!(
            text.contains(&format!("hosts forget server.test:{port}")),
            "{one}"
        );
    }
    // Another name of the attacker's is as it was.
    let other = format!("https://127.0.0.2:{port}/");
    let run = proxy.curl(Way::Http, &["-sSk", &other]).await;
    assert_eq!(run.exits_with(0).stdout, LIE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_refuses_every_connection_and_is_reported() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let site = lab.site().await;
    let (ca, file, url) = (lab.ca(), lab.path("hosts.json"), format!("https://{site}/"));
    let proxy = Running::with(&["--known-hosts", &file, "-v"]).await;
    let run = proxy.curl(Way::Http, &["-sS", "--cacert", &ca, &url]).await;
    run.exits_with(0);
    std::fs::write(&file, "{").expect("to write");
    let run = proxy.curl(Way::Http, &["-sS", "--cacert", &ca, &url]).await;
    assert_ne!(run.code, 0);
    proxy.says("known hosts unusable").await;
}
