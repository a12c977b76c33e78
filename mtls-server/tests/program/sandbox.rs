//! The rights that a server drops at its start.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::{Running, Site, get};
use rustix::process::Signal;

fn serve(site: &Site, more: &[&str]) -> Running {
    let mut command = site.command(&["--listen", "127.0.0.1:0"]);
    command.args(more).env("RUST_LOG", "mtls_server=info");
    Running::start_saying(command, " on https://")
}

async fn response(site: &Site, server: &Running, path: &str) -> String {
    let mut stream = site.connect(server.address).await;
    get(&mut stream, path).await
}

#[tokio::test]
async fn a_link_out_of_the_served_directory_leads_nowhere() {
    let site = Site::new();
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("secret"), "a secret").expect("to write");
    symlink(outside.path().join("secret"), site.www().join("link")).expect("a link");
    let open = serve(&site, &["--no-sandbox"]);
    assert!(response(&site, &open, "/link").await.ends_with("a secret"));
    let closed = serve(&site, &[]);
    let refused = response(&site, &closed, "/link").await;
    let log = closed_log(closed);
    if log.contains("sandbox: files restricted,") {
        assert!(!refused.starts_with("HTTP/1.1 200"), "{refused}");
        assert!(!refused.contains("a secret"), "{refused}");
    } else {
        eprintln!("skipped: {log}");
    }
}

fn closed_log(server: Running) -> String {
    server.signal(Signal::TERM);
    server.wait().1.join("\n")
}

#[tokio::test]
async fn the_sandbox_follows_a_replaced_directory_and_a_replaced_certificate() {
    let site = Site::new();
    let releases = site.root.path().join("releases");
    for release in ["1", "2"] {
        let directory = releases.join(release);
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("index.html"), release).expect("to write");
    }
    fs::remove_dir_all(site.www()).expect("to remove");
    symlink(releases.join("1"), site.www()).expect("a link");
    let mut server = serve(&site, &[]);
    assert!(response(&site, &server, "/").await.ends_with("\r\n\r\n1"));
    let next = site.root.path().join("next");
    symlink(releases.join("2"), &next).expect("a link");
    fs::rename(&next, site.www()).expect("to rename");
    assert!(response(&site, &server, "/").await.ends_with("\r\n\r\n2"));
    for name in ["server.pem", "server.key"] {
        let copy = site.pem("copy");
        fs::copy(site.pem(name), &copy).expect("to copy");
        fs::rename(&copy, site.pem(name)).expect("to rename");
    }
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: new connections get the certificate");
    assert!(response(&site, &server, "/").await.ends_with("\r\n\r\n2"));
}

#[test]
fn a_server_keeps_at_most_two_capabilities() {
    let site = Site::new();
    let server = serve(&site, &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("a status");
    // CAP_DAC_READ_SEARCH and CAP_NET_BIND_SERVICE.
    let kept: u64 = (1 << 2) | (1 << 10);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(set))
            .expect("a set");
        let set = u64::from_str_radix(line.trim(), 16).expect("a number");
        assert_eq!(set & !kept, 0, "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

#[test]
fn the_sandbox_is_reported() {
    let site = Site::new();
    let mut server = serve(&site, &[]);
    let log = server.log().join("\n");
    assert!(log.contains("sandbox: files "), "{log}");
    assert!(log.contains("capabilities dropped"), "{log}");
}
