//! Certificates that are renewed while the server runs, and certificates of clients.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{HUNG, Running, Site, binary, connector, get, read_head, send_get};
use mtls_certs::{Leaf, Pki};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn new_pki() -> Pki {
    Pki::new(&["localhost", "127.0.0.1"]).expect("a pki")
}

fn files(site: &Site, directory: &Path) -> Running {
    let mut command = binary();
    command.arg("serve").arg(site.www());
    command.arg("--cert").arg(directory.join("server.pem"));
    command.arg("--key").arg(directory.join("server.key"));
    command.args(["--listen", "127.0.0.1:0"]);
    Running::start(command)
}

/// A page over a new connection, for who trusts the CA of `pki`; `None` when there is none.
async fn page(pki: &Pki, identity: Option<&Leaf>, address: SocketAddr) -> Option<String> {
    let connecting = connector(pki, identity);
    let stream = connecting.connect(&address.into()).await;
    let mut stream = stream.inspect_err(|error| eprintln!("{error}")).ok()?;
    // In TLS 1.3 a client hears only after its handshake that its certificate was refused.
    stream.write_all(REQUEST).await.ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await.ok()?;
    Some(page)
}

async fn serves(pki: &Pki, address: SocketAddr) -> bool {
    let page = timeout(HUNG, page(pki, None, address)).await;
    page.expect("an end")
        .is_some_and(|page| page.contains("<p>the index"))
}

/// Renames a file over the one that is there.
fn replace(from: &Path, to: &Path) {
    let next = to.with_extension("next");
    fs::copy(from, &next).expect("to copy");
    fs::rename(&next, to).expect("to rename");
}

/// The same with these contents: a server that looks in between sees no half of them.
fn replace_by(contents: &[u8], to: &Path) {
    let next = to.with_extension("next");
    fs::write(&next, contents).expect("to write");
    fs::rename(&next, to).expect("to rename");
}

#[tokio::test]
async fn renewed_certificate_is_used_and_open_connections_go_on() {
    let site = Site::new();
    let mut server = site.serve(&[]);
    let mut open = site.connect(server.address).await;
    send_get(&mut open, "/sub/file.txt", "keep-alive").await;
    let (_, body) = read_head(&mut open).await;
    assert!(body.len() <= "a file".len());
    let mut rest = vec![0; "a file".len() - body.len()];
    open.read_exact(&mut rest).await.expect("the body");

    let renewed = new_pki();
    let fresh = site.root.path().join("fresh");
    renewed.write(&fresh, false).expect("to write");
    for name in ["server.pem", "server.key"] {
        replace(&fresh.join(name), &site.pem(name));
    }
    server.wait_for("new connections get the certificate that ends on ");
    assert!(serves(&renewed, server.address).await);
    assert!(!serves(&site.pki, server.address).await);
    assert!(get(&mut open, "/").await.contains("<p>the index"));
}

#[tokio::test]
async fn an_invalid_pair_is_reported_once_and_the_old_one_stays_in_use() {
    let site = Site::new();
    let mut server = site.serve(&[]);
    let key = fs::read(site.pem("server.key")).expect("a key");
    replace_by(b"nonsense", &site.pem("server.key"));
    let log = server.wait_for("the certificate from before stays in use");
    assert!(log.contains("the files have changed: "), "{log}");
    assert!(log.contains("there is no private key in it"), "{log}");
    assert!(serves(&site.pki, server.address).await);

    replace(&site.pem("rogue.key"), &site.pem("server.key"));
    let log = server.wait_for("the certificate from before stays in use");
    assert!(log.contains("does not belong to the certificate"), "{log}");
    assert!(serves(&site.pki, server.address).await);

    fs::remove_file(site.pem("server.key")).expect("to remove");
    let log = server.wait_for("the certificate from before stays in use");
    assert!(log.contains("cannot read the key"), "{log}");

    replace_by(&key, &site.pem("server.key"));
    server.wait_for("new connections get the certificate");
    assert!(serves(&site.pki, server.address).await);
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    let complaints = log.iter().filter(|line| line.contains("from before"));
    assert_eq!(complaints.count(), 3, "{log:#?}");
}

