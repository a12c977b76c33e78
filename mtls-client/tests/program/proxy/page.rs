//! The proxy's own page, and who may see it.

use super::{Running, WAYS, Way};
use crate::lab::has;

async fn response(proxy: &Running, head: &str) -> (u16, String) {
    let response = proxy.ask(head).await;
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("{response}")), response)
}

#[tokio::test]
async fn names_that_dns_could_point_here_are_refused() {
    let proxy = Running::with(&[]).await;
    let port = proxy.address.port();
    for (host, expected) in [
        ("localhost".to_owned(), 200),
        (format!("localhost:{port}"), 200),
        (format!("127.0.0.1:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("multipath.localhost".to_owned(), 200),
        (format!("Multipath.Localhost:{port}"), 200),
        ("evil.test".to_owned(), 421),
        (format!("evil.test:{port}"), 421),
        ("127.0.0.1.evil.test".to_owned(), 421),
        ("localhost.evil.test".to_owned(), 421),
        ("x.multipath.localhost".to_owned(), 421),
        (String::new(), 421),
    ] {
        for path in ["/", "/connections", "/script.js"] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
            let (status, response) = response(&proxy, &head).await;
            assert_eq!(status, expected, "{host} {path}: {response}");
        }
    }
    let (status, _) = response(&proxy, "GET / HTTP/1.1\r\n").await;
    assert_eq!(status, 421);
    let (status, _) = response(
        &proxy,
        "GET http://multipath.localhost/ HTTP/1.1\r\nHost: x\r\n",
    )
    .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn no_other_site_may_read_frame_or_script_it() {
    let proxy = Running::with(&[]).await;
    for (fields, expected) in [
        ("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n", 200),
        (
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n",
            200,
        ),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
            200,
        ),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
            403,
        ),
        ("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n", 403),
    ] {
        let head = format!("GET /connections HTTP/1.1\r\nHost: localhost\r\n{fields}");
        let (status, response) = response(&proxy, &head).await;
        assert_eq!(status, expected, "{fields}: {response}");
        assert!(
            !response.to_lowercase().contains("access-control"),
            "{response}"
        );
        for field in [
            "content-security-policy: default-src 'none';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(response.contains(field), "{field}: {response}");
        }
    }
    let post = "POST /connections HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n";
    assert_eq!(response(&proxy, post).await.0, 405);
    let nothing = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(response(&proxy, nothing).await.0, 404);
}

#[tokio::test]
async fn page_uses_nothing_that_its_policy_forbids() {
    let proxy = Running::with(&[]).await;
    let (_, page) = response(
        &proxy,
        "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n",
    )
    .await;
    for forbidden in [
        "http://", "https://", "onclick", "style=", "<style", "<script>",
    ] {
        let body = page.split_once("\r\n\r\n").expect("a page").1;
        assert!(!body.contains(forbidden), "{forbidden}");
    }
    let accept = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n";
    let (_, json) = response(&proxy, accept).await;
    assert!(json.contains("content-type: application/json"), "{json}");
    assert!(json.contains("\"connections\":[]"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_at_its_name_through_the_proxy() {
    if !has("curl") {
        return;
    }
    let proxy = Running::with(&["--policy", "require"]).await;
    let port = proxy.address.port();
    let urls = [
        "http://multipath.localhost/".to_owned(),
        format!("http://multipath.localhost:{port}/"),
    ];
    for url in &urls {
        for way in WAYS {
            let run = proxy.curl(way, &[url]).await.exits_with(0);
            assert!(
                run.stdout.contains("<title>Multipath TLS proxy"),
                "{url} {way:?}"
            );
        }
        let run = proxy
            .curl(Way::Http, &["--proxytunnel", url])
            .await
            .exits_with(0);
        assert!(run.stdout.contains("<title>Multipath TLS proxy"), "{url}");
    }
    assert!(proxy.json("/connections").await["connections"] == serde_json::json!([]));
}
