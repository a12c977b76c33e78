//! Header fields that the target and the client receive.

use crate::common::{REQUIRE, Site, free_address, get, verdict_of};
use crate::terminate::backend::Backend;
use crate::terminate::{field_of, status};

const UNVERIFIED: &str = "unverified; reason=no-side-connection";

#[test]
fn the_target_gets_the_verdict_and_no_forged_one() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let forged: Vec<String> = [
        "Multipath-Verdict: verified; binding=exporter; sides=1",
        "Multipath_Verdict: verified; binding=exporter; sides=1",
        "X-Forwarded-For: 192.0.2.66",
        "Forwarded: for=192.0.2.66",
        "X-Forwarded-Host: evil.example",
        "X-Real-IP: 192.0.2.66",
        "Connection: multipath-verdict",
        "X-Kept: 1",
    ]
    .into_iter()
    .flat_map(|field| ["-H".to_owned(), field.to_owned()])
    .collect();
    let host = server.address.to_string();
    for version in ["--http1.1", "--http2"] {
        let mut options: Vec<&str> = forged.iter().map(String::as_str).collect();
        options.push(version);
        let Some((head, body)) = site.fetch(&server, "/a%2fb?c=%00", &options) else {
            return;
        };
        assert!(body.starts_with("GET /a%2fb?c=%00 HTTP/1.1\n"), "{body}");
        assert_eq!(
            field_of(&body, "multipath-verdict"),
            Some(UNVERIFIED),
            "{body}"
        );
        assert_eq!(field_of(&body, "multipath_verdict"), None);
        assert_eq!(field_of(&body, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(field_of(&body, "x-forwarded-proto"), Some("https"));
        assert_eq!(field_of(&body, "x-forwarded-host"), Some(&*host));
        assert_eq!(field_of(&body, "host"), Some(&*host));
        assert_eq!(field_of(&body, "x-real-ip"), None);
        assert_eq!(field_of(&body, "connection"), None);
        assert_eq!(field_of(&body, "x-kept"), Some("1"));
        let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=https");
        assert_eq!(field_of(&body, "forwarded"), Some(&*forwarded));
        let via = if version == "--http2" {
            "2.0 mtls-server"
        } else {
            "1.1 mtls-server"
        };
        assert_eq!(field_of(&body, "via"), Some(via));
        assert_eq!(verdict_of(&head), UNVERIFIED);
    }
}

#[tokio::test]
async fn the_target_gets_the_verdict_on_a_verified_client() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &REQUIRE);
    let mut stream = site.connect(server.address).await;
    let response = get(&mut stream, "/").await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    let verified = "verified; binding=exporter; sides=1";
    assert_eq!(verdict_of(head), verified);
    assert!(
        body.contains(&format!("multipath-verdict: {verified}\n")),
        "{body}"
    );
}

#[test]
fn fields_of_the_targets_connection_do_not_reach_the_client() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    for version in ["--http1.1", "--http2"] {
        let Some((head, _)) = site.fetch(&server, "/hop", &[version]) else {
            return;
        };
        let lower = head.to_ascii_lowercase();
        for gone in ["x-mine", "keep-alive", "proxy-authenticate", "\nconnection"] {
            assert!(!lower.contains(gone), "{gone}: {head}");
        }
        assert!(lower.contains("x-other: 2"), "{head}");
        assert_eq!(verdict_of(&head), UNVERIFIED, "not the target's word");
    }
}

#[test]
fn the_page_about_the_connection_is_this_servers_own() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let Some((head, body)) = site.fetch(&server, "/.multipath", &[]) else {
        return;
    };
    assert_eq!(status(&head), "200");
    assert!(body.starts_with("NOT VERIFIED"), "{body}");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn requests_that_cannot_be_passed_on_are_refused() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    for (options, expected) in [
        (&["--http1.1", "-H", "Host:"][..], "400"),
        (&["--http1.1", "-H", "Host: a b"][..], "400"),
        (&["--http1.1", "-X", "CONNECT"][..], "400 or 501"),
    ] {
        let Some((head, _)) = site.fetch(&server, "/", options) else {
            return;
        };
        let status = status(&head);
        assert!(
            !status.is_empty() && expected.contains(status),
            "{options:?}: {head}"
        );
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn responses_of_the_target_and_errors_request_to_be_remembered() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let options = ["--advertise", "180d", "--advertise-side", "side.test:9443"];
    let field = "multipath-tls: max-age=15552000;side-endpoint=\"side.test:9443\"";
    let dead = format!("http://{}", free_address());
    for (target, status_line) in [(&backend.url, "HTTP/1.1 200"), (&dead, "HTTP/1.1 502")] {
        for (options, count) in [(&options[..], 1), (&[], 0)] {
            let server = site.terminate(target, options);
            let mut stream = site.connect(server.address).await;
            let response = get(&mut stream, "/").await;
            let (head, _) = response.split_once("\r\n\r\n").expect("a response");
            assert!(head.starts_with(status_line), "{head}");
            assert_eq!(head.lines().filter(|line| *line == field).count(), count);
            assert_eq!(head.matches("multipath-tls:").count(), count, "{head}");
        }
    }
}
