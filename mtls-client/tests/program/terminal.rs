//! Output on a terminal, which script(1) provides.

use tokio::process::Command;

use crate::lab::{Lab, Run, closed_port, has};

/// Runs shell words with the program as `$0` at a terminal; standard input is empty.
async fn at_a_terminal(words: &str, envs: &[(&str, &str)]) -> Run {
    let typed = words.replace("$0", env!("CARGO_BIN_EXE_mtls-client"));
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &typed, "/dev/null"]);
    script.env("TERM", "xterm").env_remove("RUST_LOG");
    script.env_remove("XDG_STATE_HOME").env_remove("HOME");
    script.envs(envs.iter().copied());
    Run::of(script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transfer_has_a_progress_bar_on_a_terminal() {
    if !has("script") {
        return;
    }
    let mut lab = Lab::new();
    let site = lab.site().await;
    let (ca, out) = (lab.ca(), lab.path("out"));
    let get = |more: &str| {
        format!(
            "sh -c '(sleep 1.2; printf x; sleep 0.3) | $0 get --cacert {ca} -T - {more} \
             https://{site}/mirror'"
        )
    };
    for (more, seen) in [
        (format!("-o {out}"), true),
        (format!("-o {out} --no-progress-meter"), false),
        (format!("-s -o {out}"), false),
        (format!("-o {out} 2>{out}.err"), false),
        (format!(">{out}"), true),
        // It would run through the page.
        (String::new(), false),
    ] {
        let run = at_a_terminal(&get(&more), &[]).await.exits_with(0);
        assert_eq!(
            run.stdout.contains("received"),
            seen,
            "{more}: {}",
            run.stdout
        );
        if !more.is_empty() {
            assert_eq!(std::fs::read_to_string(&out).expect("the file"), "x");
        }
    }
    // A short one has none.
    let short = format!("$0 get -o {out} --cacert {ca} https://{site}/");
    let run = at_a_terminal(&short, &[]).await.exits_with(0);
    assert!(!run.stdout.contains("received"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_colours_and_a_progress_line() {
    if !has("script") {
        return;
    }
    let mut lab = Lab::new();
    let (site, ca) = (lab.site().await, lab.ca());
    let closed = closed_port().await;
    let check = format!("$0 check --cacert {ca} {site} {closed}");
    let run = at_a_terminal(&check, &[]).await.exits_with(7);
    for words in [
        "of 2 checked",
        "\x1b[1m\x1b[32mVERIFIED\x1b[0m",
        "\x1b[1m\x1b[31mERROR\x1b[0m",
    ] {
        assert!(
            run.stdout.contains(words),
            "no {words:?} in {:?}",
            run.stdout
        );
    }
    let run = at_a_terminal(&check, &[("NO_COLOR", "1")])
        .await
        .exits_with(7);
    assert!(!run.stdout.contains("\x1b[1m"), "{:?}", run.stdout);
    let silent = at_a_terminal(&check.replace("check", "check -s"), &[]).await;
    assert!(!silent.stdout.contains("checked"), "{:?}", silent.stdout);
    // There is no bar in a pipe.
    let run = lab.check(&[&site.to_string(), &closed.to_string()]).await;
    assert!(!(run.stdout + &run.stderr).contains("checked"));
}
