//! Curl behind the proxy: what passes, and what is refused with which words.

use super::{Running, WAYS, Way};
use crate::lab::{Lab, Whose, closed_port, has};
use crate::site::PAGE;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_multipath_server_are_verified_over_both_protocols_and_http_versions() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let url = format!("https://localhost:{}/", lab.site().await.port());
    let proxy = Running::with(&["--policy", "require", "-v"]).await;
    for way in WAYS {
        for version in ["--http1.1", "--http2"] {
            let run = proxy
                .curl(way, &["--cacert", &lab.ca(), version, &url])
                .await;
            assert_eq!(run.exits_with(0).stdout, PAGE);
        }
    }
    let seen = proxy.connections(4).await;
    for one in &seen {
        assert_eq!(one["kind"], "verified");
        assert_eq!(one["verification"]["binding"], "hello");
        assert_eq!(one["server_name"], "localhost");
    }
    assert_eq!(seen[1]["verification"]["paths"][1]["reused"], true);
    proxy.says("VERIFIED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_bodies_pass_whole_both_ways() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let url = format!("https://localhost:{}", lab.site().await.port());
    let proxy = Running::with(&["--policy", "require"]).await;
    let (sent, got) = (lab.path("sent"), lab.path("got"));
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&sent, &body).expect("to write");
    for version in ["--http1.1", "--http2"] {
        let upload = format!("@{sent}");
        let mirror = format!("{url}/mirror");
        let typed = [
            "--cacert",
            &lab.ca(),
            version,
            "--data-binary",
            &upload,
            "-o",
            &got,
            &mirror,
        ];
        proxy.curl(Way::Http, &typed).await.exits_with(0);
        assert!(std::fs::read(&got).expect("a body") == body, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_servers_are_accepted_with_a_warning_under_prefer_and_refused_under_require() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let (plain, _) = lab.plain_tls(Whose::Server, "plain").await;
    let urls = [
        format!("https://localhost:{}/", plain.port()),
        format!("https://127.0.0.1:{}/", plain.port()),
    ];
    let ca = lab.ca();
    let proxy = Running::with(&["--require", "localhost", "-v"]).await;
    let refused = proxy.curl(Way::Http, &["--cacert", &ca, &urls[0]]).await;
    assert_eq!(refused.exits_with(35).stdout, "");
    let passed = proxy.curl(Way::Http, &["--cacert", &ca, &urls[1]]).await;
    assert_eq!(passed.exits_with(0).stdout, "plain");
    // The rule also applies to a program that resolves the name itself.
    let to = format!("localhost:{0}:127.0.0.1:{0}", plain.port());
    let typed = ["--cacert", &ca, "--connect-to", &to, &urls[0]];
    let refused = proxy.curl(Way::Socks, &typed).await;
    assert_eq!(refused.exits_with(35).stdout, "");
    let seen = proxy.connections(3).await;
    let kinds: Vec<_> = seen.iter().map(|one| one["kind"].as_str()).collect();
    assert_eq!(
        kinds,
        [Some("refused"), Some("unverified"), Some("refused")]
    );
    assert_eq!(seen[0]["bytes"]["to_client"], 0);
    assert_eq!(seen[0]["rule"], "--require localhost");
    assert_eq!(seen[1]["verification"]["reason"], "no-greeting");
    let words = seen[1]["explanation"].as_str().expect("words");
    assert!(
        words.contains("does not speak the side protocol"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exempt_hosts_are_relayed_without_side_connections() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let (plain, _) = lab.plain_tls(Whose::Server, "plain").await;
    let url = format!("https://localhost:{}/", plain.port());
    let proxy = Running::with(&["--policy", "require", "--exempt", "local*"]).await;
    for way in WAYS {
        let run = proxy.curl(way, &["--cacert", &lab.ca(), &url]).await;
        assert_eq!(run.exits_with(0).stdout, "plain");
    }
    let seen = proxy.connections(2).await;
    assert_eq!(seen[0]["kind"], "exempt");
    assert_eq!(seen[0]["rule"], "--exempt local*");
    assert!(seen[0]["verification"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_targets_are_reported_with_the_reason() {
    if !has("curl") {
        return;
    }
    let closed = closed_port().await;
    let proxy = Running::with(&[]).await;
    let url = format!("https://{closed}/");
    let run = proxy.curl(Way::Http, &["-v", &url]).await.exits_with(56);
    assert!(
        run.stderr.contains("HTTP/1.1 502 Bad Gateway"),
        "{}",
        run.stderr
    );
    // Curl names the reply's code: 5 is "connection refused", 4 "host unreachable".
    let run = proxy.curl(Way::Socks, &[&url]).await.exits_with(97);
    assert!(run.stderr.contains("(5)"), "{}", run.stderr);
    let run = proxy.curl(Way::Socks, &["https://unknown.invalid/"]).await;
    assert!(run.exits_with(97).stderr.contains("(4)"));
    let (_, status) = proxy.tunnel(closed).await;
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
    let seen = proxy.connections(4).await;
    assert!(seen.iter().all(|one| one["kind"] == "failed"), "{seen:?}");
    let why = seen[0]["explanation"].as_str().expect("words");
    assert!(why.contains(&closed.to_string()), "{why}");
    assert!(why.contains("path `direct`"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_follows_the_policy() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let site = lab.plain_http().await;
    let url = format!("http://localhost:{}/a?b", site.port());
    for (arguments, passes) in [
        (&[][..], true),
        (&["--policy", "observe"], true),
        (&["--policy", "require"], false),
        (&["--require", "localhost"], false),
        (&["--policy", "require", "--exempt", "localhost"], true),
    ] {
        let proxy = Running::with(arguments).await;
        let typed = [
            "-i",
            "-H",
            "Proxy-Authorization: secret",
            "-d",
            "body",
            &url,
        ];
        let run = proxy.curl(Way::Http, &typed).await.exits_with(0);
        let output = run.stdout;
        if passes {
            assert!(output.starts_with("HTTP/1.1 200 OK"), "{output}");
            assert!(output.contains("POST /a?b HTTP/1.1"), "{output}");
            assert!(output.contains("via: 1.1 mtls-client"), "{output}");
            assert!(output.ends_with("\nbody"), "{output}");
            assert!(!output.to_lowercase().contains("secret"), "{output}");
        } else {
            assert!(output.starts_with("HTTP/1.1 403 Forbidden"), "{output}");
            assert!(output.contains("plain HTTP cannot be verified"), "{output}");
            let seen = proxy.connections(1).await;
            assert_eq!(seen[0]["kind"], "refused");
            assert_eq!(seen[0]["bytes"]["to_server"], 0);
        }
        let socks = proxy.curl(Way::Socks, &[&url]).await;
        assert_eq!(socks.code == 0, passes, "{}", socks.stderr);
    }
    let proxy = Running::with(&[]).await;
    let closed = format!("http://{}/", closed_port().await);
    let run = proxy.curl(Way::Http, &["-i", &closed]).await.exits_with(0);
    assert!(run.stdout.starts_with("HTTP/1.1 502 "), "{}", run.stdout);
    let output = proxy
        .ask("GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n")
        .await;
    assert!(
        output.contains("400 Bad Request") && output.contains("CONNECT"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn git_and_python_use_the_proxy_of_the_environment() {
    let mut lab = Lab::new();
    let url = format!("https://localhost:{}", lab.web().await.port());
    let proxy = Running::with(&["--policy", "require"]).await;
    let with_proxy = |name: &str| {
        let mut command = tokio::process::Command::new(name);
        command
            .kill_on_drop(true)
            .env("HTTPS_PROXY", format!("http://{}", proxy.address))
            .env("https_proxy", format!("http://{}", proxy.address))
            .env("NO_PROXY", "")
            .env("no_proxy", "")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("SSL_CERT_FILE", lab.ca());
        command
    };
    let mut expected = 0;
    if has("git") {
        let mut git = with_proxy("git");
        git.env("GIT_SSL_CAINFO", lab.ca());
        git.args(["ls-remote", &format!("{url}/repo.git")]);
        let run = crate::lab::Run::of(git).await.exits_with(0);
        assert!(
            run.stdout.ends_with("\trefs/heads/main\n"),
            "{}",
            run.stdout
        );
        expected += 1;
    }
    if has("python3") {
        let mut python = with_proxy("python3");
        let fetch =
            "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())";
        python.args(["-c", fetch, &format!("{url}/plain")]);
        let run = crate::lab::Run::of(python).await.exits_with(0);
        assert_eq!(run.stdout, "plain text\n");
        expected += 1;
    }
    let seen = proxy.connections(expected).await;
    assert!(seen.iter().all(|one| one["kind"] == "verified"), "{seen:?}");
}
