//! gRPC over both ends, with the code of the example.

#[path = "../../examples/grpc.rs"]
#[allow(dead_code, reason = "its `main`")]
mod example;

use http::Uri;
use mtls_core::{Policy, VerdictHandle};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::*;

async fn grpc_server(pki: &mtls_certs::Pki) -> std::net::SocketAddr {
    let (tcp, address) = bind().await;
    let listener = listener(tcp, server_config(&pki.server, &["h2"]), Policy::Require);
    tokio::spawn(example::serve(listener));
    address
}

#[tokio::test]
async fn channel_of_tonic_works_over_both_ends() {
    let pki = pki();
    let address = grpc_server(&pki).await;
    let https = https(&pki, Policy::Require).enable_http2().build();
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an endpoint");
    let channel = endpoint
        .connect_with_connector(https.expect("a connector"))
        .await;
    let mut health = HealthClient::new(channel.expect("a channel"));
    let answer = health
        .check(HealthCheckRequest::default())
        .await
        .expect("an answer");
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn hyper_client_gives_grpc_answers_their_verdict() {
    let pki = pki();
    let address = grpc_server(&pki).await;
    let https = https(&pki, Policy::Prefer)
        .enable_http2()
        .build()
        .expect("a connector");
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build(https);
    let origin: Uri = format!("https://{address}").parse().expect("a uri");
    let mut health = HealthClient::with_origin(client, origin);
    let answer = health
        .check(HealthCheckRequest::default())
        .await
        .expect("an answer");
    let verdict = VerdictHandle::from_extensions(answer.extensions())
        .expect("a verdict")
        .get();
    assert!(verdict.verified().is_some());
}
