//! `paths`: the ways out of this machine, tried against servers on the loopback. Two real ways
//! take network namespaces: those tests are in the package `mtls-lab`.

use serde_json::Value;

use crate::lab::{Lab, PATIENCE, Run, Whose, closed_port};
use crate::site::PAGE;

/// The object that `paths --json` writes.
#[track_caller]
fn findings(run: &Run) -> Value {
    let mut lines = run.json();
    assert_eq!(lines.len(), 1, "{}", run.stdout);
    lines.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interfaces_of_this_machine_are_listed() {
    let lab = Lab::new();
    let run = lab.run(["paths", "--json"]).await.exits_with(0);
    let found = findings(&run);
    assert_eq!(found["schema"], 1);
    let interfaces = found["interfaces"].as_array().expect("interfaces");
    let loopback = interfaces.iter().find(|one| one["name"] == "lo");
    let loopback = loopback.expect("a loopback interface");
    assert_eq!(loopback["kind"], "loopback");
    assert_eq!(loopback["state"], "up");
    let addresses = loopback["addresses"].as_array().expect("addresses");
    assert!(addresses.contains(&"127.0.0.1/8".into()), "{addresses:?}");
    // It leads nowhere else.
    for way in found["candidates"].as_array().expect("candidates") {
        assert_ne!(way["interface"], "lo", "{way}");
    }

    let run = lab.run(["paths"]).await.exits_with(0);
    for words in ["Interfaces", "127.0.0.1/8", "loopback", "meet later"] {
        assert!(run.stdout.contains(words), "no `{words}`:\n{}", run.stdout);
    }
    assert!(!run.stdout.contains('\u{1b}'), "no colours in a pipe");
    assert_eq!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_verifier_is_distinguished_from_other_servers() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let (plain, _) = lab.plain_tls(Whose::Server, PAGE).await;
    let closing = lab.listen(|stream| async move { drop(stream) }).await;
    let imitator = lab.answering(b"MTLS/2\r\n").await;
    let silent = lab.silent().await;
    for (target, expected, code) in [
        (site, "greets", 0),
        (plain.to_string(), "other-protocol", 112),
        (imitator.to_string(), "other-protocol", 112),
        (closing.to_string(), "closes", 112),
        (silent.to_string(), "silent", 112),
    ] {
        let typed = ["paths", "--deadline", PATIENCE, "--json"];
        let typed = [&typed[..], &["--side", "src:127.0.0.2", &target]].concat();
        let run = lab.run(typed).await.exits_with(code);
        let paths = &findings(&run)["paths"];
        assert_eq!(paths[0]["role"], "primary");
        assert_eq!(paths[1]["role"], "side");
        assert_eq!(paths[1]["side_verifier"], expected, "{target}");
        if code != 0 {
            run.mentions(&["src:127.0.0.2", "--side-endpoint"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_is_shown_with_its_ends_and_the_time_of_a_handshake() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let sides = ["--side", "src:127.0.0.3", "--side", "direct"];
    let typed = [
        &["paths", "--json", "--primary", "src:127.0.0.2"],
        &sides[..],
        &[&site],
    ];
    let run = lab.run(typed.concat()).await.exits_with(0);
    let found = findings(&run);
    assert_eq!(found["target"], site);
    let expected = [
        ("src:127.0.0.2", "127.0.0.2"),
        ("src:127.0.0.3", "127.0.0.3"),
        ("direct", "127.0.0.1"),
    ];
    for (path, (spec, source)) in found["paths"]
        .as_array()
        .expect("paths")
        .iter()
        .zip(expected)
    {
        assert_eq!(
            (path["path"].as_str(), path["source"].as_str()),
            (Some(spec), Some(source))
        );
        assert_eq!(path["interface"], "lo");
        assert_eq!(path["peer"], site);
        assert!(
            path["local"]
                .as_str()
                .expect("an address")
                .starts_with(source)
        );
        assert!(path["rtt_ms"].as_f64().expect("a time") > 0.0);
        assert_eq!(path["next_hop"]["gateway"], Value::Null);
        assert_eq!(path["error"], Value::Null);
    }
    let pairs = found["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 3);
    for pair in pairs {
        assert_eq!(pair["independence"], "same-interface-other-source");
        assert_eq!(pair["really_different"], false);
    }
    assert_eq!(found["suggestion"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_a_second_path_and_the_suggested_command_works() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let proxy = format!("http://{}", lab.proxy().await);
    let typed = ["paths", "--require-independent", "--side", &proxy, &site];
    let json = lab
        .run([&typed[..], &["--json"]].concat())
        .await
        .exits_with(0);
    let found = findings(&json);
    assert_eq!(found["pairs"][0]["independence"], "proxied");
    assert_eq!(found["pairs"][0]["really_different"], true);
    assert_eq!(found["paths"][1]["proxy"], proxy["http://".len()..]);
    let suggestion = found["suggestion"].as_str().expect("a suggestion");
    let mut words = suggestion.split(' ');
    assert_eq!(words.next(), Some("mtls-client"));
    assert_eq!(words.next(), Some("check"));
    let words: Vec<_> = words.collect();
    lab.check(&words).await.exits_with(0);

    let run = lab.run(typed).await.exits_with(0);
    for words in [
        suggestion,
        "(proxy)",
        "proxied",
        "greets",
        "not known from here",
    ] {
        assert!(run.stdout.contains(words), "no `{words}`:\n{}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_do_not_reach_the_target_are_listed_with_the_others() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let closed = format!("socks5h://{}", closed_port().await);
    let sides = [
        "--side",
        &closed,
        "--side",
        "if:none0",
        "--side",
        "src:127.0.0.2",
    ];
    let typed = [&["paths"][..], &sides, &[&site]].concat();
    let run = lab.run(&typed).await.exits_with(111);
    let run = run.mentions(&[&closed, "if:none0", "check that it exists"]);
    assert!(run.stdout.contains("failed: "), "{}", run.stdout);
    assert!(run.stdout.contains("greets"), "{}", run.stdout);
    // The primary path's failure counts more, and the others are tried all the same.
    let closed = closed_port().await.to_string();
    let typed = [
        "paths",
        "--json",
        "--side-endpoint",
        &site,
        "--side",
        "direct",
        &closed,
    ];
    let run = lab.run(typed).await.exits_with(7);
    let run = run.mentions(&["primary path `direct`"]);
    let found = findings(&run);
    assert_eq!(found["paths"][1]["side_verifier"], "greets");
    assert!(found["paths"][0]["error"].is_string());
    assert_eq!(found["suggestion"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn require_independent_with_identical_paths_is_111() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    for more in [&["--side", "src:127.0.0.2"][..], &[]] {
        let typed = [&["paths", "--require-independent"], more, &[&site]].concat();
        let run = lab.run(typed).await.exits_with(111);
        run.mentions(&["independent", "--side if:NAME"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_side_verifier_may_have_another_address() {
    let mut lab = Lab::new();
    let (plain, _) = lab.plain_tls(Whose::Server, PAGE).await;
    let (plain, real) = (plain.to_string(), lab.site().await.to_string());
    let typed = [
        "paths",
        "--json",
        "--side",
        "direct",
        "--side-endpoint",
        &real,
        &plain,
    ];
    let run = lab.run(typed).await.exits_with(0);
    let paths = &findings(&run)["paths"];
    assert_eq!(
        (&paths[0]["peer"], &paths[1]["peer"]),
        (&plain.into(), &real.into())
    );
    assert_eq!(paths[0]["side_verifier"], Value::Null, "not tested there");
    assert_eq!(paths[1]["side_verifier"], "greets");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_of_an_address_applies_to_tested_paths_too() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let resolve = format!("server.test:{}:127.0.0.1", site.port());
    let target = format!("server.test:{}", site.port());
    let typed = [
        "paths",
        "--json",
        "--resolve",
        &resolve,
        "--side",
        "src:127.0.0.2",
        &target,
    ];
    let run = lab.run(typed).await.exits_with(0);
    for path in findings(&run)["paths"].as_array().expect("paths") {
        assert_eq!(path["peer"], site.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_without_their_target_are_refused() {
    let lab = Lab::new();
    for (typed, expected) in [
        (&["paths", "--side", "direct"][..], "TARGET"),
        (&["paths", "--primary", "direct"], "TARGET"),
        (&["paths", "--require-independent"], "TARGET"),
        (&["paths", "--all", "a.test"], "--side"),
        (&["paths", "--side", "eth0", "a.test"], "if:NAME"),
        (&["paths", "http://a.test/"], "https"),
        (&["paths", "--deadline", "0s"], "at least 1ms"),
    ] {
        let run = lab.run(typed).await.exits_with(2).mentions(&[expected]);
        assert_eq!(run.stdout, "", "{typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_paths_ends_at_its_time_limit() {
    let mut lab = Lab::new();
    let silent = lab.silent().await.to_string();
    let typed = ["paths", "--deadline", "1h", "--max-time", "500ms", &silent];
    let run = lab.run(typed).await.exits_with(28);
    run.mentions(&["--max-time", &silent]);
}