#[tokio::test]
async fn sighup_reloads_at_once_and_ends_nothing() {
    let site = Site::new();
    let mut server = site.serve(&[]);
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: new connections get the certificate");
    fs::write(site.pem("server.pem"), "nonsense").expect("to write");
    server.signal(Signal::HUP);
    let log = server.wait_for("SIGHUP: nothing was reloaded");
    assert!(log.contains("there is no certificate in it"), "{log}");
    assert!(serves(&site.pki, server.address).await);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[tokio::test]
async fn symbolic_links_that_are_swapped_are_followed() {
    let site = Site::new();
    // As Kubernetes mounts a secret: server.pem -> ..data/server.pem, ..data -> a directory.
    let mount = site.root.path().join("mount");
    fs::create_dir(&mount).expect("a directory");
    let (first, second) = (new_pki(), new_pki());
    first.write(&mount.join("..1"), false).expect("to write");
    second.write(&mount.join("..2"), false).expect("to write");
    symlink("..1", mount.join("..data")).expect("a link");
    for name in ["server.pem", "server.key"] {
        symlink(format!("..data/{name}"), mount.join(name)).expect("a link");
    }
    let mut server = files(&site, &mount);
    assert!(serves(&first, server.address).await);
    symlink("..2", mount.join("..data_tmp")).expect("a link");
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("to rename");
    server.wait_for("new connections get the certificate");
    assert!(serves(&second, server.address).await);
    assert!(!serves(&first, server.address).await);
}

#[test]
fn sighup_without_files_ends_nothing() {
    let site = Site::new();
    let mut command = binary();
    command
        .arg("serve")
        .arg(site.www())
        .args(["--dev", "--listen", "127.0.0.1:0"]);
    let mut server = Running::start(command);
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: there is nothing to reload");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[tokio::test]
async fn only_clients_of_the_client_ca_are_served() {
    let site = Site::new();
    let clients = new_pki();
    let ca = site.root.path().join("clients.pem");
    fs::write(&ca, clients.ca.cert_pem()).expect("to write");
    let mut server = site.serve(&["--client-ca", &ca.display().to_string()]);
    let alice = clients.ca.issue_client("alice").expect("a certificate");
    let mallory = site.pki.ca.issue_client("mallory").expect("a certificate");
    let page_of = async |leaf| {
        let page = page(&site.pki, leaf, server.address);
        timeout(HUNG, page).await.expect("an end")
    };
    let served = page_of(Some(&alice)).await.expect("a page");
    assert!(served.contains("<p>the index"));
    assert_eq!(page_of(None).await, None);
    assert_eq!(page_of(Some(&mallory)).await, None);

    // The authorities are renewed as the certificate is.
    fs::write(&ca, site.pki.ca.cert_pem()).expect("to write");
    server.wait_for("new connections get the certificate");
    let served = timeout(HUNG, page(&site.pki, Some(&mallory), server.address)).await;
    let served = served.expect("an end").expect("a page");
    assert!(served.contains("<p>the index"));
}

#[tokio::test]
async fn a_fifo_in_the_place_of_the_key_is_refused_and_later_reloads_work() {
    let site = Site::new();
    let mut server = site.serve(&[]);
    let key = site.pem("server.key");
    let kept = fs::read(&key).expect("the key");
    fs::remove_file(&key).expect("to remove");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &key, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a FIFO");
    server.signal(Signal::HUP);
    let line = server.wait_for("SIGHUP: nothing was reloaded");
    assert!(line.contains("it is not a regular file"), "{line}");
    assert!(line.contains("server.key"), "{line}");

    fs::remove_file(&key).expect("to remove");
    fs::write(&key, kept).expect("to write");
    server.signal(Signal::HUP);
    server.wait_for("SIGHUP: new connections get the certificate");
    assert!(serves(&site.pki, server.address).await);
}
