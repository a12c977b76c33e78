//! Output on a terminal, which script(1) provides.

use tokio::process::Command;

use crate::lab::{Lab, Run, closed_port, has};

/// The time before a bar appears.
const BAR_DELAY: std::time::Duration = std::time::Duration::from_millis(700);

/// Gives a command of the program time limits that no pause of a busy machine exceeds.
fn patient(words: String, command: &str) -> String {
    let limits = "--deadline 30s --connect-timeout 30s";
    words.replace(
        &format!("$0 {command} "),
        &format!("$0 {command} {limits} "),
    )
}

async fn at_a_terminal(words: &str, envs: &[(&str, &str)]) -> Run {
    shown_in("/dev/null", words, envs).await
}

/// Runs shell words with the program as `$0` at a terminal; standard input is empty. All that the terminal
/// shows is in this file at once.
async fn shown_in(shown: &str, words: &str, envs: &[(&str, &str)]) -> Run {
    let words = ["get", "check"].into_iter().fold(words.to_owned(), patient);
    let typed = words.replace("$0", env!("CARGO_BIN_EXE_mtls-client"));
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-f", "-c", &typed, shown]);
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
    let (ca, out, shown) = (lab.ca(), lab.path("out"), lab.path("shown"));
    // The input goes on until the bar has come, or for longer than the time without one. The file
    // begins with the command, which must not match.
    let input = |seen: bool| match seen {
        true => format!(
            "n=0; until grep -q [r]eceived {shown} || [ $n = 150 ]; do \
             printf x; sleep 0.2; n=$((n + 1)); done"
        ),
        false => "sleep 1.2; printf x; sleep 0.3".to_owned(),
    };
    let get = |more: &str, seen: bool| {
        let input = input(seen);
        format!(
            "sh -c '({input}) | $0 get --cacert {ca} -T - {more} \
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
        std::fs::write(&shown, "").expect("to write");
        let run = shown_in(&shown, &get(&more, seen), &[]).await.exits_with(0);
        assert_eq!(
            run.stdout.contains("received"),
            seen,
            "{more}: {}",
            run.stdout
        );
        if !more.is_empty() {
            let got = std::fs::read_to_string(&out).expect("the file");
            assert!(got.starts_with('x') && got.trim_matches('x').is_empty());
        }
    }
    // A short one has none.
    let short = format!("$0 get -o {out} --cacert {ca} https://{site}/");
    let began = std::time::Instant::now();
    let run = at_a_terminal(&short, &[]).await.exits_with(0);
    // Unless the machine held it up for so long.
    let is_short = began.elapsed() < BAR_DELAY;
    assert!(
        !is_short || !run.stdout.contains("received"),
        "{}",
        run.stdout
    );
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
