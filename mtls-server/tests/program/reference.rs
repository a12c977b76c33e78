//! `completions` and `man`.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use crate::common::{binary, text};

const COMMANDS: [&str; 6] = [
    "serve",
    "passthrough",
    "terminate",
    "config check",
    "completions",
    "man",
];

fn run(mut command: Command) -> Output {
    command.output().expect("to run")
}

fn output_of(arguments: &[&str]) -> String {
    let mut command = binary();
    command.args(arguments);
    let Output {
        status,
        stdout,
        stderr,
    } = run(command);
    assert!(status.success(), "{arguments:?}: {}", text(&stderr));
    text(&stdout)
}

/// The long options in a help text or in the source of a page.
fn options(text: &str) -> BTreeSet<String> {
    let plain = text
        .replace("\\-", "-")
        .replace("\\fB", " ")
        .replace("\\fI", " ");
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_command_has_a_manual_page_with_all_of_its_options() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = folder.path().join("man1");
    let mut command = binary();
    command.arg("man").arg(&dir);
    let listed = text(&run(command).stdout);
    let mut names = vec![String::new()];
    names.extend(COMMANDS.map(|command| format!(" {command}")));
    for name in names {
        let page = format!("mtls-server{}.1", name.replace(' ', "-"));
        let path = dir.join(&page);
        assert!(
            listed
                .lines()
                .any(|line| line == path.display().to_string())
        );
        let page = fs::read_to_string(&path).expect("a page");
        let mut arguments: Vec<_> = name.split_whitespace().collect();
        arguments.push("--help");
        let missing: Vec<_> = options(&output_of(&arguments))
            .difference(&options(&page))
            .cloned()
            .collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}");
        assert_well_formed(&path);
    }
}

/// The lines of the examples are as long as in the help, and there is no date.
fn assert_well_formed(page: &std::path::Path) {
    let mut lint = Command::new("mandoc");
    lint.args(["-Tlint", "-W", "warning"]).arg(page);
    let Ok(output) = lint.output() else {
        println!("skipped: mandoc is not installed");
        return;
    };
    let log = text(&output.stdout);
    let complaints: Vec<_> = log
        .lines()
        .filter(|line| !line.contains("missing date"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn each_shell_has_a_completion_script_for_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output_of(&["completions", shell]);
        let words = COMMANDS.iter().flat_map(|command| command.split(' '));
        for word in words.chain(["side-listen"]) {
            assert!(script.contains(word), "no `{word}` for {shell}");
        }
    }
}

#[test]
fn bash_completes_a_command_an_option_and_its_values() {
    let folder = tempfile::tempdir().expect("a directory");
    let script = folder.path().join("completions.bash");
    fs::write(&script, output_of(&["completions", "bash"])).expect("to write");
    for (typed, current, expected) in [
        ("mtls-server pass", "pass", "passthrough"),
        ("mtls-server serve --side-l", "--side-l", "--side-listen"),
        ("mtls-server config che", "che", "check"),
    ] {
        let count = typed.split(' ').count() - 1;
        let words = format!(
            "source '{}'; COMP_WORDS=({typed}); COMP_CWORD={count}; \
             $(complete -p mtls-server | sed 's/.*-F \\([^ ]*\\).*/\\1/') mtls-server '{current}' ''; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let Ok(output) = Command::new("bash").args(["--norc", "-c", &words]).output() else {
            println!("skipped: bash is not installed");
            return;
        };
        assert_eq!(
            text(&output.stdout).trim(),
            expected,
            "{typed}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn pages_that_cannot_be_written_name_their_path_and_the_remedy() {
    let mut command = binary();
    command.args(["man", "/dev/null/pages"]);
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    assert!(
        log.contains("/dev/null/pages") && log.contains("directory"),
        "{log}"
    );
}

/// The environment of a server that is to serve a directory must not say where the pages go.
#[test]
fn the_directory_of_the_pages_is_not_taken_from_the_environment() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut command = binary();
    command.arg("man").env("MTLS_SERVER_DIR", folder.path());
    assert_eq!(run(command).status.code(), Some(2));
    let left = fs::read_dir(folder.path()).expect("to read").count();
    assert_eq!(left, 0);
}
