//! Headless Chromium, as people's browsers do, and load from h2load.

use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::common::{Running, Site, text, tool};

/// A page as Chromium renders it, and its complaints; `None` if it is not installed.
fn browse(server: &Running, path: &str) -> Option<(String, String)> {
    // The test's authority is no one's but the test's.
    let options = ["--disable-quic", "--ignore-certificate-errors"].map(str::to_owned);
    chromium(&server.url(path), &options)
}

fn chromium(url: &str, options: &[String]) -> Option<(String, String)> {
    let profile = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.args(options).arg(url).stdin(Stdio::null());
    match command.output() {
        Ok(output) => Some((text(&output.stdout), text(&output.stderr))),
        Err(error) => {
            eprintln!("skipped: chromium is not installed: {error}");
            None
        }
    }
}

/// The page's own policy must not keep its style or its icon away.
fn assert_nothing_was_refused(complaints: &str) {
    for part in ["Content Security Policy", "Refused to"] {
        assert!(!complaints.contains(part), "{complaints}");
    }
}

#[test]
fn chromium_renders_the_verdict_page() {
    let site = Site::new();
    let server = site.serve(&[]);
    let Some((page, complaints)) = browse(&server, "/.multipath") else {
        return;
    };
    assert!(
        page.contains("<h1>Not verified</h1>"),
        "{page} {complaints}"
    );
    assert!(page.contains("Carries TLS 1.3"), "{page}");
    assert!(page.contains("<dd class=\"address\">h2</dd>"), "{page}");
    assert_nothing_was_refused(&complaints);
}

#[test]
fn chromium_shows_a_directory() {
    let site = Site::new();
    std::fs::write(site.www().join("sub/<img src=x onerror=alert(1)>"), "").expect("to write");
    let server = site.serve(&["--index"]);
    let Some((page, complaints)) = browse(&server, "/sub/") else {
        return;
    };
    let link = "<a href=\"./file.txt\"><bdi>file.txt</bdi></a>";
    assert!(page.contains(link), "{page} {complaints}");
    assert!(
        page.contains("<bdi>&lt;img src=x onerror=alert(1)&gt;</bdi>"),
        "{page}"
    );
    assert_nothing_was_refused(&complaints);
}

#[test]
fn chromium_shows_an_error_as_a_page() {
    let site = Site::new();
    let server = site.serve(&[]);
    let Some((page, complaints)) = browse(&server, "/missing") else {
        return;
    };
    assert!(
        page.contains("<p class=\"status\">404</p>"),
        "{page} {complaints}"
    );
    assert_nothing_was_refused(&complaints);
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let site = Site::new();
    let server = site.serve(&[]);
    let url = server.url("/sub/file.txt");
    // Without the option it speaks HTTP/2.
    for version in [&[][..], &["--h1"][..]] {
        let load = ["-n", "2000", "-c", "20", "-m", "10", &url];
        let Some(output) = tool("h2load", &[version, &load].concat(), "") else {
            return;
        };
        let report = text(&output.stdout);
        let all = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored";
        assert!(report.contains(all), "{report}");
    }
}

#[test]
fn chromium_renders_the_verdict_page_over_http_3() {
    let site = Site::new();
    let server = site.serve(&["--http3"]);
    let port = server.address.port();
    // QUIC accepts an unknown authority only for a key that is named.
    let leaf = &site.pki.server.chain_der()[0];
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).expect("a certificate");
    let key = Sha256::digest(leaf.public_key().raw);
    let options = [
        format!("--origin-to-force-quic-on=localhost:{port}"),
        "--host-resolver-rules=MAP localhost 127.0.0.1".to_owned(),
        format!(
            "--ignore-certificate-errors-spki-list={}",
            BASE64_STANDARD.encode(key)
        ),
    ];
    let url = format!("https://localhost:{port}/.multipath");
    let Some((page, complaints)) = chromium(&url, &options) else {
        return;
    };
    assert!(
        page.contains("<h1>Not verified</h1>"),
        "{page} {complaints}"
    );
    assert!(page.contains("<dd class=\"address\">h3</dd>"), "{page}");
    assert_nothing_was_refused(&complaints);
}
