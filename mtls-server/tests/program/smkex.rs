//! A server without a certificate.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use crate::common::{HUNG, Running, Site, binary, get, patient, text, verdict_of};
use mtls_core::path::{Endpoint, Path};
use mtls_core::smkex::SmkexClient;
use mtls_core::{Error, MultipathConnector, NotSmkex, Policy};
use rustls::crypto::aws_lc_rs;
use tokio::time::timeout;

fn command(site: &Site, more: &[&str]) -> Command {
    let mut command = binary();
    command.arg("serve").arg(site.www()).arg("--smkex");
    command.args(["--listen", "127.0.0.1:0"]).args(more);
    command
}

fn connector() -> MultipathConnector {
    SmkexClient::new(Arc::new(aws_lc_rs::default_provider()))
        .alpn(&[b"http/1.1"])
        .connector(patient(Policy::Require).side(Path::system()))
        .expect("a provider with TLS 1.3")
        .build()
        .expect("a connector")
}

#[tokio::test]
async fn a_client_that_takes_any_key_is_served_and_verified() {
    let site = Site::new();
    let mut server = Running::start(command(&site, &[]));
    server.wait_for("mtls-client get --smkex https://localhost:");
    assert!(server.log()[0].contains("(policy require)"));
    let to = Endpoint::from(server.address);
    let mut stream = connector().connect(&to).await.expect("a verified stream");
    assert_eq!(stream.verdict().tls.server_key, Some("raw-public-key"));
    let response = get(&mut stream, "/sub/file.txt").await;
    assert!(response.ends_with("a file"), "{response}");
    assert_eq!(verdict_of(&response), "verified; binding=exporter; sides=1");
}

/// The public key that the server shows.
async fn shown_key(server: &Running) -> String {
    let to = Endpoint::from(server.address);
    let stream = connector().connect(&to).await.expect("a verified stream");
    let key = stream.verdict().tls.peer_key_sha256.clone();
    key.expect("a key")
}

#[tokio::test]
async fn a_key_in_a_file_is_created_once_and_shown_after_a_restart() {
    let site = Site::new();
    let file = site.pem("smkex.key");
    let options = ["--smkex-key", file.to_str().expect("UTF-8")];
    let first = shown_key(&Running::start(command(&site, &options))).await;
    let created = std::fs::read_to_string(&file).expect("a file");
    assert!(created.starts_with("-----BEGIN PRIVATE KEY-----"));
    let mode = std::fs::metadata(&file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        shown_key(&Running::start(command(&site, &options))).await,
        first
    );
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), created);
    let other = shown_key(&Running::start(command(&site, &[]))).await;
    assert_ne!(other, first, "one for this run");
}

#[test]
fn a_key_that_cannot_be_used_or_would_be_served_is_refused_and_not_changed() {
    let site = Site::new();
    let (damaged, served) = (site.pem("damaged.key"), site.www().join("smkex.key"));
    std::fs::write(&damaged, "no key\n").expect("to write");
    for (file, part) in [
        (damaged.as_path(), "SMKEX key"),
        (served.as_path(), "every client could fetch it"),
        (
            std::path::Path::new("/dev/null/smkex.key"),
            "cannot write /dev/null/smkex.key",
        ),
    ] {
        let options = ["--smkex-key", file.to_str().expect("UTF-8")];
        let output = command(&site, &options).output().expect("to run");
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains(part), "{log}");
    }
    assert_eq!(
        std::fs::read_to_string(&damaged).expect("a file"),
        "no key\n"
    );
    assert!(!served.exists());
}

#[tokio::test]
async fn a_client_of_certificates_is_refused() {
    let site = Site::new();
    let server = Running::start(command(&site, &[]));
    let to = Endpoint::from(server.address);
    let refused = timeout(HUNG, site.connector().connect(&to)).await;
    let refused = refused.expect("an end");
    assert!(matches!(refused, Err(Error::Tls(_))), "{refused:?}");
    let settings = patient(Policy::Observe).side(Path::system());
    let connector = MultipathConnector::builder(site.client_config(), settings)
        .build()
        .expect("a connector");
    assert!(connector.connect(&to).await.is_err(), "nor another policy");
}

#[tokio::test]
async fn a_client_of_raw_keys_is_refused_by_a_server_of_certificates() {
    let site = Site::new();
    let server = site.serve(&[]);
    let refused = connector().connect(&Endpoint::from(server.address)).await;
    assert!(
        matches!(refused, Err(Error::NotSmkex(NotSmkex::Server(_)))),
        "{refused:?}"
    );
}

#[test]
fn conflicting_options_are_refused_with_status_2() {
    let site = Site::new();
    for (more, part) in [
        (&["--policy", "prefer"][..], "cannot be `prefer`"),
        (&["--policy", "observe"], "cannot be `observe`"),
        (&["--cert", "x", "--key", "y"], "--cert"),
        (&["--dev"], "--dev"),
        (&["--client-ca", "x"], "--client-ca"),
        (&["--smkex-key", "x", "--dev"], "--dev"),
    ] {
        let output = command(&site, more).output().expect("to run");
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {log}");
        assert!(log.contains("--smkex") && log.contains(part), "{log}");
    }
}
