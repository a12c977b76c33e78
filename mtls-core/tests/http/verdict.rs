//! `VerdictLayer` and the verdict page, at servers of axum.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use mtls_core::Policy;
use mtls_core::axum::verdict_page;
use mtls_core::known_hosts::Advertisement;
use mtls_core::tower::{AdvertiseLayer, KNOWN_HOSTS_FIELD, VERDICT_FIELD, VerdictLayer};
use tower::ServiceExt;

use crate::support::*;

/// `/` and the page, all with the verdict.
fn app() -> Router {
    routes().merge(verdict_page()).layer(VerdictLayer)
}

fn uri(address: SocketAddr, path: &str) -> Uri {
    let uri = format!("https://{address}{path}");
    uri.parse().expect("a uri")
}

async fn fetch_verified(
    pki: &mtls_certs::Pki,
    address: SocketAddr,
    path: &str,
    accept: &str,
) -> http::Response<Incoming> {
    let https = https(pki, Policy::Require).enable_http1().build();
    let client = client(https.expect("a connector"));
    let request = Request::get(uri(address, path)).header(ACCEPT, accept);
    let request = request.body(Body::new()).expect("a request");
    client.request(request).await.expect("a response")
}

#[tokio::test]
async fn every_response_has_the_verdict_on_its_connection() {
    let pki = pki();
    let address = multipath_server(&pki, Policy::Prefer, &["http/1.1"], app()).await;
    for path in ["/", "/missing", "/.multipath"] {
        let verified = fetch_verified(&pki, address, path, "*/*").await;
        assert_eq!(
            verified.headers()[VERDICT_FIELD],
            "verified; binding=exporter; sides=1",
            "{path}"
        );
        let plain = over_plain_tls(&pki, address, path, "*/*").await;
        assert_eq!(
            plain.headers()[VERDICT_FIELD],
            "unverified; reason=no-side-connection",
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_page_shows_the_verdict_and_both_addresses_in_each_media_type() {
    let pki = pki();
    let address = multipath_server(&pki, Policy::Prefer, &["http/1.1"], app()).await;
    for (accept, content_type, title) in [
        ("*/*", "text/plain; charset=utf-8", "VERIFIED\n"),
        ("text/html", "text/html; charset=utf-8", "<h1>Verified</h1>"),
        (
            "application/json",
            "application/json",
            "\"verdict\":\"verified\"",
        ),
    ] {
        let page = fetch_verified(&pki, address, "/.multipath", accept).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()[CONTENT_TYPE], content_type);
        assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
        let is_html = accept == "text/html";
        assert_eq!(
            page.headers().contains_key(CONTENT_SECURITY_POLICY),
            is_html
        );
        let page = body(page).await;
        assert!(page.contains(title), "{page}");
        assert!(page.contains(&address.to_string()), "{page}");
        assert!(page.contains("127.0.0.2:"), "the side path: {page}");
    }
}

#[tokio::test]
async fn the_page_can_only_be_read() {
    let pki = pki();
    let address = multipath_server(&pki, Policy::Prefer, &["http/1.1"], app()).await;
    let https = https(&pki, Policy::Require).enable_http1().build();
    let client = client(https.expect("a connector"));
    let request = Request::post(uri(address, "/.multipath")).body(Body::new());
    let refused = client.request(request.expect("a request")).await;
    let refused = refused.expect("a response");
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers()[ALLOW], "GET,HEAD");
}

#[tokio::test]
async fn a_request_without_a_verdict_gets_no_page_and_no_field() {
    let claims = async || ([(VERDICT_FIELD, "verified; binding=exporter; sides=9")], "");
    let app: Router = Router::new()
        .route("/claims", get(claims))
        .merge(verdict_page())
        .layer(VerdictLayer);
    for (path, status) in [
        ("/claims", StatusCode::OK),
        ("/.multipath", StatusCode::NOT_FOUND),
    ] {
        let request = Request::get(path).body(axum::body::Body::empty());
        let response = app.clone().oneshot(request.expect("a request")).await;
        let response = response.expect("a response");
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key(VERDICT_FIELD), "{path}");
    }
}

#[tokio::test]
async fn a_server_requests_to_be_remembered_over_tls_only() {
    let pki = pki();
    let forged = async || ([(KNOWN_HOSTS_FIELD, "max-age=1")], "");
    let advertisement = Advertisement::new(Duration::from_secs(600));
    let layer = AdvertiseLayer::new(&advertisement);
    let app: Router = Router::new().route("/", get(forged)).layer(layer);
    let address = multipath_server(&pki, Policy::Prefer, &["http/1.1"], app.clone()).await;
    for path in ["/", "/missing"] {
        let response = fetch_verified(&pki, address, path, "*/*").await;
        let values: Vec<_> = response
            .headers()
            .get_all(KNOWN_HOSTS_FIELD)
            .iter()
            .collect();
        assert_eq!(values, ["max-age=600"]);
        let parsed = Advertisement::try_from(values[0].as_bytes());
        assert_eq!(parsed, Ok(advertisement.clone()));
    }
    let plain = Request::get("/").body(axum::body::Body::empty());
    let response = app
        .oneshot(plain.expect("a request"))
        .await
        .expect("a response");
    assert!(!response.headers().contains_key(KNOWN_HOSTS_FIELD));
}

#[tokio::test]
async fn a_service_cannot_state_another_verdict() {
    let pki = pki();
    let claims = async || ([(VERDICT_FIELD, "verified; binding=exporter; sides=9")], "");
    let app = Router::new().route("/", get(claims)).layer(VerdictLayer);
    let address = multipath_server(&pki, Policy::Prefer, &["http/1.1"], app).await;
    let response = over_plain_tls(&pki, address, "/", "*/*").await;
    let values: Vec<_> = response.headers().get_all(VERDICT_FIELD).iter().collect();
    assert_eq!(values, ["unverified; reason=no-side-connection"]);
}
