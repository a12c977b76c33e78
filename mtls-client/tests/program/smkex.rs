//! Connections without certificates.

use crate::lab::{Lab, Run, program};
use crate::site::PAGE;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_fetched_without_a_certificate() {
    let mut lab = Lab::new();
    let site = lab.smkex_site().await;
    let url = format!("https://{site}/");
    let run = lab.run(["get", "--smkex", &url]).await.exits_with(0);
    assert_eq!(run.stdout, PAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_that_no_name_was_checked() {
    let mut lab = Lab::new();
    let site = lab.smkex_site().await.to_string();
    let run = lab.run(["check", "--smkex", &site]).await.exits_with(0);
    assert!(run.stdout.contains("VERIFIED"), "{}", run.stdout);
    assert!(run.stdout.contains("no name was checked"), "{}", run.stdout);
    let run = lab.run(["check", "--smkex", "--json", &site]).await;
    let line = &run.exits_with(0).json()[0];
    assert_eq!(line["verdict"], "verified");
    assert_eq!(line["tls"]["server_key"], "raw-public-key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_needs_no_certificate_either() {
    let mut lab = Lab::new();
    let site = lab.smkex_site().await.to_string();
    let mut command = program();
    command.args(["connect", "--smkex", "--brief", &site]);
    // The server closes at the end of its client.
    let run = Run::with_input(command, Vec::new()).await.exits_with(0);
    assert!(run.stderr.contains("VERIFIED"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interception_shows_the_raw_key() {
    let mut lab = Lab::new();
    let site = lab.smkex_site().await.to_string();
    let other = lab.smkex_site().await.to_string();
    let typed = ["check", "--smkex", "--side-endpoint", &other, &site];
    let run = lab.run(typed).await.exits_with(110);
    assert!(
        run.stderr.contains("The raw public key received over"),
        "{}",
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_reports_that_the_other_has_no_smkex() {
    let mut lab = Lab::new();
    let with = lab.site().await.to_string();
    let without = lab.smkex_site().await.to_string();
    let run = lab.run(["check", "--smkex", &with]).await.exits_with(35);
    assert!(run.stderr.contains("omit --smkex"), "{}", run.stderr);
    let run = lab.check(&[&without]).await.exits_with(35);
    assert!(run.stderr.contains("needs --smkex"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_endpoint_without_the_protocol_gets_a_remedy_that_smkex_accepts() {
    let mut lab = Lab::new();
    let site = lab.smkex_site().await.to_string();
    let other = lab.answering(b"HTTP/1.1 400\r\n").await.to_string();
    let typed = ["--smkex", "--side-endpoint", &other];
    let typed = [&["check"], &typed[..], &[site.as_str()]].concat();
    let run = lab.run(typed).await.exits_with(112);
    let run = run.mentions(&["name it with --side-endpoint", "omit --smkex"]);
    for refused in ["--method", "--policy"] {
        assert!(!run.stderr.contains(refused), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_contradict_smkex_are_refused() {
    let lab = Lab::new();
    let ca = lab.ca();
    for (typed, part) in [
        (
            &["check", "--smkex", "--policy", "prefer", "a.test"][..],
            "cannot be `prefer`",
        ),
        (
            &["check", "--smkex", "--policy", "observe", "a.test"],
            "cannot be `observe`",
        ),
        (&["check", "--smkex", "--cacert", &ca, "a.test"], "--cacert"),
        (
            &["check", "--smkex", "--system-roots", "a.test"],
            "--system-roots",
        ),
        (&["check", "--smkex", "--cert", &ca, "a.test"], "--cert"),
        (&["proxy", "--smkex"], "unexpected argument"),
    ] {
        let run = lab.run(typed).await.exits_with(2);
        assert!(run.stderr.contains("--smkex"), "{}", run.stderr);
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
}
