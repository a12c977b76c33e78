//! `completions` and `man`.

use std::collections::BTreeSet;
use std::process::Command;

use crate::lab::{Lab, Run, has};

const COMMANDS: [&str; 10] = [
    "get",
    "check",
    "connect",
    "evidence",
    "watch",
    "paths",
    "proxy",
    "hosts",
    "completions",
    "man",
];

/// The long options in a text.
fn options(text: &str) -> BTreeSet<String> {
    // In a page, dashes are escaped, and bold type begins with an escape too.
    let text = text
        .replace("\\-", "-")
        .replace("\\f", " ")
        .replace("B--", " --");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shell_completes_every_command() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = lab.run(["completions", shell]).await.exits_with(0);
        for word in COMMANDS
            .iter()
            .chain(&["upload-file", "require-independent"])
        {
            assert!(run.stdout.contains(word), "no `{word}` for {shell}");
        }
        assert_eq!(run.stderr, "");
    }
    let run = lab.run(["completions", "tcsh"]).await.exits_with(2);
    run.mentions(&["bash", "zsh", "fish"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_an_option_and_its_values() {
    if !has("bash") {
        return;
    }
    let lab = Lab::new();
    let script = lab.path("completions.bash");
    let run = lab.run(["completions", "bash"]).await.exits_with(0);
    std::fs::write(&script, run.stdout).expect("to write");
    for (typed, current, expected) in [
        ("mtls-client che", "che", "check"),
        ("mtls-client get --up", "--up", "--upload-file"),
        ("mtls-client check --policy pre", "pre", "prefer"),
    ] {
        let count = typed.split(' ').count() - 1;
        let previous = typed.split(' ').nth(count - 1).expect("a word");
        let words = format!(
            "source '{script}'; COMP_WORDS=({typed}); COMP_CWORD={count}; \
             $(complete -p mtls-client | sed 's/.*-F \\([^ ]*\\).*/\\1/') \
             mtls-client '{current}' '{previous}'; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = tokio::process::Command::new("bash");
        bash.args(["--norc", "-c", &words]);
        let run = Run::of(bash).await.exits_with(0);
        assert_eq!(run.stdout.trim(), expected, "{typed}: {}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fish_completes_and_zsh_understands_its_script() {
    let lab = Lab::new();
    let script = lab.path("completions");
    if has("fish") {
        let run = lab.run(["completions", "fish"]).await.exits_with(0);
        std::fs::write(&script, run.stdout).expect("to write");
        for (typed, expected) in [("che", "check\t"), ("get --up", "--upload-file\t")] {
            let words = format!("source '{script}'; complete -C 'mtls-client {typed}'");
            let mut fish = tokio::process::Command::new("fish");
            fish.args(["--no-config", "-c", &words]);
            let run = Run::of(fish).await.exits_with(0);
            assert!(run.stdout.starts_with(expected), "{}", run.stdout);
        }
    }
    if has("zsh") {
        let run = lab.run(["completions", "zsh"]).await.exits_with(0);
        std::fs::write(&script, run.stdout).expect("to write");
        let mut zsh = tokio::process::Command::new("zsh");
        zsh.args(["-f", "-n", &script]);
        let run = Run::of(zsh).await.exits_with(0);
        assert_eq!(run.stderr, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_a_manual_page_with_the_options_of_its_help() {
    let lab = Lab::new();
    let dir = lab.path("man/man1");
    let run = lab.run(["man", &dir]).await.exits_with(0);
    let mut names = vec!["mtls-client".to_owned()];
    names.extend(COMMANDS.map(|command| format!("mtls-client-{command}")));
    let paths: Vec<_> = names.iter().map(|name| format!("{dir}/{name}.1")).collect();
    let output: BTreeSet<_> = run.stdout.lines().collect();
    assert!(paths.iter().all(|path| output.contains(path.as_str())));
    for (name, path) in names.iter().zip(&paths) {
        let page = std::fs::read_to_string(path).expect("a page");
        let command = name.strip_prefix("mtls-client-").unwrap_or("--help");
        let help = lab.run([command, "--help"]).await.exits_with(0).stdout;
        let missing: Vec<_> = options(&help)
            .difference(&options(&page))
            .cloned()
            .collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}");
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "\"SEE ALSO\""] {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{name}: {section}"
            );
        }
        let has_statuses = page.contains("EXIT STATUS");
        assert_eq!(has_statuses, help.contains("Exit status:"), "{name}");
    }
    // The same program writes the same pages.
    let before = std::fs::read(&paths[0]).expect("a page");
    lab.run(["man", &dir]).await.exits_with(0);
    assert_eq!(std::fs::read(&paths[0]).expect("a page"), before);
    well_formed(&paths);
}

fn well_formed(paths: &[String]) {
    if has("mandoc") {
        for path in paths {
            // It has no date, and its lines are as long as they are in the help.
            let lint = Command::new("mandoc")
                .args(["-Tlint", "-W", "warning", path])
                .output()
                .expect("mandoc");
            let complaints = String::from_utf8_lossy(&lint.stdout).into_owned();
            let complaints: Vec<_> = complaints
                .lines()
                .filter(|line| !line.contains("missing date"))
                .collect();
            assert!(complaints.is_empty(), "{complaints:#?}");
        }
    }
    if has("groff") {
        for path in paths {
            let groff = Command::new("groff")
                .args(["-man", "-Tutf8", "-ww", "-z", path])
                .output()
                .expect("groff");
            assert_eq!(String::from_utf8_lossy(&groff.stderr), "", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_cannot_be_written_are_23() {
    let lab = Lab::new();
    let run = lab.run(["man", "/dev/null/pages"]).await.exits_with(23);
    run.mentions(&["/dev/null/pages", "directory"]);
}
