//! Every exit status, each produced for real.

use std::net::SocketAddr;
use std::process::Stdio;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, PATIENCE, PATIENT, Run, Whose, closed_port, program};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_is_2() {
    let lab = Lab::new();
    for (typed, expected) in [
        (&[][..], "Usage"),
        (&["get"], "URL"),
        (&["check"], "TARGET"),
        (&["check", "--policy", "maybe", "a.test"], "require"),
        (&["check", "--deadline", "0s", "a.test"], "at least 1ms"),
        (&["check", "--max-time", "soon", "a.test"], "not a unit"),
        (&["check", "--binding", "none", "a.test"], "exporter"),
        (&["check", "--side", "eth0", "a.test"], "if:NAME"),
        (
            &["check", "--cacert", "x", "--system-roots", "a.test"],
            "--system-roots",
        ),
        (&["get", "http://a.test/"], "https"),
        (&["get", "--json", "https://a.test/"], "--output"),
    ] {
        let run = lab.run(typed).await.exits_with(2).mentions(&[expected]);
        assert_eq!(run.stdout, "", "{typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_has_examples_and_explains_mtls() {
    let lab = Lab::new();
    for command in ["", "get", "check", "connect", "paths"] {
        let typed: Vec<_> = command.split_terminator(' ').chain(["--help"]).collect();
        let run = lab.run(typed).await.exits_with(0);
        for words in ["Examples:", "multipath TLS", "not mutual TLS", "110"] {
            assert!(
                run.stdout.contains(words),
                "no `{words}` in:\n{}",
                run.stdout
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_6() {
    let lab = Lab::new();
    let run = lab.check(&["nonexistent.invalid"]).await.exits_with(6);
    run.mentions(&["nonexistent.invalid", "primary path `direct`", "--resolve"]);
    // No address of the source's family is no address at all.
    let typed = [
        "--primary",
        "src:127.0.0.1",
        "--resolve",
        "server.test:443:::1",
        "server.test",
    ];
    lab.check(&typed)
        .await
        .exits_with(6)
        .mentions(&["no IPv4 address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_7() {
    let lab = Lab::new();
    let closed = closed_port().await.to_string();
    let run = lab.check(&[&closed]).await.exits_with(7);
    run.mentions(&[&closed, "primary path `direct`", "refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_no_class_is_22_with_fail_too() {
    let mut lab = Lab::new();
    for status in ["599", "600", "999"] {
        let response = format!("HTTP/1.1 {status} Odd\r\ncontent-length: 2\r\n\r\nno");
        let site = lab.raw_site(response.leak().as_bytes()).await;
        let url = format!("https://{site}/");
        let run = lab.get(&["-s", "-f", &url]).await.exits_with(22);
        assert_eq!(run.stdout, "", "{status}");
        let run = lab.get(&["-s", &url]).await.exits_with(0);
        assert_eq!(run.stdout, "no", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_protocol_that_was_not_requested_is_56() {
    let mut lab = Lab::new();
    let response = b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\ndata";
    let url = format!("https://{}/", lab.raw_site(response).await);
    let run = lab.get(&["-s", &url]).await.exits_with(56);
    run.mentions(&["101"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_400_and_above_is_22_only_with_fail() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/status/404");
    let run = lab.get(&["-s", &url]).await.exits_with(0);
    assert_eq!(run.stdout, "status 404\n");
    let file = lab.path("page");
    let run = lab.get(&["-f", "-o", &file, &url]).await.exits_with(22);
    run.mentions(&["404"]);
    assert!(!std::path::Path::new(&file).exists());
    lab.get(&["-f", &format!("https://{site}/status/500")])
        .await
        .exits_with(22);
    lab.get(&["-f", &format!("https://{site}/status/399")])
        .await
        .exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_cannot_be_written_is_23() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/big");
    let missing = lab.path("missing/page");
    lab.get(&["-o", &missing, &url])
        .await
        .exits_with(23)
        .mentions(&[&missing]);
    lab.get(&["-o", "/dev/full", &url])
        .await
        .exits_with(23)
        .mentions(&["/dev/full"]);
    let mut command = program();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    command.args(["check", "--cacert", &lab.ca(), &site.to_string()]);
    let mut child = command.stdout(full).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(23));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_standard_output_is_23() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let (ca, url) = (lab.ca(), format!("https://{site}/"));
    for typed in [
        &["get", "-s", "--cacert", &ca, &url][..],
        &[
            "get",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "x",
            "--cacert",
            &ca,
            &url,
        ],
        &["check", "--cacert", &ca, &site],
        &["check", "--json", "--cacert", &ca, &site],
        &["paths"],
        &["completions", "bash"],
    ] {
        for closed in [">&-", "<&- >&-"] {
            let mut shell = tokio::process::Command::new("sh");
            shell.args(["-c", &format!("exec {closed}\n{PATIENT}")]);
            shell.arg(env!("CARGO_BIN_EXE_mtls-client"));
            let run = Run::of({
                shell.args(typed);
                shell
            });
            run.await.exits_with(23);
        }
        // As some programs start others whose output they do not want.
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null");
        let mut command = program();
        command
            .args(typed)
            .stdout(null.unwrap())
            .stderr(Stdio::null());
        assert!(command.status().await.unwrap().success(), "{typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exceeded_time_limits_are_28() {
    let mut lab = Lab::new();
    let hole = lab.black_hole().await.to_string();
    let run = lab
        .check(&["--connect-timeout", "300ms", &hole])
        .await
        .exits_with(28);
    run.mentions(&["while connecting", "--connect-timeout"]);
    let run = lab
        .check(&["--max-time", "300ms", &hole])
        .await
        .exits_with(28);
    run.mentions(&["--max-time"]);
    let silent = lab.silent().await.to_string();
    let run = lab
        .check(&["--deadline", "300ms", &silent])
        .await
        .exits_with(28);
    run.mentions(&["--deadline"]);
    let prefer = ["--policy", "prefer", "--connect-timeout", PATIENCE, &silent];
    lab.check(&prefer)
        .await
        .exits_with(28)
        .mentions(&["handshake"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_does_not_come_in_time_is_28() {
    let mut lab = Lab::new();
    let url = format!("https://{}/never", lab.site().await);
    let run = lab
        .get(&["-s", "--max-time", PATIENCE, &url])
        .await
        .exits_with(28);
    run.mentions(&["waiting for the response"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_speak_tls_is_35() {
    let mut lab = Lab::new();
    let garbage = lab.answering(b"SSH-2.0-OpenSSH_9.9\r\n").await.to_string();
    let run = lab.check(&[&garbage]).await.exits_with(35);
    run.mentions(&[&garbage, "primary path `direct`", "TLS"]);
    let closing = lab
        .listen(|stream| async move { drop(stream) })
        .await
        .to_string();
    lab.check(&[&closing]).await.exits_with(35);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_60() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let run = lab.run(["check", &site]).await.exits_with(60);
    run.mentions(&[&site, "not trusted", "--cacert"]);
    let rogue = lab.path("rogue-ca.pem");
    lab.run(["check", "--cacert", &rogue, &site])
        .await
        .exits_with(60);
    let port = site.rsplit_once(':').expect("a port").1;
    let other = format!("other.test:{port}");
    let typed = ["--resolve", &format!("{other}:127.0.0.1"), &other];
    lab.check(&typed).await.exits_with(60).mentions(&["name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_cannot_be_followed_are_1_and_47() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/to?http://{site}/");
    let run = lab.get(&["-s", "-L", &url]).await.exits_with(1);
    run.mentions(&["only https", "--location"]);
    let around = lab
        .raw_site(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")
        .await;
    let run = lab
        .get(&["-s", "-L", &format!("https://{around}/")])
        .await
        .exits_with(47);
    run.mentions(&["10 redirects"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_is_empty_or_not_a_url_is_not_a_redirect() {
    let mut lab = Lab::new();
    for answer in [
        &b"HTTP/1.1 307 x\r\nlocation: \r\ncontent-length: 5\r\n\r\nhere\n"[..],
        b"HTTP/1.1 302 x\r\nlocation:\t \r\ncontent-length: 5\r\n\r\nhere\n",
        b"HTTP/1.1 308 x\r\nlocation: https://[::1\r\ncontent-length: 5\r\n\r\nhere\n",
    ] {
        let site = lab.raw_site(answer).await;
        let url = format!("https://{site}/go");
        let format = "%{http_code} %{num_redirects} <%{redirect_url}>";
        let typed = ["-s", "-L", "-d", "pay=1", "-w", format, &url];
        let run = lab.get(&typed).await.exits_with(0);
        let code = std::str::from_utf8(&answer[9..12]).expect("a status");
        assert_eq!(run.stdout, format!("here\n{code} 0 <>"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_cas_that_cannot_be_used_is_77() {
    let lab = Lab::new();
    let text = lab.path("text");
    std::fs::write(&text, "no PEM\n").expect("to write");
    for (file, expected) in [
        ("/nonexistent", "/nonexistent"),
        ("/dev/null", "it is empty"),
        (&text, "`BEGIN CERTIFICATE`"),
    ] {
        let run = lab.run(["check", "--cacert", file, "a.test"]).await;
        run.exits_with(77).mentions(&["--cacert", expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_invalid_or_partial_response_has_its_own_exit_status() {
    let mut lab = Lab::new();
    for (answer, code, expected) in [
        (&b"nonsense\r\n\r\n"[..], 56, "no complete response"),
        (b"", 52, "without a response"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            18,
            "no complete response",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
            18,
            "no complete response",
        ),
    ] {
        let site = lab.raw_site(answer).await;
        let run = lab
            .get(&["-s", &format!("https://{site}/")])
            .await
            .exits_with(code);
        run.mentions(&[&site.to_string(), expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_endpoint_that_fails_is_111() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let ends = [
        (closed_port().await, "refused"),
        (lab.black_hole().await, "no connection"),
        (lab.answering(b"MTLS/1\r\n").await, "silent"),
        (lab.listen(greet_and_close).await, "closed"),
    ];
    let refused_and_observed = async |(end, expected): (SocketAddr, &str)| {
        let [refused, observed] = check_both(&lab, end, &site, "observe").await;
        let run = refused.exits_with(111);
        let run = run.mentions(&["side path 1 `direct`", expected]);
        assert!(run.stdout.starts_with("UNVERIFIED"), "{}", run.stdout);
        observed
            .exits_with(0)
            .mentions(&["warning", "not verified"]);
    };
    join_all(ends.map(refused_and_observed)).await;
}

/// Checks with a side endpoint under `require` and another policy, at the same time.
async fn check_both(lab: &Lab, side: SocketAddr, site: &str, policy: &str) -> [Run; 2] {
    let side = side.to_string();
    let typed = ["--deadline", PATIENCE, "--side-endpoint", &side, site];
    let other = [&["--policy", policy], &typed[..]].concat();
    tokio::join!(lab.check(&typed), lab.check(&other)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_endpoint_without_the_protocol_is_112() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let (plain, _) = lab.plain_tls(Whose::Server, "").await;
    let closing = lab.listen(|stream| async move { drop(stream) }).await;
    let ends = [
        plain,
        lab.silent().await,
        lab.answering(b"HTTP/1.1 400\r\n").await,
        closing,
    ];
    let refused_and_preferred = async |end: SocketAddr| {
        let [refused, preferred] = check_both(&lab, end, &site, "prefer").await;
        refused.exits_with(112).mentions(&[
            "side path 1 `direct`",
            "does not speak",
            "--side-endpoint",
        ]);
        preferred
            .exits_with(0)
            .mentions(&["warning", "not verified"]);
    };
    join_all(ends.map(refused_and_preferred)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_primary_path_takes_precedence_over_the_side() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let bad_side = closed_port().await.to_string();
    let closed = closed_port().await.to_string();
    lab.check(&["--side-endpoint", &bad_side, &closed])
        .await
        .exits_with(7);
    lab.run(["check", "--side-endpoint", &bad_side, &site])
        .await
        .exits_with(60);
    let garbage = lab.answering(b"garbage").await.to_string();
    lab.check(&["--side-endpoint", &bad_side, &garbage])
        .await
        .exits_with(35);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_targets_exit_with_the_worst_verdict() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let (plain, _) = lab.plain_tls(Whose::Server, "").await;
    let (plain, closed) = (plain.to_string(), closed_port().await.to_string());
    let run = lab.check(&[&site, &site]).await.exits_with(0);
    assert_eq!(run.stdout.matches("VERIFIED").count(), 2, "{}", run.stdout);
    lab.check(&[&site, &plain, &site]).await.exits_with(112);
    let run = lab
        .check(&["--json", &plain, &closed, &site])
        .await
        .exits_with(7);
    let verdicts: Vec<_> = run
        .json()
        .iter()
        .map(|line| line["verdict"].clone())
        .collect();
    assert_eq!(verdicts, ["unverified", "error", "verified"]);
}

/// Takes all that the client sends at first, for to close on unread bytes is to reset.
async fn greet_and_close(mut stream: tokio::net::TcpStream) {
    const GREETING: &[u8] = b"MTLS/1\r\n";
    const OPEN: usize = 3 + 49;
    let mut first = [0; GREETING.len() + OPEN];
    let _ = stream.read_exact(&mut first).await;
    let _ = stream.write_all(GREETING).await;
    let _ = stream.shutdown().await;
}
