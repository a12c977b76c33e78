//! Clients that verify their connection.

use std::time::Duration;

use crate::common::{HUNG, REQUIRE, Site, get, patient, read_head, send_get, verdict_of};
use mtls_core::path::{Endpoint, Path};
use mtls_core::{ClientStream, Error, MultipathConnector, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Requests until the verdict is `expected`. Under `observe` a request may overtake the Confirm, and
/// the Confirms of further side paths come later under every policy.
async fn until_verdict(stream: &mut ClientStream<TcpStream>, expected: &str) {
    let asking = async {
        loop {
            send_get(stream, "/missing", "keep-alive").await;
            let (head, _) = read_head(stream).await;
            let verdict = verdict_of(&head);
            if verdict == expected {
                return;
            }
            assert!(!verdict.starts_with("intercepted"), "{verdict}");
        }
    };
    timeout(HUNG, asking).await.expect("the verdict in the end");
}

#[tokio::test]
async fn a_client_that_inherits_gets_its_verdict_and_page_without_a_side_connection() {
    let site = Site::new();
    let settings = patient(Policy::Require).side(Path::system()).deadline(HUNG);
    let hour = Duration::from_secs(3600);
    let connector = MultipathConnector::builder(site.client_config(), settings).inherit(hour);
    let connector = connector.build().expect("a connector");
    for policy in ["require", "prefer"] {
        let server = site.serve(&["--policy", policy, "--deadline", "60s", "--inherit", "12h"]);
        let to = Endpoint::from(server.address);
        let mut stream = connector.connect(&to).await.expect("a verified stream");
        let response = get(&mut stream, "/sub/file.txt").await;
        assert_eq!(verdict_of(&response), "verified; binding=exporter; sides=1");
        let mut stream = connector.connect(&to).await.expect("a verified stream");
        assert!(stream.verdict().inheritance().is_some());
        let page = get(&mut stream, "/.multipath").await;
        let verdict = verdict_of(&page);
        let inherited = verdict.starts_with("verified; inherited; age=");
        assert!(inherited && verdict.ends_with("; sides=1"), "{verdict}");
        assert!(
            page.contains("resumes the session of an earlier one"),
            "{page}"
        );
    }
}

#[tokio::test]
async fn a_verified_client_gets_its_verdict_under_every_policy() {
    let site = Site::new();
    for policy in ["require", "prefer", "observe"] {
        let server = site.serve(&["--policy", policy, "--deadline", "60s"]);
        let mut stream = site.connect(server.address).await;
        if policy == "observe" {
            until_verdict(&mut stream, "verified; binding=exporter; sides=1").await;
        }
        let response = get(&mut stream, "/sub/file.txt").await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(response.ends_with("a file"), "{response}");
        assert_eq!(verdict_of(&response), "verified; binding=exporter; sides=1");
    }
}

#[tokio::test]
async fn every_listener_takes_tls_and_side_connections() {
    let site = Site::new();
    let mut server = site.serve(&[
        "--policy",
        "require",
        "--deadline",
        "60s",
        "--listen",
        "127.0.0.2:0",
    ]);
    let first = server.address;
    let line = server.wait_for(" on https://127.0.0.2:");
    let (_, rest) = line.split_once("https://").expect("an address");
    let second = rest
        .split('/')
        .next()
        .expect("an address")
        .parse()
        .expect("an address");
    for (primary, side) in [(first, second), (second, first)] {
        let settings = patient(Policy::Require).side(Path::system());
        let connector = MultipathConnector::builder(site.client_config(), settings)
            .build()
            .expect("a connector");
        // The certificate is for 127.0.0.1 and `localhost`.
        let tcp = TcpStream::connect(primary).await.expect("to connect");
        let name = "localhost".try_into().expect("a name");
        let mut stream = connector
            .connect_stream(name, tcp, &Endpoint::from(side))
            .await
            .expect("a verified stream");
        let response = get(&mut stream, "/").await;
        assert_eq!(verdict_of(&response), "verified; binding=exporter; sides=1");
    }
}

#[tokio::test]
async fn a_side_listener_answers_sides_and_no_tls() {
    let site = Site::new();
    let mut server = site.serve(&[
        "--policy",
        "require",
        "--deadline",
        "60s",
        "--side-listen",
        "127.0.0.1:0",
        "--side-listen",
        "127.0.0.3:0",
    ]);
    for _ in 0..2 {
        let side = server.next_side_address();
        let settings = patient(Policy::Require)
            .side(Path::system())
            .side_endpoint(Endpoint::from(side));
        let connector = MultipathConnector::builder(site.client_config(), settings)
            .build()
            .expect("a connector");
        let mut stream = connector
            .connect(&Endpoint::from(server.address))
            .await
            .expect("a verified stream");
        assert_eq!(stream.verdict().paths[1].peer, Some(side));
        let response = get(&mut stream, "/").await;
        assert_eq!(verdict_of(&response), "verified; binding=exporter; sides=1");

        let tls = site.connector().connect(&Endpoint::from(side)).await;
        assert!(matches!(tls, Err(Error::Io(_) | Error::Tls(_))), "{tls:?}");
    }
}

#[tokio::test]
async fn the_verdict_is_that_of_the_moment_of_the_response() {
    let site = Site::new();
    let server = site.serve(&["--policy", "prefer"]);
    let second = Path::source("127.0.0.2".parse().expect("an address")).expect("a path");
    let settings = patient(Policy::Require).side(Path::system()).side(second);
    let connector = MultipathConnector::builder(site.client_config(), settings)
        .build()
        .expect("a connector");
    let mut stream = connector
        .connect(&Endpoint::from(server.address))
        .await
        .expect("a verified stream");
    // The server goes on when the first side path has confirmed; the second follows.
    until_verdict(&mut stream, "verified; binding=exporter; sides=2").await;
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_its_response() {
    let site = Site::new();
    let server = site.serve(&REQUIRE);
    let mut stream = site.connect(server.address).await;
    send_get(&mut stream, "/sub/file.txt", "close").await;
    stream.shutdown().await.expect("to say so");
    let mut response = String::new();
    let reading = stream.read_to_string(&mut response);
    let read = timeout(HUNG, reading).await.expect("an answer in time");
    read.expect("a whole answer");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(response.ends_with("a file"), "{response}");
}
