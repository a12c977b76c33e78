//! Invalid input produces one sentence and the right exit status.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{Running, Site, binary, curl, text, verdict_of};

fn serve(dir: &Path, cert: &Path, key: &Path, more: &[&str]) -> Command {
    let mut command = binary();
    command
        .arg("serve")
        .arg(dir)
        .arg("--cert")
        .arg(cert)
        .arg("--key")
        .arg(key);
    command.args(more);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("to run")
}

/// One line on standard error, with `part` in it; status 1; nothing was served.
fn assert_fails(command: Command, part: &str) {
    let output = run(command);
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{part}: {log}");
    assert!(log.starts_with("mtls-server: "), "{log}");
    assert!(log.contains(part), "expected {part:?}: {log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_wrong_command_line_has_status_2() {
    let site = Site::new();
    let www = site.www().display().to_string();
    let cases: [(&[&str], &str); 11] = [
        (&[], "Usage"),
        (&["serve"], "<DIR>"),
        (&["serve", &www], "--cert"),
        (&["serve", &www, "--cert", "x"], "--key"),
        (
            &["serve", &www, "--dev", "--cert", "x", "--key", "y"],
            "cannot be used with",
        ),
        (&["serve", &www, "--dev", "--listen", "here"], "--listen"),
        (
            &["serve", &www, "--dev", "--side-listen", "127.0.0.1:65536"],
            "--side-listen",
        ),
        (
            &["serve", &www, "--dev", "--policy", "mutual"],
            "`require`, `prefer` or `observe`",
        ),
        (
            &["serve", &www, "--dev", "--max-connections", "0"],
            "--max-connections",
        ),
        (
            &["serve", &www, "--dev", "--header-timeout", "0s"],
            "longer than zero",
        ),
        (
            &["serve", &www, "--dev", "--shutdown-timeout", "soon"],
            "10s",
        ),
    ];
    for (arguments, part) in cases {
        let mut command = binary();
        command.args(arguments);
        let output = run(command);
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {log}");
        assert!(log.contains(part), "{arguments:?}: {log}");
    }
}

#[test]
fn unusable_certificates_and_keys_are_named() {
    let site = Site::new();
    let (www, cert, key) = (site.www(), site.pem("server.pem"), site.pem("server.key"));
    let nothing = site.root.path().join("nothing");
    let empty = site.root.path().join("empty.pem");
    fs::write(&empty, "").expect("to write");
    let damaged = site.root.path().join("damaged.pem");
    let begin = "-----BEGIN CERTIFICATE-----\n&&&\n-----END CERTIFICATE-----\n";
    fs::write(&damaged, begin).expect("to write");
    let not_der = site.root.path().join("not-der.pem");
    let begin = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&not_der, begin).expect("to write");

    assert_fails(
        serve(&www, &nothing, &key, &[]),
        "cannot read the certificate",
    );
    assert_fails(serve(&www, &www, &key, &[]), "cannot read the certificate");
    assert_fails(serve(&www, &cert, &nothing, &[]), "cannot read the key");
    assert_fails(serve(&www, &empty, &key, &[]), "empty.pem: it is empty");
    assert_fails(serve(&www, &cert, &empty, &[]), "cannot use the key");
    assert_fails(
        serve(&www, &cert, &cert, &[]),
        "there is no private key in it, but a certificate",
    );
    assert_fails(serve(&www, &damaged, &key, &[]), "it is not base64");
    assert_fails(
        serve(&www, &not_der, &key, &[]),
        "cannot use the certificate",
    );
    let rogue = site.pem("rogue.key");
    assert_fails(
        serve(&www, &cert, &rogue, &[]),
        "does not belong to the certificate",
    );
}

#[test]
fn unusable_directories_are_named() {
    let site = Site::new();
    let (cert, key) = (site.pem("server.pem"), site.pem("server.key"));
    let missing = site.www().join("missing");
    assert_fails(serve(&missing, &cert, &key, &[]), "cannot serve");
    let file = site.www().join("index.html");
    assert_fails(serve(&file, &cert, &key, &[]), "it is not a directory");
    // In every spelling of the directory.
    let root = site.www().join("..");
    assert_fails(
        serve(&root, &cert, &key, &[]),
        "every client could fetch it",
    );
}

#[test]
fn unusable_addresses_are_named_and_nothing_is_half_started() {
    let site = Site::new();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    assert_fails(site.command(&["--listen", &taken]), "in use already");
    let both = ["--listen", "127.0.0.1:0", "--side-listen", &taken];
    assert_fails(site.command(&both), "in use already");
    assert_fails(
        site.command(&["--listen", "192.0.2.1:8443"]),
        "does not have that address",
    );
    drop(holder);
}

#[test]
fn a_key_that_others_can_read_is_warned_of_and_used() {
    let site = Site::new();
    fs::set_permissions(site.pem("server.key"), fs::Permissions::from_mode(0o644))
        .expect("to change");
    let mut command = site.command(&["--listen", "127.0.0.1:0"]);
    command.env("NO_COLOR", "1");
    let server = Running::start(command);
    server.signal(rustix::process::Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log[0].contains("can be read by all users"), "{log:#?}");
    assert!(log[0].contains("server.key"), "{log:#?}");
}

#[test]
fn unusable_client_authorities_are_named() {
    let site = Site::new();
    let client_ca = |path: &Path| site.command(&["--client-ca", &path.display().to_string()]);
    let missing = site.root.path().join("missing.pem");
    assert_fails(client_ca(&missing), "cannot read the client CA");
    let key = site.pem("server.key");
    assert_fails(client_ca(&key), "cannot use the client CA");
    let not_der = site.root.path().join("not-der.pem");
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&not_der, text).expect("to write");
    assert_fails(client_ca(&not_der), "cannot use the client CA");
}

#[test]
fn dev_mints_certificates_that_last_as_long_as_the_server() {
    let site = Site::new();
    let mut command = binary();
    command
        .arg("serve")
        .arg(site.www())
        .args(["--dev", "--listen", "127.0.0.1:0"]);
    let mut server = Running::start(command);
    let line = server.wait_for("mtls-client get ");
    let port = server.address.port();
    assert!(
        line.contains(&format!("https://localhost:{port}/")),
        "{line}"
    );
    let (_, ca) = line.split_once(" --cacert ").expect("a CA");
    let ca = Path::new(ca).to_owned();
    assert!(ca.is_file());
    if let Some(output) = curl(&ca, &[&server.url("/")]) {
        let response = text(&output.stdout);
        assert_eq!(
            verdict_of(&response),
            "unverified; reason=no-side-connection"
        );
    }
    server.signal(rustix::process::Signal::TERM);
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(!ca.exists(), "a CA of the past is left behind");
}

#[test]
fn dev_writes_its_ca_to_the_given_file_and_overwrites_nothing() {
    let site = Site::new();
    let ca = site.root.path().join("dev-ca.pem");
    let start = || {
        let mut command = binary();
        command
            .arg("serve")
            .arg(site.www())
            .args(["--dev", "--listen", "127.0.0.1:0"]);
        command.arg("--dev-ca").arg(&ca);
        command
    };
    let mut server = Running::start(start());
    let line = server.wait_for("mtls-client get ");
    assert!(line.ends_with(&ca.display().to_string()), "{line}");
    let written = fs::read_to_string(&ca).expect("a CA");
    assert!(written.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_fails(start(), "cannot write the CA");
    assert_eq!(fs::read_to_string(&ca).expect("a CA"), written);
}
