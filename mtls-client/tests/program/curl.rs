//! `get` beside curl, with the same words: where both know an option, both do the same.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::process::Command;

use crate::lab::{Lab, Run, Whose, closed_port, has, program};

/// The results of both programs for the same command line and standard input.
struct Both {
    ours: Run,
    curls: Run,
}

/// Runs both in a directory of their own, which is below the lab's.
async fn both(lab: &Lab, typed: &[&str], input: &str) -> Both {
    let dir = |name: &str| {
        let dir = lab.path(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    };
    let mut ours = program();
    ours.current_dir(dir("ours")).args(["get", "-s"]);
    let mut curl = Command::new("curl");
    curl.kill_on_drop(true).current_dir(dir("curls"));
    curl.args(["-sS", "--noproxy", "*", "--max-redirs", "10"]);
    curl.args(["--proto-redir", "=https"]);
    Both {
        ours: Run::with_input(with(ours, typed), input.into()).await,
        curls: Run::with_input(with(curl, typed), input.into()).await,
    }
}

fn with(mut command: Command, typed: &[&str]) -> Command {
    command.args(typed);
    command
}

impl Both {
    #[track_caller]
    fn exit_with(self, code: i32, typed: &[&str]) -> Self {
        let Self { ours, curls } = &self;
        assert_eq!(curls.code, code, "curl {typed:?}: {}", curls.stderr);
        assert_eq!(ours.code, code, "ours {typed:?}: {}", ours.stderr);
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_failure_is_the_same_exit_status() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let site = lab.site().await;
    let ca = lab.ca();
    let closed = closed_port().await;
    let garbage = lab.answering(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    let empty = lab.raw_site(b"").await;
    let half = lab
        .raw_site(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    let around = lab
        .raw_site(
            b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        )
        .await;
    let missing = lab.path("no/such/file");
    let at = |address: &dyn std::fmt::Display, path: &str| format!("https://{address}{path}");
    let with_ca = |more: &[&str], url: String| {
        let typed = [&["--cacert", &ca], more].concat();
        let mut typed: Vec<_> = typed.into_iter().map(str::to_owned).collect();
        typed.push(url);
        typed
    };
    for (code, typed) in [
        (0, with_ca(&[], at(&site, "/"))),
        (0, with_ca(&[], at(&site, "/status/404"))),
        (1, with_ca(&["-L"], at(&site, "/to?http://127.0.0.1/"))),
        (2, with_ca(&["--no-such-option"], at(&site, "/"))),
        (6, with_ca(&[], at(&"nonexistent.invalid", "/"))),
        (7, with_ca(&[], at(&closed, "/"))),
        (18, with_ca(&[], at(&half, "/"))),
        (22, with_ca(&["-f"], at(&site, "/status/404"))),
        (23, with_ca(&["-o", &missing], at(&site, "/"))),
        (26, with_ca(&["-T", &missing], at(&site, "/echo"))),
        (28, with_ca(&["--max-time", "2"], at(&site, "/never"))),
        (35, with_ca(&[], at(&garbage, "/"))),
        (47, with_ca(&["-L"], at(&around, "/"))),
        (52, with_ca(&[], at(&empty, "/"))),
        (58, with_ca(&["--cert", &missing], at(&site, "/"))),
        (60, vec![at(&site, "/")]),
        (65, with_ca(&["-L", "-T", "-"], at(&site, "/to/307?/echo"))),
        (77, vec!["--cacert".into(), missing.clone(), at(&site, "/")]),
    ] {
        let typed: Vec<_> = typed.iter().map(String::as_str).collect();
        let both = both(&lab, &typed, "input").await.exit_with(code, &typed);
        assert_eq!(both.ours.stdout, both.curls.stdout, "{typed:?}");
        assert_eq!(both.ours.stderr.is_empty(), both.curls.stderr.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_options_send_the_same_request() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let (h2, h1) = (lab.site().await, lab.h1_site().await);
    let (ca, file) = (lab.ca(), lab.path("form"));
    std::fs::write(&file, "b=2\r\n&c=3\n\0").expect("to write");
    let at_file = format!("@{file}");
    for site in [h2, h1] {
        for typed in [
            &[][..],
            &["-d", "a=1", "-d", &at_file, "-d", "@-"],
            &["-d", ""],
            &["--data-raw", "@a"],
            &["--data-binary", &at_file],
            &["-X", "PATCH", "-d", "x", "-H", "Content-Type: text/plain"],
            &["-X", "DELETE"],
            &["-T", &file],
            &["-H", "X-One: 1", "-H", "Accept:", "-H", "User-Agent: me"],
        ] {
            let url = format!("https://{site}/echo");
            let typed = [&["--cacert", &ca, &url], typed].concat();
            same_echo(&lab, &typed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_redirect_leads_to_the_same_request() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let (site, ca, file) = (lab.site().await, lab.ca(), lab.path("body"));
    std::fs::write(&file, "from a file").expect("to write");
    for code in ["301", "302", "303", "307", "308"] {
        for typed in [&[][..], &["-d", "x"], &["-T", &file]] {
            let url = format!("https://{site}/to/{code}?/echo");
            let typed = [&["-L", "--cacert", &ca, &url], typed].concat();
            same_echo(&lab, &typed).await;
        }
    }
}

/// The fields may come in another order, and each program has its own name and version.
async fn same_echo(lab: &Lab, typed: &[&str]) {
    let both = both(lab, typed, "from=stdin\n").await.exit_with(0, typed);
    let lines = |text: &str| -> BTreeSet<String> {
        let names = ["curl/", "mtls-client/", "expect: 100-continue"];
        let own = |line: &&str| !names.iter().any(|name| line.contains(name));
        text.lines().filter(own).map(str::to_owned).collect()
    };
    let (ours, curls) = (lines(&both.ours.stdout), lines(&both.curls.stdout));
    assert_eq!(ours, curls, "{typed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_facts_and_heads_are_written() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let (h2, h1, ca) = (lab.site().await, lab.h1_site().await, lab.ca());
    let format = "%{http_code} %{response_code} %{http_version} %{method} %{size_download} \
                  %{size_upload} %{num_redirects} %{url_effective} %{redirect_url} \
                  %{content_type} %{remote_ip} %{remote_port} %{local_ip} %{exitcode} \
                  %{filename_effective} %{urlnum} 100%% \\t%x\\n";
    for site in [h2, h1] {
        for (typed, path) in [
            (&["-w", format][..], "/"),
            (&["-w", format, "-d", "abc"], "/mirror"),
            (&["-w", format, "-L"], "/to?/to?/big"),
            (&["-w", format], "/to/307?/next"),
            (&["-w", format, "-f"], "/status/500"),
            (&["-w", format, "-o", "page"], "/big"),
            (&["-w", format, "-O"], "/status/418"),
            (&["-w", "%header{content-length}.%header{none}."], "/"),
            (&["-w", "%{stderr}%{http_code}"], "/"),
            (&["-i"], "/"),
            (&["-i", "-L"], "/to?/"),
            (&["-I"], "/big"),
        ] {
            if typed == ["-I"] && site == h2 {
                // Some versions of curl take the end of such a stream for an error (92).
                continue;
            }
            let url = format!("https://{site}{path}");
            let typed = [typed, &["--cacert", &ca, &url]].concat();
            let Both { ours, curls } = both(&lab, &typed, "").await;
            assert_eq!(ours.code, curls.code, "{typed:?}");
            assert_eq!(without_own(&ours), without_own(&curls), "{typed:?}");
            for name in ["page", "418"] {
                let [ours, curls] = ["ours", "curls"].map(|whose| {
                    let path = lab.path(&format!("{whose}/{name}"));
                    Path::new(&path)
                        .exists()
                        .then(|| std::fs::read(&path).expect("a file"))
                });
                assert_eq!(ours, curls, "{typed:?}: {name}");
            }
        }
    }
}

/// Removes the differences between the programs and between two moments.
fn without_own(run: &Run) -> Vec<String> {
    let own = |line: &&str| {
        !["date:", "user-agent:"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    run.stdout.lines().filter(own).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_the_attacker_a_request_and_this_program_does_not() {
    if !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, read) = lab.plain_tls(Whose::Rogue, "the attacker's page\n").await;
    let (cas, url) = (lab.both_cas(), format!("https://{attacker}/"));
    let typed = ["--cacert", &cas, "-d", "password=hunter2", &url];
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*"]).args(typed);
    let run = Run::of(curl).await.exits_with(0);
    assert_eq!(run.stdout, "the attacker's page\n");
    let output = read.swap(0, std::sync::atomic::Ordering::Relaxed);
    assert!(
        output > 0,
        "the attack must work for what follows to mean anything"
    );
    let ours = [&["get", "-s", "--side-endpoint", &real], &typed[..]].concat();
    lab.run(ours).await.exits_with(110);
    assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), 0);
}
