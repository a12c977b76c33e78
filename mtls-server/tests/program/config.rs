//! Options from a file and from the environment.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::common::{Running, Site, binary, curl, text};
use rustix::process::Signal;

/// A configuration file in the site's directory.
fn write(site: &Site, content: &str) -> PathBuf {
    let file = site.root.path().join("server.toml");
    fs::write(&file, content).expect("to write");
    file
}

/// The table of a server that can serve, and what is in `more`.
fn complete(site: &Site, more: &str) -> PathBuf {
    let (dir, cert, key) = (site.www(), site.pem("server.pem"), site.pem("server.key"));
    write(
        site,
        &format!("[serve]\ndir = {dir:?}\ncert = {cert:?}\nkey = {key:?}\n{more}"),
    )
}

fn with_file(arguments: &[&str], file: &PathBuf) -> Command {
    let mut command = binary();
    command.args(arguments).arg("--config").arg(file);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("to run")
}

/// One line on standard error, with the parts in it, and status 2.
fn assert_refused(command: Command, parts: &[&str]) {
    let output = run(command);
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{parts:?}: {log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    for part in parts {
        assert!(log.contains(part), "expected {part:?}: {log}");
    }
}

fn check(file: &PathBuf) -> Output {
    let mut command = binary();
    command.args(["config", "check"]).arg(file);
    run(command)
}

#[test]
fn a_file_can_set_every_option_of_the_command_line() {
    let site = Site::new();
    let more = "listen = ['127.0.0.1:0', '127.0.0.2:0']\nside-listen = '127.0.0.1:0'\n\
                policy = 'observe'\nmax-connections = 4_096\nidle-timeout = '5m'\nverbose = 1\n";
    let file = complete(&site, more);
    let mut server = Running::start(with_file(&["serve"], &file));
    server.wait_for("https://127.0.0.2:");
    let log = server.wait_for("side connections too on 127.0.0.1:");
    assert!(!log.is_empty());
    if let Some(output) = curl(&site.pem("ca.pem"), &[&server.url("/")]) {
        assert!(text(&output.stdout).contains("<p>the index"));
    }
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    let log = log.join("\n");
    assert!(log.contains("(policy observe)"), "{log}");
}

#[test]
fn the_command_line_precedes_the_environment_and_the_environment_the_file() {
    let site = Site::new();
    let file = complete(&site, "policy = 'require'\nlisten = '127.0.0.1:0'\n");
    let policy_of = |mut command: Command, environment: Option<&str>| {
        if let Some(policy) = environment {
            command.env("MTLS_SERVER_POLICY", policy);
        }
        let server = Running::start(command);
        server.signal(Signal::TERM);
        let (_, log) = server.wait();
        log.join("\n")
    };
    let log = policy_of(with_file(&["serve"], &file), None);
    assert!(log.contains("(policy require)"), "{log}");
    let log = policy_of(with_file(&["serve"], &file), Some("observe"));
    assert!(log.contains("(policy observe)"), "{log}");
    let typed = ["serve", "--policy", "prefer"];
    let log = policy_of(with_file(&typed, &file), Some("observe"));
    assert!(log.contains("(policy prefer)"), "{log}");
}

#[test]
fn the_environment_alone_is_enough() {
    let site = Site::new();
    let mut command = binary();
    command
        .arg("serve")
        .env("MTLS_SERVER_DIR", site.www())
        .env("MTLS_SERVER_DEV", "1")
        .env("MTLS_SERVER_CERT", "")
        .env("MTLS_SERVER_LISTEN", "127.0.0.1:0,127.0.0.3:0");
    let mut server = Running::start(command);
    server.wait_for("https://127.0.0.3:");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_flag_that_is_off_in_the_environment_conflicts_with_nothing() {
    let site = Site::new();
    let mut command = site.command(&["--listen", "127.0.0.1:0"]);
    command.env("MTLS_SERVER_DEV", "false");
    let server = Running::start(command);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_wrong_variable_is_named() {
    let site = Site::new();
    for (variable, value, part) in [
        ("MTLS_SERVER_POLICY", "mutual", "`require`"),
        ("MTLS_SERVER_SIDE_LISTEN", "here", "invalid socket address"),
        ("MTLS_SERVER_DEV", "perhaps", "--dev"),
        ("MTLS_SERVER_DEV", "yes", "cannot be used with"),
    ] {
        let mut command = site.command(&[]);
        command.env(variable, value);
        assert_refused(command, &[variable, part]);
    }
}

#[test]
fn the_file_may_be_named_in_the_environment() {
    let site = Site::new();
    let file = complete(&site, "listen = '127.0.0.1:0'\n");
    let mut command = binary();
    command.arg("serve").env("MTLS_SERVER_CONFIG", &file);
    let server = Running::start(command);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn unknown_keys_and_tables_are_refused_with_their_line() {
    let site = Site::new();
    let place = |line: usize| format!("server.toml:{line}: ");
    let file = complete(&site, "lisen = '127.0.0.1:0'\n");
    let did_you_mean = "unknown key `lisen` in [serve]; did you mean `listen`?";
    assert_refused(with_file(&["serve"], &file), &[&place(5), did_you_mean]);
    let file = complete(&site, "side_listen = '127.0.0.1:0'\n");
    let did_you_mean = "did you mean `side-listen`?";
    assert_refused(with_file(&["serve"], &file), &[&place(5), did_you_mean]);
    let file = complete(&site, "colour = 'red'\n");
    assert_refused(
        with_file(&["serve"], &file),
        &[&place(5), "unknown key `colour`", "--help"],
    );
    let file = complete(&site, "config = 'other.toml'\n");
    assert_refused(with_file(&["serve"], &file), &[&place(5), "`config`"]);
    let file = complete(&site, "\n[server]\ndir = 'x'\n");
    assert_refused(
        with_file(&["serve"], &file),
        &[&place(6), "unknown table [server]", "[serve]"],
    );
    let file = write(&site, "# nothing\nlisten = 'x'\n");
    assert_refused(
        with_file(&["serve"], &file),
        &[&place(2), "stands outside a table"],
    );
    let file = write(&site, "");
    assert_refused(with_file(&["serve"], &file), &["there is no table [serve]"]);
}

#[test]
fn wrong_values_are_refused_with_their_line() {
    let site = Site::new();
    for (more, parts) in [
        ("dev = 'yes'", ["`dev` must be true or false", ":5: "]),
        ("listen = []", ["`listen` must be", ":5: "]),
        ("listen = [1.5]", ["`listen` must be", ":5: "]),
        ("policy = ['require']", ["`policy` must be", ":5: "]),
        ("max-connections = 0", ["--max-connections", ":5: "]),
        ("max-connections = 0x10", ["`max-connections` must", ":5: "]),
        ("\nlisten = 'here'", ["--listen", ":6: "]),
        ("policy = 'mutual'", ["`require`, `prefer`", ":5: "]),
        ("dev = true", ["cannot be used with", ".toml:"]),
        ("policy = ", ["not TOML", ":5: "]),
        ("key = 'twice'", ["not TOML", ":5: "]),
    ] {
        let file = complete(&site, more);
        assert_refused(with_file(&["serve"], &file), &parts);
    }
}

#[test]
fn a_message_about_a_file_has_one_short_line_without_control_characters() {
    let site = Site::new();
    let long = "k".repeat(1 << 20);
    for more in [
        format!("{long} = 1"),
        format!("[{long}]\nx = 1"),
        "\"\\u001b[31mred\\nline\" = 1".to_owned(),
        "dir2 = 1\n[\"\\u001b\"]\nx = 1".to_owned(),
        "status = '127.0.0.1:0'\nclient-ca = \"a\\u001b\\u0000b\"".to_owned(),
    ] {
        let output = check(&complete(&site, &more));
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.len() < 2_000, "{} bytes", log.len());
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!log.contains(control), "{log:?}");
    }
}

#[test]
fn a_file_without_an_end_is_refused() {
    let device = PathBuf::from("/dev/zero");
    assert_refused(with_file(&["serve"], &device), &["longer than 16 MiB"]);
    let output = check(&device);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn only_a_variable_separates_values_by_commas() {
    let site = Site::new();
    let both = "127.0.0.1:0,127.0.0.1:0";
    let file = complete(&site, &format!("listen = '{both}'\n"));
    assert_eq!(check(&file).status.code(), Some(2));
    assert_refused(with_file(&["serve"], &file), &["--listen"]);
    let mut command = site.command(&["--listen", "127.0.0.1:0"]);
    command.env("MTLS_SERVER_SIDE_LISTEN", both);
    let mut server = Running::start(command);
    server.next_side_address();
    server.next_side_address();
}

#[test]
fn conflicts_apply_to_all_sources() {
    let site = Site::new();
    let file = write(&site, "[serve]\ndev = true\n");
    let mut command = site.command(&[]);
    command.arg("--config").arg(&file);
    assert_refused(command, &[":2: ", "cannot be used with", "'--dev'"]);
    let www = site.www().display().to_string();
    let file = write(&site, "[serve]\ncert = 'x'\n");
    let output = run(with_file(&["serve", &www], &file));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--key <FILE>"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let site = Site::new();
    let missing = site.root.path().join("missing.toml");
    assert_refused(
        with_file(&["serve"], &missing),
        &["missing.toml", "cannot read the configuration"],
    );
    assert_eq!(check(&missing).status.code(), Some(2));
}

#[test]
fn an_argument_after_two_dashes_stays_one() {
    let site = Site::new();
    let file = write(&site, "[serve]\ndev = true\nlisten = '127.0.0.1:0'\n");
    let mut command = with_file(&["serve"], &file);
    command.arg("--").arg(site.www());
    let server = Running::start(command);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn check_reports_that_nothing_is_wrong() {
    let site = Site::new();
    let file = complete(&site, "listen = '127.0.0.1:0'\n");
    let output = check(&file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let log = text(&output.stdout);
    assert_eq!(log, format!("{}: nothing wrong: serve\n", file.display()));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_finds_addresses_that_cannot_be_listened_on() {
    let site = Site::new();
    for (more, part) in [
        (
            "listen = '192.0.2.1:443'",
            "192.0.2.1:443: this machine does not have that address",
        ),
        (
            "listen = ['127.0.0.1:4443', '0.0.0.0:4443']",
            "cannot listen on both 127.0.0.1:4443 and 0.0.0.0:4443",
        ),
        (
            "listen = '127.0.0.1:4443'\nside-listen = '127.0.0.1:4443'",
            "cannot listen on both 127.0.0.1:4443",
        ),
        (
            "listen = '127.0.0.1:4443'\nstatus = '127.0.0.1:4443'",
            "cannot listen on both 127.0.0.1:4443",
        ),
    ] {
        let output = check(&complete(&site, more));
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more}: {log}");
        assert!(log.contains(part), "expected {part:?}: {log}");
    }
}

#[test]
fn check_names_an_address_that_it_did_not_check() {
    let site = Site::new();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address");
    let output = check(&complete(&site, &format!("listen = '{taken}'\n")));
    let log = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let unchecked = format!(":1: not checked: cannot listen on {taken}: it is in use already");
    assert!(log.contains(&unchecked), "{log}");
    assert!(log.contains("nothing wrong: serve"), "{log}");
}

#[test]
fn check_names_everything_that_is_wrong() {
    let site = Site::new();
    let (cert, rogue) = (site.pem("server.pem"), site.pem("rogue.key"));
    let file = write(
        &site,
        &format!("\n[serve]\ndir = '/nowhere/at/all'\ncert = {cert:?}\nkey = {rogue:?}\n"),
    );
    let output = check(&file);
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains("does not belong to the certificate"), "{log}");
    assert!(
        log.contains("server.toml:2: cannot serve /nowhere"),
        "{log}"
    );
    assert_eq!(text(&output.stdout), "");

    let file = write(&site, "[serve]\nliten = 1\nlisten = 1.5\n");
    let log = text(&check(&file).stderr);
    assert!(
        log.contains(":2: unknown key") && log.contains(":3: `listen`"),
        "{log}"
    );

    let file = write(&site, "[serve]\ndir = 'www'\n");
    let output = check(&file);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(":1: the following required arguments"));

    let file = write(&site, "# nothing\n");
    assert_eq!(check(&file).status.code(), Some(2));
}

#[test]
fn check_reads_the_file_and_not_the_environment() {
    let site = Site::new();
    let file = complete(&site, "");
    let mut command = binary();
    command
        .args(["config", "check"])
        .arg(&file)
        .env("MTLS_SERVER_POLICY", "mutual");
    assert_eq!(run(command).status.code(), Some(0));
}
