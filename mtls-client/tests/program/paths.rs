//! Paths: sources, families, overrides and independence.

use crate::lab::Lab;
use crate::site::PAGE;

#[tokio::test(flavor = "multi_thread")]
async fn two_source_addresses_are_two_paths() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let typed = [
        "--primary",
        "src:127.0.0.2",
        "--side",
        "src:127.0.0.3",
        "--json",
        &site,
    ];
    let run = lab.check(&typed).await.exits_with(0);
    let line = &run.json()[0];
    let expected = [("primary", "src:127.0.0.2"), ("side", "src:127.0.0.3")];
    for (path, (role, via)) in line["paths"]
        .as_array()
        .expect("paths")
        .iter()
        .zip(expected)
    {
        assert_eq!(
            (path["role"].as_str(), path["via"].as_str()),
            (Some(role), Some(via))
        );
        let local = path["local"].as_str().expect("an address");
        assert!(local.starts_with(&via["src:".len()..]), "{local}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_not_independent_cause_a_warning_with_the_remedy() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let run = lab.check(&[&site]).await.exits_with(0);
    let run = run.mentions(&["warning", "--side if:NAME"]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    let run = lab.check(&["-s", &site]).await.exits_with(0);
    assert_eq!(run.stderr, "");
    let run = lab
        .check(&["--require-independent", "--json", &site])
        .await
        .exits_with(111);
    let run = run.mentions(&["another network"]);
    assert_eq!(run.json()[0]["reason"], "not-independent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_makes_a_path_independent() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let proxy = format!("http://{}", lab.proxy().await);
    let typed = ["--require-independent", "--side", &proxy, "--json", &site];
    let run = lab.check(&typed).await.exits_with(0);
    assert_eq!(run.stderr, "", "nothing to warn of");
    assert_eq!(run.json()[0]["independence"], "proxied");
    assert_eq!(run.json()[0]["paths"][1]["via"], proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_is_a_path() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let run = lab.check(&["--side", "if:lo", "--json", &site]).await;
    if ["not permitted", "cannot bind"]
        .iter()
        .any(|words| run.stderr.contains(words))
    {
        println!("skipped: {}", run.stderr);
        return;
    }
    assert_eq!(run.json()[0]["paths"][1]["interface"], "lo");
    run.exits_with(0);
    let run = lab
        .check(&["--side", "if:none0", &site])
        .await
        .exits_with(111);
    run.mentions(&["none0", "check that it exists"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_side_paths_must_verify() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let two = [
        "--side",
        "src:127.0.0.2",
        "--side",
        "src:127.0.0.3",
        "--json",
        &site,
    ];
    let run = lab.check(&two).await.exits_with(0);
    assert_eq!(run.json()[0]["paths"].as_array().map(Vec::len), Some(3));
    let closed = format!("http://{}", crate::lab::closed_port().await);
    let run = lab
        .check(&["--side", "direct", "--side", &closed, &site])
        .await
        .exits_with(111);
    run.mentions(&["side path 2", &closed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_applies_to_every_path() {
    let mut lab = Lab::new();
    let port = lab.site().await.port();
    let typed = format!("server.test:{port}:127.0.0.1");
    let url = format!("https://server.test:{port}/");
    for side in ["direct", "src:127.0.0.2"] {
        let run = lab
            .get(&["-s", "--resolve", &typed, "--side", side, &url])
            .await;
        assert_eq!(run.exits_with(0).stdout, PAGE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_uses_the_address_of_its_own_family() {
    let mut lab = Lab::new();
    let Some(port) = lab.site_of_both_families().await else {
        println!("skipped: this host has no IPv6 loopback");
        return;
    };
    let resolve = format!("server.test:{port}:127.0.0.1,[::1]");
    let target = format!("server.test:{port}");
    let paths = ["--primary", "src:::1", "--side", "src:127.0.0.1"];
    let typed = [&["--json", "--resolve", &resolve], &paths[..], &[&target]].concat();
    let run = lab.check(&typed).await.exits_with(0);
    let line = &run.json()[0];
    assert_eq!(line["paths"][0]["peer"], format!("[::1]:{port}"));
    assert_eq!(line["paths"][1]["peer"], format!("127.0.0.1:{port}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_a_proxy_is_never_shown() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let closed = crate::lab::closed_port().await;
    let side = format!("http://user:hunter2@{closed}");
    for more in [&["--json"][..], &["-vv"]] {
        let run = lab
            .check(&[more, &["--side", &side, &site]].concat())
            .await
            .exits_with(111);
        assert!(!(run.stdout + &run.stderr).contains("hunter2"));
    }
    let run = lab
        .check(&["--side", &format!("ftp://user:hunter2@{closed}"), &site])
        .await;
    assert!(!run.exits_with(2).stderr.contains("hunter2"));
}
