//! `MultipathHttpsConnector` under hyper-util's client.

use std::collections::HashSet;
use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::{Uri, Version};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::rt::TokioExecutor;
use mtls_core::hyper_client::{MultipathHttpsConnector, MultipathHttpsConnectorBuilder};
use mtls_core::path::{Endpoint, Independence, Path};
use mtls_core::proto::binding::Binding;
use mtls_core::{
    ApiMisuse, ClientSettings, Error, MultipathConnector, Outcome, Policy, Verdict, VerdictHandle,
};

use crate::closed_port::closed_port;
use crate::support::*;

type Connector = MultipathHttpsConnector;

fn uri(scheme: &str, address: SocketAddr) -> Uri {
    format!("{scheme}://{address}/").parse().expect("a uri")
}

fn verdict_of<B>(response: &http::Response<B>) -> Verdict {
    let handle = VerdictHandle::from_extensions(response.extensions()).expect("a verdict");
    handle.get()
}

/// The error of multipath TLS beneath one of hyper-util's.
fn cause(error: &hyper_util::client::legacy::Error) -> &Error {
    assert!(error.is_connect(), "{error:?}");
    let cause = error.source().and_then(|source| source.downcast_ref());
    cause.expect("an error of this library")
}

#[tokio::test]
async fn every_response_carries_the_verdict_and_verified_connections_are_reused() {
    let pki = pki();
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"][..], Version::HTTP_11),
    ] {
        let address = multipath_server(&pki, Policy::Require, protocols, routes()).await;
        let https = https(&pki, Policy::Prefer).enable_all_versions().build();
        let client = client(https.expect("a connector"));
        let mut bodies = HashSet::new();
        for _ in 0..3 {
            let response = client.get(uri("https", address)).await.expect("a response");
            assert_eq!(response.version(), version);
            let verdict = verdict_of(&response);
            assert_eq!(verdict.binding(), Some(Binding::Exporter));
            assert_ne!(verdict.independence(), Independence::Unknown);
            bodies.insert(body(response).await);
        }
        assert_eq!(bodies.len(), 1, "one connection: {bodies:?}");
        assert!(bodies.iter().all(|body| body.ends_with(" verified")));
    }
}

#[tokio::test]
async fn http1_alone_is_what_it_says() {
    let pki = pki();
    let address = multipath_server(&pki, Policy::Require, &["h2", "http/1.1"], routes()).await;
    let https = https(&pki, Policy::Require).enable_http1().build();
    let client = client(https.expect("a connector"));
    let response = client.get(uri("https", address)).await.expect("a response");
    assert_eq!(response.version(), Version::HTTP_11);
    let alpn = verdict_of(&response).tls.alpn;
    assert_eq!(alpn.as_deref(), Some("http/1.1"));
}

#[tokio::test]
async fn http2_alone_refuses_a_server_without_it() {
    let pki = pki();
    let address = multipath_server(&pki, Policy::Require, &["http/1.1"], routes()).await;
    let https = https(&pki, Policy::Require).enable_http2().build();
    let client = client(https.expect("a connector"));
    let error = client.get(uri("https", address)).await.expect_err("no h2");
    assert!(matches!(cause(&error), Error::Tls(_)), "{error:?}");
}

#[tokio::test]
async fn unverified_connection_is_never_reused_under_prefer() {
    let pki = pki();
    for protocol in ["h2", "http/1.1"] {
        let address = plain_tls_server(&pki, &[protocol]).await;
        let https = https(&pki, Policy::Prefer).enable_all_versions().build();
        let client = client(https.expect("a connector"));
        let mut connections = HashSet::new();
        for _ in 0..4 {
            let response = client.get(uri("https", address)).await.expect("a response");
            let verdict = verdict_of(&response);
            assert!(matches!(verdict.outcome, Outcome::Unverified(_)));
            connections.insert(body(response).await);
        }
        assert_eq!(
            connections.len(),
            4,
            "{protocol}: a connection for each request"
        );
    }
}

#[tokio::test]
async fn observe_reuses_what_it_does_not_refuse() {
    let pki = pki();
    let address = plain_tls_server(&pki, &["h2"]).await;
    let https = https(&pki, Policy::Observe).enable_all_versions().build();
    let client = client(https.expect("a connector"));
    let mut connections = HashSet::new();
    for _ in 0..3 {
        let response = client.get(uri("https", address)).await.expect("a response");
        let verdict = verdict_of(&response);
        assert!(matches!(verdict.outcome, Outcome::Unverified(_)));
        connections.insert(body(response).await);
    }
    assert_eq!(connections.len(), 1);
}

