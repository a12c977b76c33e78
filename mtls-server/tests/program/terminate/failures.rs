//! Targets that are down, silent, or worse.

use tokio::io::AsyncReadExt;

use crate::common::{Site, free_address, get, read_head, send_get};
use crate::terminate::backend::{BREAK_OFF, Backend};
use crate::terminate::status;

#[test]
fn a_target_that_is_down_is_reported_once_and_so_is_its_return() {
    let site = Site::new();
    let address = free_address();
    let mut server = site.terminate(&format!("http://{address}"), &[]);
    for _ in 0..3 {
        let options = ["-H", "accept: text/html"];
        let Some((head, body)) = site.fetch(&server, "/", &options) else {
            return;
        };
        assert_eq!(status(&head), "502");
        assert!(body.contains("<h1>Bad Gateway</h1>"), "{body}");
        assert!(
            !body.contains(&address.to_string()),
            "clients need not know: {body}"
        );
    }
    let line = server.wait_for("cannot be reached");
    assert!(line.contains(&address.to_string()), "{line}");
    assert!(line.contains("refused"), "{line}");

    let backend = Backend::tcp_at(address);
    let (head, _) = site.fetch(&server, "/", &[]).expect("curl");
    assert_eq!(status(&head), "200");
    server.wait_for("takes connections again");
    drop(backend);
    let (head, _) = site.fetch(&server, "/", &[]).expect("curl");
    assert_eq!(status(&head), "502");
    server.wait_for("cannot be reached");
    let log = server.log();
    let times = log.iter().filter(|line| line.contains("cannot be reached"));
    assert_eq!(times.count(), 2, "{log:#?}");
}

#[tokio::test]
async fn a_connection_outlives_its_target() {
    let (site, address) = (Site::new(), free_address());
    let backend = Backend::tcp_at(address);
    let server = site.terminate(&backend.url, &[]);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/one", "keep-alive").await;
    let (head, _) = read_head(&mut stream).await;
    assert_eq!(status(&head), "200");
    let mut rest = vec![0; 4096];
    let _ = stream.read(&mut rest).await;
    drop(backend);

    send_get(&mut stream, "/two", "keep-alive").await;
    let (head, _) = read_head(&mut stream).await;
    assert_eq!(status(&head), "502");
    let _backend = Backend::tcp_at(address);
    let mut fresh = site.connect(server.address).await;
    let response = get(&mut fresh, "/three").await;
    assert_eq!(status(&response), "200");
}

#[test]
fn a_target_that_does_not_answer_in_time_gets_504() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let mut server = site.terminate(&backend.url, &["--target-timeout", "200ms"]);
    let Some((head, body)) = site.fetch(&server, "/never", &[]) else {
        return;
    };
    assert_eq!(status(&head), "504");
    assert!(body.contains("did not answer in time"), "{body}");
    server.wait_for("did not answer in time");

    // The kernel accepts the connection, and no program reads the request.
    let (_listener, url) = Backend::silent();
    let server = site.terminate(&url, &["--target-timeout", "200ms"]);
    let (head, _) = site.fetch(&server, "/", &[]).expect("curl");
    assert_eq!(status(&head), "504");
}

#[test]
fn a_silent_https_target_times_out() {
    let site = Site::new();
    let (_listener, url) = Backend::silent();
    let ca = site.pem("ca.pem").display().to_string();
    let url = url.replace("http://127.0.0.1", "https://localhost");
    let options = ["--target-ca", &ca, "--target-connect-timeout", "200ms"];
    let mut server = site.terminate(&url, &options);
    let Some((head, _)) = site.fetch(&server, "/", &[]) else {
        return;
    };
    assert_eq!(status(&head), "504");
    server.wait_for("no connection within 200ms");
}

#[tokio::test]
async fn more_requests_than_the_target_may_have_are_turned_away() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &["--max-requests", "1"]);
    let mut first = site.connect(server.address).await;
    send_get(&mut first, "/never", "close").await;
    let mut second = site.connect(server.address).await;
    // Until the first request has taken its place.
    let refused = loop {
        send_get(&mut second, "/", "keep-alive").await;
        let (head, body) = read_head(&mut second).await;
        if status(&head) != "200" {
            break head;
        }
        let length = head.to_ascii_lowercase();
        let (_, length) = length.split_once("content-length: ").expect("a length");
        let length: usize = length
            .split("\r\n")
            .next()
            .unwrap_or("")
            .parse()
            .expect("a number");
        let mut rest = vec![0; length - body.len()];
        second.read_exact(&mut rest).await.expect("the body");
    };
    assert_eq!(status(&refused), "503");
    drop(first);
    loop {
        let mut third = site.connect(server.address).await;
        let response = get(&mut third, "/").await;
        if status(&response) == "200" {
            return;
        }
        assert_eq!(status(&response), "503");
    }
}

#[tokio::test]
async fn an_aborted_body_does_not_look_complete() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let server = site.terminate(&backend.url, &[]);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/half", "close").await;
    let (head, mut body) = read_head(&mut stream).await;
    assert!(
        head.to_ascii_lowercase().contains("content-length: 10"),
        "{head}"
    );
    while body.len() < b"first".len() {
        stream.read_buf(&mut body).await.expect("the first part");
    }
    BREAK_OFF.notify_one();
    let _ = stream.read_to_end(&mut body).await;
    assert_eq!(body, b"first");
}

#[test]
fn an_unexpected_change_of_protocol_gets_502_and_a_line_in_the_log() {
    let (site, backend) = (Site::new(), Backend::tcp());
    let mut server = site.terminate(&backend.url, &[]);
    let upgrade = [
        "--http1.1",
        "-H",
        "connection: upgrade",
        "-H",
        "upgrade: websocket",
    ];
    let h2c = [
        "--http1.1",
        "-H",
        "connection: upgrade",
        "-H",
        "upgrade: h2c",
    ];
    for (path, options) in [
        ("/101", &["--http1.1"][..]),
        ("/101", &["--http2"][..]),
        ("/101", &upgrade[..]),
        ("/101-websocket", &["--http1.1"][..]),
        ("/101-websocket", &["--http2"][..]),
        ("/101-websocket", &h2c[..]),
    ] {
        let Some((head, _)) = site.fetch(&server, path, options) else {
            return;
        };
        assert_eq!(status(&head), "502", "{path} {options:?}: {head}");
        let line = server.wait_for("changed the protocol without being asked");
        assert!(line.contains(&backend.address().to_string()), "{line}");
        // The target of the next request is another connection.
        let (head, _) = site.fetch(&server, "/", options).expect("curl");
        assert_eq!(status(&head), "200", "{options:?}: {head}");
    }
}
