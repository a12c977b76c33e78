//! Conformance as a difference: the same conversations with `serve` and with a plain server of tokio-rustls
//! and hyper, which have the same configuration.

mod plain;

use std::net::SocketAddr;

use crate::common::{Running, Site, text, tool};

/// Runs a script with the addresses of both servers; it prints each difference.
async fn compare(script: &str) {
    let site = Site::new();
    let plain = plain::serve(&site).await;
    let server = site.serve(&[]);
    let script = format!(
        "{}/tests/program/conformance/{script}",
        env!("CARGO_MANIFEST_DIR")
    );
    tokio::task::spawn_blocking(move || run(&script, &server, plain))
        .await
        .expect("no panic");
}

fn run(script: &str, server: &Running, plain: SocketAddr) {
    let arguments = [
        "-B",
        script,
        &server.address.to_string(),
        &plain.to_string(),
    ];
    let Some(output) = tool("python3", &arguments, "") else {
        return;
    };
    if output.status.code() == Some(77) {
        eprintln!("{}", text(&output.stderr));
        return;
    }
    let printed = text(&output.stdout);
    println!("{printed}");
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_that_of_a_plain_server() {
    compare("tls.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_scanners_find_a_plain_server() {
    compare("scan.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_that_of_a_plain_server() {
    compare("http2.py").await;
}
