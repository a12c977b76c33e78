//! Key files of every kind: a key never reaches the output, and the problem is named.

#[path = "../../../mtls-core/tests/pem/damage.rs"]
mod damage;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Running, Site, binary, text};
use damage::{damaged, find_key, unusual};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustix::process::Signal;

/// A server with the lowest log level, on a free port.
fn serve(site: &Site, cert: &Path, key: &Path) -> Command {
    let mut command = binary();
    command.arg("serve").arg(site.www());
    command.arg("--cert").arg(cert).arg("--key").arg(key);
    command.args(["--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "trace");
    command
}

/// Everything that a command that fails writes.
fn output_of(mut command: Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().expect("to run");
    assert!(!output.status.success(), "{}", text(&output.stderr));
    [output.stdout, output.stderr].concat()
}

fn damaged_of(site: &Site) -> Vec<damage::File> {
    damaged(
        site.pki.server.key_pem(),
        site.pki.server.key_der().secret_der(),
    )
}

/// Asserts that no piece of the server's key is in some output.
fn assert_no_key(site: &Site, name: &str, output: &[u8]) {
    let server = &site.pki.server;
    let found = find_key(output, server.key_pem(), server.key_der().secret_der());
    assert_eq!(found, None, "{name}: {}", text(output));
}

/// The page at this path of the status address.
fn status_page(server: &Running, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.status_address()).expect("a status page");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("to write");
    let mut page = Vec::new();
    stream.read_to_end(&mut page).expect("a page");
    page
}

#[test]
fn a_server_that_refuses_a_damaged_key_shows_no_piece_of_it() {
    let site = Site::new();
    let (cert, key) = (site.pem("server.pem"), site.root.path().join("damaged"));
    for (name, content) in damaged_of(&site) {
        fs::write(&key, content).expect("to write");
        let output = output_of(serve(&site, &cert, &key));
        let log = text(&output);
        assert!(log.contains(&key.display().to_string()), "{name}: {log}");
        assert_no_key(&site, name, &output);
    }
}

#[test]
fn a_damaged_key_in_the_place_of_certificates_is_not_shown() {
    let site = Site::new();
    let file = site.root.path().join("damaged");
    for (name, content) in damaged_of(&site) {
        fs::write(&file, content).expect("to write");
        for mut command in [
            serve(&site, &file, &site.pem("server.key")),
            site.command(&["--client-ca", &file.display().to_string()]),
            target_with_ca(&site, &file),
        ] {
            command.env("RUST_LOG", "trace");
            assert_no_key(&site, name, &output_of(command));
        }
    }
}

fn target_with_ca(site: &Site, ca: &Path) -> Command {
    let mut command = binary();
    command.args([
        "terminate",
        "--target",
        "https://127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
    ]);
    command.arg("--cert").arg(site.pem("server.pem"));
    command.arg("--key").arg(site.pem("server.key"));
    command.arg("--target-ca").arg(ca);
    command
}

#[test]
fn config_check_shows_no_piece_of_a_damaged_key() {
    let site = Site::new();
    let (key, file) = (
        site.root.path().join("damaged"),
        site.root.path().join("toml"),
    );
    let (dir, cert) = (site.www(), site.pem("server.pem"));
    let listen = "listen = '127.0.0.1:0'";
    fs::write(
        &file,
        format!("[serve]\ndir = {dir:?}\ncert = {cert:?}\nkey = {key:?}\n{listen}\n"),
    )
    .expect("to write");
    for (name, content) in damaged_of(&site) {
        fs::write(&key, &content).expect("to write");
        for checked in [&file, &key] {
            let mut command = binary();
            command.args(["config", "check"]).arg(checked);
            command.env("RUST_LOG", "trace");
            assert_no_key(&site, name, &output_of(command));
        }
    }
}

#[test]
fn a_reload_shows_no_piece_of_a_damaged_key_in_the_log_or_on_the_status_page() {
    let site = Site::new();
    let (cert, key) = (site.pem("server.pem"), site.pem("server.key"));
    let mut command = serve(&site, &cert, &key);
    command.args(["--status", "127.0.0.1:0"]);
    let mut server = Running::start(command);
    for (index, (name, content)) in damaged_of(&site).into_iter().enumerate() {
        fs::write(&key, content).expect("to write");
        // The first ones are noticed by themselves.
        if index < 2 {
            server.wait_for("the files have changed: nothing was reloaded");
        } else {
            server.signal(Signal::HUP);
            server.wait_for("SIGHUP: nothing was reloaded");
        }
        for page in ["/status", "/metrics"] {
            assert_no_key(&site, name, &status_page(&server, page));
        }
    }
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert_no_key(&site, "the log", log.join("\n").as_bytes());
}

#[test]
fn a_key_in_the_place_of_its_files_name_is_not_shown() {
    let site = Site::new();
    let key = site.pki.server.key_pem();
    let escaped = key.replace('\n', "\\n");
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    for value in [key, &escaped, &body] {
        let mut typed = serve(&site, &site.pem("server.pem"), Path::new("unused"));
        typed.args(["--key", value]);
        let mut joined = serve(&site, &site.pem("server.pem"), &site.pem("server.key"));
        joined.arg(format!("--client-ca={value}"));
        let mut environment = binary();
        environment.arg("serve").arg(site.www());
        environment.arg("--cert").arg(site.pem("server.pem"));
        environment.env("MTLS_SERVER_KEY", value);
        environment.env("MTLS_SERVER_LISTEN", "127.0.0.1:0");
        let mut wrong_variable = site.command(&[]);
        wrong_variable.env("MTLS_SERVER_LISTEN", value);
        let mut directory = binary();
        directory.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--", value]);
        let file = site.root.path().join("toml");
        let (cert, www) = (site.pem("server.pem"), site.www());
        let content = format!(
            "[serve]\ndir = {www:?}\ncert = {cert:?}\nlisten = {value:?}\nkey = {value:?}\n"
        );
        fs::write(&file, content).expect("to write");
        let mut configured = binary();
        configured.args(["serve", "--config"]).arg(&file);
        let mut checked = binary();
        checked.args(["config", "check"]).arg(&file);
        for command in [
            typed,
            joined,
            environment,
            wrong_variable,
            directory,
            configured,
            checked,
        ] {
            assert_no_key(&site, "a name", &output_of(command));
        }
    }
}

#[test]
fn a_key_of_every_unusual_form_is_served_with_after_a_reload() {
    let site = Site::new();
    let (cert, key) = (site.pem("server.pem"), site.pem("server.key"));
    let mut server = Running::start(serve(&site, &cert, &key));
    for (name, content) in unusual(site.pki.server.key_pem(), site.pki.server.chain_pem()) {
        fs::write(&key, content).expect("to write");
        server.signal(Signal::HUP);
        let line = server.wait_for("SIGHUP: ");
        assert!(
            line.contains("new connections get the certificate"),
            "{name}: {line}"
        );
    }
}

#[test]
fn a_certificate_file_with_a_key_in_it_is_not_served() {
    let site = Site::new();
    let cert = site.www().join("both.pem");
    let both = site.pki.server.chain_pem().to_owned() + site.pki.server.key_pem();
    fs::write(&cert, both).expect("to write");
    let log = text(&output_of(serve(&site, &cert, &site.pem("server.key"))));
    assert!(log.contains("every client could fetch it"), "{log}");
    fs::write(&cert, site.pki.server.chain_pem()).expect("to write");
    let server = Running::start(serve(&site, &cert, &site.pem("server.key")));
    drop(server);
}

/// The difference between a certificate and one without a problem.
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

/// Writes a self-signed certificate and its key in the place of the site's.
fn replace(site: &Site, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("names");
    params.is_ca = IsCa::ExplicitNoCa;
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    fs::write(site.pem("server.key"), key.serialize_pem()).expect("to write");
    fs::write(site.pem("server.pem"), certificate.pem()).expect("to write");
}

#[test]
fn a_certificate_that_clients_refuse_is_warned_of_at_the_start_and_at_a_reload() {
    let site = Site::new();
    let serve = || {
        let mut command = site.command(&["--listen", "127.0.0.1:0"]);
        command.env("NO_COLOR", "1");
        Running::start(command)
    };
    let mut reloaded = serve();
    let soon = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        rcgen::date_time_ymd(1970, 1, 1)
            + now.expect("a time")
            + std::time::Duration::from_secs(3600)
    };
    let expired =
        |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let changes: [(&str, Change<'_>); 4] = [
        ("the certificate expired on Jan  1 00:00:00 2021", &expired),
        ("the certificate expires soon", &|params| {
            params.not_after = soon()
        }),
        ("the certificate is not valid before", &|params| {
            params.not_before = soon()
        }),
        ("that of a CA (CA:TRUE)", &|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
    ];
    for (part, change) in changes {
        replace(&site, change);
        let started = serve();
        started.signal(Signal::TERM);
        let log = started.wait().1.join("\n");
        assert!(
            log.contains(part) && log.contains("WARN"),
            "expected {part:?}: {log}"
        );
        reloaded.signal(Signal::HUP);
        reloaded.wait_for(part);
        reloaded.wait_for("SIGHUP: new connections get the certificate");
    }
}
