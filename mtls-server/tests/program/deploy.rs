//! The commands and files of `docs/deploy`, started as they are but for paths and ports.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::common::{HUNG, Running, Site, binary, curl, text};
use rustix::process::Signal;

const UNIT: &str = include_str!("../../../docs/deploy/mtls-server.service");
const SOCKET: &str = include_str!("../../../docs/deploy/mtls-server.socket");
const SIDE_SOCKET: &str = include_str!("../../../docs/deploy/mtls-server-side.socket");
const CONFIGURATION: &str = include_str!("../../../docs/deploy/mtls-server.toml");
const DOCKERFILE: &str = include_str!("../../../docs/deploy/Dockerfile");
const README: &str = include_str!("../../../docs/deploy/README.md");

/// A port that is free for IPv4 and, if the machine has it, for IPv6.
fn free_port() -> u16 {
    loop {
        let port = crate::common::reserve((Ipv4Addr::UNSPECIFIED, 0).into()).port();
        if !has_ipv6() || crate::common::is_free_for_ipv6(port) {
            return port;
        }
    }
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        eprintln!("without IPv6: this machine has none");
    }
    has
}

/// The shipped configuration with this machine's paths, and with the port 443 as `port`.
fn configuration(site: &Site, port: u16) -> String {
    let mut text = CONFIGURATION
        .replace("/srv/www", &site.www().display().to_string())
        .replace("/etc/mtls-server/tls", &site.pem("").display().to_string())
        .replace(":443\"", &format!(":{port}\""))
        .replace(":9090\"", ":0\"")
        .replace(
            "# side-listen = \"198.51.100.7:9443\"",
            "side-listen = \"127.0.0.1:0\"",
        );
    assert!(text.contains("\nside-listen"), "{text}");
    if !has_ipv6() {
        text = text.replace(&format!(", \"[::]:{port}\""), "");
    }
    text
}

/// The command of a line of the unit, with the program and the configuration of the test.
fn unit_command(key: &str, file: &Path) -> Command {
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .expect("a line");
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/mtls-server"));
    let mut command = binary();
    command.args(words.map(|word| match word {
        "/etc/mtls-server/mtls-server.toml" => file.display().to_string(),
        word => word.to_owned(),
    }));
    command
}

#[test]
fn the_shipped_unit_starts_the_shipped_configuration_on_ipv4_and_ipv6() {
    let site = Site::new();
    let port = free_port();
    let file = site.root.path().join("mtls-server.toml");
    fs::write(&file, configuration(&site, port)).expect("to write");
    let output = unit_command("ExecStartPre=", &file)
        .output()
        .expect("to run");
    let log = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(
        log.contains("nothing wrong: serve") && !log.contains("not checked"),
        "{log}"
    );

    let server = Running::start(unit_command("ExecStart=", &file));
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4");
    if has_ipv6() {
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6");
    }
    let url = format!("https://127.0.0.1:{port}/");
    if let Some(output) = curl(&site.pem("ca.pem"), &[&url]) {
        assert!(text(&output.stdout).contains("<p>the index"));
    }
    let kill = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecReload="));
    assert_eq!(kill, Some("/bin/kill -HUP $MAINPID"));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn config_check_of_a_running_configuration_reports_unchecked_addresses() {
    let site = Site::new();
    let port = free_port();
    let file = site.root.path().join("mtls-server.toml");
    fs::write(&file, configuration(&site, port)).expect("to write");
    let _server = Running::start(unit_command("ExecStart=", &file));
    let output = unit_command("ExecStartPre=", &file)
        .output()
        .expect("to run");
    let log = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{log}{}",
        text(&output.stderr)
    );
    let unchecked = format!("not checked: cannot listen on 0.0.0.0:{port}: it is in use already");
    assert!(log.contains(&unchecked), "{log}");
    assert!(log.contains("nothing wrong: serve"), "{log}");
}

#[test]
fn the_container_starts_by_its_own_and_by_the_documented_command() {
    let site = Site::new();
    // CMD alone.
    let (entry, default) = (words_of("ENTRYPOINT"), words_of("CMD"));
    assert_eq!(entry, ["/usr/local/bin/mtls-server"]);
    let mut command = binary();
    let output = command.args(&default).output().expect("to run");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    // The documented arguments.
    let documented = README
        .lines()
        .find_map(|line| line.trim().strip_prefix("mtls-server serve /srv/www "))
        .expect("a command");
    let kubernetes = "serve /srv/www --cert /tls/tls.crt --key /tls/tls.key --status 0.0.0.0:9090 \
                      --unsafe-status";
    assert_eq!(kubernetes_arguments(), kubernetes);
    for arguments in [&format!("serve /srv/www {documented}"), kubernetes] {
        let mut command = binary();
        command.envs(container_environment());
        command.args(arguments.split_whitespace().map(|word| match word {
            "/srv/www" => site.www().display().to_string(),
            "/tls/server.pem" | "/tls/tls.crt" => site.pem("server.pem").display().to_string(),
            "/tls/server.key" | "/tls/tls.key" => site.pem("server.key").display().to_string(),
            "0.0.0.0:9090" => "0.0.0.0:0".to_owned(),
            word => word.to_owned(),
        }));
        let server = Running::start(command);
        assert_eq!(server.address.ip(), Ipv4Addr::UNSPECIFIED);
        server.signal(Signal::TERM);
        assert_eq!(server.wait().0.code(), Some(0), "within {HUNG:?}");
    }
}

/// The words of an instruction in its JSON form.
fn words_of(instruction: &str) -> Vec<String> {
    let line = DOCKERFILE
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(instruction))
        .expect("an instruction");
    serde_json::from_str(line.trim()).expect("a list of words")
}

/// The variables that the image sets, with the port 8443 as one that is free.
fn container_environment() -> Vec<(String, String)> {
    let variables: Vec<_> = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("ENV ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.replace(":8443", ":0")))
        .collect();
    assert!(!variables.is_empty());
    variables
}

/// The arguments of the container in Kubernetes, as one line.
fn kubernetes_arguments() -> String {
    let (_, rest) = README.split_once("args: [").expect("arguments");
    let (list, _) = rest.split_once(']').expect("an end");
    let words: Vec<_> = list
        .split(',')
        .map(|word| word.trim().trim_matches('"'))
        .collect();
    words.join(" ")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let site = Site::new();
    let program = env!("CARGO_BIN_EXE_mtls-server");
    let unit = UNIT.replace("/usr/local/bin/mtls-server", program);
    let files = [
        ("mtls-server.service", unit.as_str()),
        ("mtls-server.socket", SOCKET),
        ("mtls-server-side.socket", SIDE_SOCKET),
    ]
    .map(|(name, text)| {
        let file = site.root.path().join(name);
        fs::write(&file, text).expect("to write");
        file.display().to_string()
    });
    let [unit, socket, side] = &files;
    let options = ["verify", "--man=no", "--recursive-errors=no"];
    let arguments = [&options[..], &[unit, socket, side]].concat();
    if let Some(output) = crate::common::tool("systemd-analyze", &arguments, "") {
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            !text(&output.stderr).contains("mtls-server"),
            "{}",
            text(&output.stderr)
        );
    }
}
