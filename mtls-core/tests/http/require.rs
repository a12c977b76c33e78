//! `RequireVerified` on servers and on clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mtls_core::Policy;
use mtls_core::tower::{NotVerified, RequireVerified};
use tower::{ServiceBuilder, ServiceExt};

use crate::support::*;

/// `/` for every client and `/pay` for verified ones, with the number of requests to `/pay`.
async fn shop(pki: &mtls_certs::Pki) -> (SocketAddr, Arc<AtomicUsize>) {
    let paid = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&paid);
    let pay = async move || {
        count.fetch_add(1, Ordering::SeqCst);
        "paid"
    };
    let app = Router::new()
        .route("/pay", get(pay))
        .route_layer(RequireVerified::on_server())
        .merge(routes());
    let address = multipath_server(pki, Policy::Prefer, &["http/1.1"], app).await;
    (address, paid)
}

#[tokio::test]
async fn unverified_request_gets_421_as_text_or_json_and_never_reaches_the_service() {
    let pki = pki();
    let (address, paid) = shop(&pki).await;
    let text = over_plain_tls(&pki, address, "/pay", "*/*").await;
    assert_eq!(text.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(text.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    let words = body(text).await;
    assert!(
        words.contains("no side connection sent an Open for this handshake"),
        "{words}"
    );

    let json = over_plain_tls(&pki, address, "/pay", "application/json").await;
    assert_eq!(json.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(json.headers()[CONTENT_TYPE], "application/json");
    let value: serde_json::Value = serde_json::from_str(&body(json).await).expect("json");
    assert_eq!(value["verdict"], "unverified");
    assert_eq!(value["reason"], "no-side-connection");
    assert_eq!(value["status"], 421);
    assert_eq!(paid.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn other_routes_are_for_every_client() {
    let pki = pki();
    let (address, _) = shop(&pki).await;
    let response = over_plain_tls(&pki, address, "/", "*/*").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(body(response).await.ends_with(" unverified"));
}

#[tokio::test]
async fn verified_request_reaches_the_service() {
    let pki = pki();
    let (address, paid) = shop(&pki).await;
    let https = https(&pki, Policy::Require).enable_http1().build();
    let client = client(https.expect("a connector"));
    let uri = format!("https://{address}/pay").parse().expect("a uri");
    let response = client.get(uri).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(paid.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn request_without_any_verdict_is_refused() {
    let app: Router = Router::new()
        .route("/", get(async || "reached"))
        .route_layer(RequireVerified::on_server());
    let request = Request::get("/").body(axum::body::Body::empty());
    let response = app
        .oneshot(request.expect("a request"))
        .await
        .expect("a response");
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn client_takes_only_answers_over_verified_connections() {
    let pki = pki();
    let plain = plain_tls_server(&pki, &["http/1.1"]).await;
    let multipath = multipath_server(&pki, Policy::Prefer, &["http/1.1"], routes()).await;
    let https = https(&pki, Policy::Prefer)
        .enable_http1()
        .build()
        .expect("a connector");
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(https);
    let guarded = ServiceBuilder::new()
        .layer(RequireVerified::on_client())
        .service(client);
    let request = |address| {
        let uri = format!("https://{address}/");
        Request::get(uri).body(Body::new()).expect("a request")
    };
    let response = guarded
        .clone()
        .oneshot(request(multipath))
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let error = guarded.oneshot(request(plain)).await.expect_err("refused");
    let why: &NotVerified = error.downcast_ref().expect("the reason");
    assert!(
        why.verdict()
            .is_some_and(|verdict| verdict.verified().is_none())
    );
}
