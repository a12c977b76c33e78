//! A gRPC call through `terminate`.

use mtls_core::Policy;
use mtls_core::hyper_client::MultipathHttpsConnector;
use mtls_core::path::Path;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::common::{REQUIRE, Site, patient};

/// Accepts only clients that `terminate` marks as verified.
fn verified_only(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get("multipath-verdict") {
        Some(verdict) if verdict.as_bytes().starts_with(b"verified;") => Ok(request),
        other => Err(Status::permission_denied(format!("{other:?}"))),
    }
}

#[tokio::test]
async fn a_grpc_call_reaches_its_server_with_the_verdict() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = format!("h2c://{}", listener.local_addr().expect("an address"));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let incoming = futures_util::stream::unfold(listener, |listener| async {
        let stream = listener.accept().await.map(|(stream, _)| stream);
        Some((stream, listener))
    });
    let service = InterceptedService::new(health, verified_only);
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );

    let server = site.terminate(&target, &REQUIRE);
    let https = MultipathHttpsConnector::builder()
        .with_tls_config(rustls::ClientConfig::clone(&site.client_config()))
        .with_settings(patient(Policy::Require).side(Path::system()))
        .https_only()
        .enable_http2()
        .build()
        .expect("a connector");
    let endpoint = Endpoint::from_shared(server.url("")).expect("a URL");
    let channel = endpoint
        .connect_with_connector(https)
        .await
        .expect("a channel");
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    let status = answer.expect("an answer").into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
}
