//! The proxy's own page, and its access control.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LONG, Running, WAYS, Way};
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

/// An address of this host that is not on the loopback.
fn public_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // It only chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

/// Sends these bytes, and returns all that the proxy sends until it closes.
async fn exchange(address: SocketAddr, sent: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("the proxy");
        stream.write_all(sent).await.expect("to write");
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        String::from_utf8_lossy(&received).into_owned()
    };
    let received = tokio::time::timeout(LONG, exchange).await;
    received.expect("the proxy hangs")
}

/// Requests for `/connections` at this port of the loopback, through the proxy.
fn requests_through_the_proxy(port: u16) -> [Vec<u8>; 4] {
    let get = |url: &str| {
        let host = "Host: localhost\r\nConnection: close";
        format!("GET {url}/connections HTTP/1.1\r\n{host}\r\n\r\n")
    };
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n");
    let socks = [
        &[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..],
        &port.to_be_bytes(),
    ]
    .concat();
    [
        get(&format!("http://127.0.0.1:{port}")).into(),
        get(&format!("http://localhost:{port}")).into(),
        (connect + &get("")).into(),
        [socks, get("").into()].concat(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_clients_cannot_read_it_through_the_proxy() {
    let Some(public) = public_address() else {
        println!("skipped: this host has only loopback addresses");
        return;
    };
    let proxy = Running::with(&["--unsafe-listen", "--listen", "0.0.0.0:0"]).await;
    let state = proxy.json("/connections").await;
    let listen = state["proxy"]["listen"][1].as_str().expect("an address");
    let listen: SocketAddr = listen.parse().expect("an address");
    // One of the two sockets listens on 127.0.0.1 alone.
    for port in [listen.port(), proxy.address.port()] {
        for request in requests_through_the_proxy(port) {
            let sent = String::from_utf8_lossy(&request);
            let local = exchange(proxy.address, &request).await;
            assert!(local.contains("\"connections\":"), "{sent}: {local}");
            let remote = exchange((public, listen.port()).into(), &request).await;
            assert!(!remote.contains("\"connections\":"), "{sent}: {remote}");
            assert!(!remote.contains("200 OK"), "{sent}: {remote}");
        }
    }
    let all = proxy.connections(0).await;
    let refused = all.iter().filter(|one| one["kind"] == "failed");
    let reasons = refused.map(|one| one["explanation"].to_string());
    let reasons: Vec<_> = reasons.collect();
    assert!(!reasons.is_empty());
    for reason in reasons {
        assert!(reason.contains("the proxy itself"), "{reason}");
    }
}