/// Sends 32 requests at a time, and counts the errors. No two answers may come over one connection.
async fn burst(client: &Client<Connector, Body>, address: SocketAddr) -> usize {
    let (mut connections, mut failed) = (HashSet::new(), 0);
    for _ in 0..8 {
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..32 {
            requests.spawn(client.get(uri("https", address)));
        }
        while let Some(response) = requests.join_next().await {
            match response.expect("no panic") {
                Ok(response) => assert!(connections.insert(body(response).await), "reused"),
                Err(_) => failed += 1,
            }
        }
    }
    assert_eq!(connections.len() + failed, 256);
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_never_share_an_unverified_http2_connection() {
    let pki = pki();
    let address = plain_tls_server(&pki, &["h2"]).await;
    let https = https(&pki, Policy::Prefer).enable_all_versions().build();
    let client = client(https.expect("a connector"));
    // How many lose the pool's race depends on the scheduler: the count is not asserted.
    burst(&client, address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_pool_all_concurrent_unverified_http2_requests_are_answered() {
    let pki = pki();
    let address = plain_tls_server(&pki, &["h2"]).await;
    let https = https(&pki, Policy::Prefer).enable_all_versions().build();
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(https.expect("a connector"));
    assert_eq!(burst(&client, address).await, 0);
}

#[tokio::test]
async fn require_refuses_what_nobody_verified() {
    let pki = pki();
    let address = plain_tls_server(&pki, &["h2"]).await;
    let https = https(&pki, Policy::Require).enable_all_versions().build();
    let client = client(https.expect("a connector"));
    let error = client
        .get(uri("https", address))
        .await
        .expect_err("refused");
    assert!(matches!(cause(&error), Error::Unverified(_)), "{error:?}");
}

#[tokio::test]
async fn man_in_the_middle_is_refused_under_prefer() {
    let pki = pki();
    // The rogue server answers the primary path, the real one the side path.
    let (tcp, rogue) = bind().await;
    let config = server_config(&pki.rogue, &["http/1.1"]);
    tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            let (stream, _) = tcp.accept().await.expect("a connection");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
            streams.push(acceptor.accept(stream).await);
        }
    });
    let real = multipath_server(&pki, Policy::Prefer, &["http/1.1"], routes()).await;
    let settings = ClientSettings::new(Policy::Prefer)
        .deadline(LONG)
        .side(Path::system())
        .side_endpoint(Endpoint::from(real));
    let multipath = MultipathConnector::builder(Arc::new(client_config(&pki)), settings);
    let https = MultipathHttpsConnectorBuilder::new()
        .with_connector(multipath)
        .https_only()
        .enable_http1()
        .build();
    let client = client(https.expect("a connector"));
    let error = client.get(uri("https", rogue)).await.expect_err("refused");
    assert!(matches!(cause(&error), Error::Interception(_)), "{error:?}");
}

#[tokio::test]
async fn plain_http_is_refused_unless_it_is_allowed_and_never_under_require() {
    let pki = pki();
    let (tcp, address) = bind().await;
    let app = axum::Router::new().route("/", axum::routing::get(async || "plain"));
    tokio::spawn(async move { axum::serve(tcp, app).await });
    let refusing = [
        schemes(&pki, Policy::Prefer).https_only(),
        schemes(&pki, Policy::Require).https_or_http(),
    ];
    for builder in refusing {
        let client = client(builder.enable_http1().build().expect("a connector"));
        let error = client.get(uri("http", address)).await.expect_err("refused");
        let misuse = matches!(cause(&error), Error::ApiMisuse(ApiMisuse::NotHttps(_)));
        assert!(misuse, "{error:?}");
    }
    let https = schemes(&pki, Policy::Prefer).https_or_http().enable_http1();
    let client = client(https.build().expect("a connector"));
    let response = client.get(uri("http", address)).await.expect("a response");
    assert!(VerdictHandle::from_extensions(response.extensions()).is_none());
    assert_eq!(body(response).await, "plain");
}

#[tokio::test]
async fn inner_connector_opens_the_primary_stream() {
    let pki = pki();
    let address = multipath_server(&pki, Policy::Require, &["h2"], routes()).await;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_local_address(Some("127.0.0.3".parse().expect("an address")));
    let https = https(&pki, Policy::Require)
        .enable_all_versions()
        .wrap_connector(http);
    let client = client(https.expect("a connector"));
    let response = client.get(uri("https", address)).await.expect("a response");
    let verdict = verdict_of(&response);
    assert!(verdict.verified().is_some());
    assert_eq!(verdict.independence(), Independence::Unknown);
    let info: &HttpInfo = response
        .extensions()
        .get()
        .expect("what HttpConnector says");
    assert_eq!(info.local_addr().ip().to_string(), "127.0.0.3");
}

#[tokio::test]
async fn failure_of_the_inner_connector_is_its_own() {
    let pki = pki();
    let (_socket, address) = closed_port([127, 0, 0, 1]);
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let https = https(&pki, Policy::Require).enable_http1();
    let client = client(https.wrap_connector(http).expect("a connector"));
    let error = client
        .get(uri("https", address))
        .await
        .expect_err("refused");
    assert!(matches!(cause(&error), Error::Io(_)), "{error:?}");
}

#[test]
fn alpn_of_the_caller_is_refused() {
    let mut config = client_config(&pki());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let built = MultipathHttpsConnectorBuilder::new()
        .with_tls_config(config)
        .with_settings(ClientSettings::new(Policy::Require).side(Path::system()))
        .https_only()
        .enable_http1()
        .build();
    let error = built.expect_err("two who set it");
    assert!(matches!(error, Error::ApiMisuse(ApiMisuse::AlpnAlreadySet)));
}

#[tokio::test]
async fn empty_frames_of_a_server_do_not_end_the_connection() {
    let pki = pki();
    let app = Router::new().route(
        "/",
        get(async || {
            let empty = std::iter::repeat_n(Ok::<_, Infallible>(Bytes::new()), 300);
            let frames = empty.chain([Ok(Bytes::from_static(b"all of it"))]);
            axum::body::Body::from_stream(futures_util::stream::iter(frames))
        }),
    );
    let address = multipath_server(&pki, Policy::Require, &["h2"], app).await;
    let https = https(&pki, Policy::Require).enable_http2().build();
    let client = client(https.expect("a connector"));
    let response = client.get(uri("https", address)).await.expect("a response");
    assert_eq!(body(response).await, "all of it");
}
