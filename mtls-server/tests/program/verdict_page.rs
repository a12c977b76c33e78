//! `/.multipath`, for every kind of client.

use crate::common::{REQUIRE, Site, curl, get, text, verdict_of};
use serde_json::Value;

const PAGE: &str = "/.multipath";

fn body_of(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn a_plain_client_sees_that_no_side_connection_opened_a_verification() {
    let site = Site::new();
    let server = site.serve(&[]);
    let Some(output) = curl(&site.pem("ca.pem"), &[&server.url(PAGE)]) else {
        return;
    };
    let response = text(&output.stdout);
    assert!(response.starts_with("HTTP/2 200"), "{response}");
    assert!(response.contains("content-type: text/plain"), "{response}");
    assert!(response.contains("cache-control: no-store"), "{response}");
    let page = body_of(&response);
    assert!(page.starts_with("NOT VERIFIED\n"), "{page}");
    assert!(page.contains("a man in the middle is a client"), "{page}");
    assert!(page.lines().all(|line| line.len() <= 80), "{page}");
    assert_eq!(
        verdict_of(&response),
        "unverified; reason=no-side-connection"
    );
}

#[test]
fn a_browser_gets_a_page_that_needs_nothing_from_elsewhere() {
    let site = Site::new();
    let server = site.serve(&[]);
    let accept = "accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let Some(output) = curl(&site.pem("ca.pem"), &["-H", accept, &server.url(PAGE)]) else {
        return;
    };
    let response = text(&output.stdout);
    assert!(response.contains("content-type: text/html"), "{response}");
    let policy = response
        .lines()
        .find_map(|line| line.strip_prefix("content-security-policy: "))
        .expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let page = body_of(&response);
    for forbidden in ["<script", "src=", "@import", "url(", " style="] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let foreign = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!foreign.contains("://"), "{page}");
    assert!(page.contains("<h1>Not verified</h1>"), "{page}");
}

#[test]
fn the_page_can_only_be_read() {
    let site = Site::new();
    let server = site.serve(&[]);
    let url = server.url(PAGE);
    let Some(output) = curl(&site.pem("ca.pem"), &["-d", "x", &url]) else {
        return;
    };
    let response = text(&output.stdout);
    assert!(response.starts_with("HTTP/2 405"), "{response}");
    assert!(response.contains("allow: GET,HEAD"), "{response}");
    let output = curl(&site.pem("ca.pem"), &["-I", &url]).expect("curl");
    let response = text(&output.stdout);
    assert!(response.starts_with("HTTP/2 200"), "{response}");
    assert_eq!(body_of(&response), "");
}

#[tokio::test]
async fn a_verified_client_sees_its_paths_and_its_handshakes_name() {
    let site = Site::new();
    let server = site.serve(&REQUIRE);
    for (accept, part) in [
        ("*/*", "VERIFIED\n"),
        ("text/html", "<h1>Verified</h1>"),
        ("application/json", "\"verdict\":\"verified\""),
    ] {
        let mut stream = site.connect(server.address).await;
        let verdict = stream.verdict();
        let association = verdict.association.expect("a name").to_string();
        let side = verdict.paths[1].local.expect("an address").to_string();
        let path = format!("{PAGE} HTTP/1.1\r\naccept: {accept}\r\nx-rest:");
        let response = get(&mut stream, &path).await;
        let page = body_of(&response);
        assert!(page.contains(part), "{response}");
        assert!(page.contains(&association), "{page}");
        assert!(page.contains(&side), "{page}");
        assert!(page.contains(&server.address.to_string()), "{page}");
    }
}

#[tokio::test]
async fn programs_get_the_whole_verdict() {
    let site = Site::new();
    let server = site.serve(&REQUIRE);
    let mut stream = site.connect(server.address).await;
    let path = format!("{PAGE} HTTP/1.1\r\naccept: application/json\r\nx-rest:");
    let response = get(&mut stream, &path).await;
    let report: Value = serde_json::from_str(body_of(&response)).expect("JSON");
    assert_eq!(report["schema"], 1);
    assert_eq!(report["seen_by"], "server");
    assert_eq!(report["verdict"], "verified");
    assert_eq!(report["binding"], "exporter");
    assert_eq!(report["server"], server.address.to_string());
    assert_eq!(report["paths"][1]["role"], "side");
    assert_eq!(report["paths"][1]["result"], "verified");
    assert_eq!(report["tls"]["version"], "TLSv1.3");
    assert!(
        report["meaning"]
            .as_str()
            .is_some_and(|words| words.len() > 40)
    );
}
