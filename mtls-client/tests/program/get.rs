//! `get`: requests, and the output of responses.

use std::process::Stdio;

use tokio::io::AsyncReadExt;

use crate::lab::{Lab, PATIENCE, Run, program};
use crate::site::{BIG, PAGE};

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_page_goes_only_to_standard_output() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let run = lab
        .get(&["-s", &format!("https://{site}/")])
        .await
        .exits_with(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (PAGE, ""));
    let run = lab
        .get(&["-s", &format!("https://{site}/verdict")])
        .await
        .exits_with(0);
    assert_eq!(
        run.stdout, "verified\n",
        "the server must have verified too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_supported() {
    let mut lab = Lab::new();
    for (site, version) in [
        (lab.site().await, "HTTP/2.0"),
        (lab.h1_site().await, "HTTP/1.1"),
    ] {
        let url = format!("https://{site}/request");
        let run = lab
            .get(&[&url, "-s", "-H", "X-Test: one", "-H", "Accept:"])
            .await
            .exits_with(0);
        let lines: Vec<_> = run.stdout.lines().collect();
        assert!(
            lines.contains(&format!("version: {version}").as_str()),
            "{lines:?}"
        );
        assert!(lines.contains(&"x-test: one"), "{lines:?}");
        assert!(!run.stdout.contains("accept:"), "{lines:?}");
        let host = [format!("host: {site}"), format!("authority: {site}")];
        assert!(
            lines
                .iter()
                .any(|line| host.iter().any(|host| host == line)),
            "{lines:?}"
        );
        let run = lab
            .get(&["-s", &url, "-H", "Host: other.test"])
            .await
            .exits_with(0);
        assert!(run.stdout.contains(": other.test\n"), "{}", run.stdout);
        let run = lab
            .get(&[&format!("https://{site}/big"), "-s"])
            .await
            .exits_with(0);
        assert_eq!(run.stdout.len(), BIG);
        let run = lab
            .get(&[&format!("https://{site}/empty"), "-s"])
            .await
            .exits_with(0);
        assert_eq!(run.stdout, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_goes_to_a_file_and_replaces_its_content() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let file = lab.path("page");
    std::fs::write(
        &file,
        "something longer than the page that was there before",
    )
    .unwrap();
    let run = lab
        .get(&["-o", &file, &format!("https://{site}/")])
        .await
        .exits_with(0);
    assert_eq!(run.stdout, "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), PAGE);
    lab.get(&["-o", &file, &format!("https://{site}/empty")])
        .await
        .exits_with(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    let run = lab
        .get(&["-o", "-", &format!("https://{site}/")])
        .await
        .exits_with(0);
    assert_eq!(run.stdout, PAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_created_without_a_verdict() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let file = lab.path("page");
    let closed = crate::lab::closed_port().await.to_string();
    let url = format!("https://{site}/");
    lab.get(&["-o", &file, "--side-endpoint", &closed, &url])
        .await
        .exits_with(111);
    assert!(!std::path::Path::new(&file).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn include_writes_the_head_before_the_body() {
    let mut lab = Lab::new();
    for (site, first) in [
        (lab.site().await, "HTTP/2 200 \r\n"),
        (lab.h1_site().await, "HTTP/1.1 200 OK\r\n"),
    ] {
        let run = lab
            .get(&["-i", &format!("https://{site}/")])
            .await
            .exits_with(0);
        let (head, body) = run
            .stdout
            .split_once("\r\n\r\n")
            .expect("a head and a body");
        assert!(head.starts_with(first), "{head}");
        assert!(
            head.contains(&format!("\r\ncontent-length: {}", PAGE.len())),
            "{head}"
        );
        assert_eq!(body, PAGE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_only_with_location() {
    let mut lab = Lab::new();
    let (site, other) = (lab.site().await, lab.h1_site().await);
    let url = format!("https://{site}/to?https://{other}/to?/");
    let run = lab.get(&["-s", &url]).await.exits_with(0);
    assert_eq!(run.stdout, "elsewhere\n");
    let run = lab.get(&["-s", "-L", &url]).await.exits_with(0);
    assert_eq!(run.stdout, PAGE);
    let run = lab.get(&["-s", "-L", "-i", &url]).await.exits_with(0);
    let heads = run.stdout.matches("HTTP/").count();
    assert_eq!(heads, 3, "the head of every hop:\n{}", run.stdout);
    assert!(run.stdout.ends_with(PAGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_redirect_is_verified_like_the_first_request() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let (unverified, read) = lab
        .plain_tls(crate::lab::Whose::Server, "not verified\n")
        .await;
    let file = lab.path("page");
    let url = format!("https://{site}/to?https://{unverified}/");
    let run = lab
        .get(&["-L", "--json", "-o", &file, &url])
        .await
        .exits_with(112);
    let lines = run.json();
    assert_eq!(lines.len(), 2, "{}", run.stdout);
    assert_eq!(lines[0]["verdict"], "verified");
    assert_eq!(lines[1]["verdict"], "unverified");
    assert_eq!(lines[1]["target"], unverified.to_string());
    assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(!std::path::Path::new(&file).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_the_side_endpoint_are_not_used_for_other_hosts() {
    let mut lab = Lab::new();
    let (site, other) = (lab.site().await, lab.site().await);
    let named = site.to_string();
    // At the first host's side endpoint the second one's handshake is unknown: an interception.
    let url = format!("https://{site}/to?https://{other}/request");
    let typed = [
        "-s",
        "-L",
        "--side-endpoint",
        &named,
        "-H",
        "Authorization: Bearer x",
        &url,
    ];
    let run = lab.get(&typed).await.exits_with(0);
    assert!(!run.stdout.contains("Bearer"), "{}", run.stdout);
    let url = format!("https://{site}/to?/request");
    let typed = [
        "-s",
        "-L",
        "--side-endpoint",
        &named,
        "-H",
        "Authorization: Bearer x",
        &url,
    ];
    let run = lab.get(&typed).await.exits_with(0);
    assert!(
        run.stdout.contains("authorization: Bearer x"),
        "{}",
        run.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_writes_the_verdict_to_standard_error_and_twice_logs_events() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/");
    let run = lab.get(&["-v", &url]).await.exits_with(0);
    assert_eq!(run.stdout, PAGE);
    let run = run.mentions(&["VERIFIED", "exporter", "primary", "side 1", "TLSv1.3", "h2"]);
    assert!(!run.stderr.contains("DEBUG"));
    let run = lab
        .get(&["-vv", &url, "-H", "Authorization: secret"])
        .await
        .exits_with(0);
    let run = run.mentions(&["DEBUG", "client hello ready"]);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_closes_standard_output_is_not_a_failure() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let mut command = program();
    command.args([
        "get",
        "-s",
        "--cacert",
        &lab.ca(),
        &format!("https://{site}/big"),
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("to run");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_u8().await.expect("a byte");
    drop(stdout);
    assert_eq!(child.wait().await.expect("an end").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn max_time_applies_to_a_reader_that_does_not_read() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/big");
    let mut command = program();
    command.args(["get", "--cacert", &lab.ca(), "-s", "--max-time", "2s", &url]);
    assert_eq!(Run::unread(command).await, 28);
    // The system opens a FIFO for writing once it has a reader.
    let fifo = lab.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let run = lab.get(&["-o", &fifo, "--max-time", PATIENCE, &url]).await;
    run.exits_with(28).mentions(&["writing the response"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_variables_of_the_environment_are_ignored() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let closed = format!("http://{}", crate::lab::closed_port().await);
    let mut command = program();
    command.args([
        "get",
        "-s",
        "--cacert",
        &lab.ca(),
        &format!("https://{site}/"),
    ]);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &closed);
    }
    let run = Run::of(command).await.exits_with(0);
    assert_eq!(run.stdout, PAGE);
}
