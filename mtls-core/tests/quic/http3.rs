//! HTTP/3 over both ends, with the code of the example.

#[path = "../../examples/http3.rs"]
#[allow(dead_code, reason = "its `main`")]
mod example;

use http::Request;
use mtls_core::Policy;
use mtls_core::quic::{QuicAcceptor, QuicListener};
use mtls_core::{MultipathAcceptor, MultipathListener};

use super::world::*;

#[tokio::test]
async fn a_router_is_served_and_fetched_over_http_3() {
    let world = World::new();
    let acceptor = MultipathAcceptor::builder(world.server.clone(), patient(Policy::Require));
    let acceptor = acceptor.build().expect("an acceptor");
    let quic = QuicAcceptor::builder(&acceptor).alpn(&[b"h3"]).build();
    let quic = quic.expect("an acceptor");
    let (tcp, udp) = sockets([127, 0, 0, 1]).await;
    let address = tcp.local_addr().expect("an address");
    let endpoint = quic.endpoint(udp).expect("an endpoint");
    let _sides = MultipathListener::new(acceptor, tcp, Default::default());
    let listener = QuicListener::new(quic, endpoint, Default::default());
    tokio::spawn(example::serve(listener, example::router()));
    let connector = connector_for(&world.client, direct(Policy::Require, address), b"h3");
    for (method, path, body) in [("GET", "/", ""), ("POST", "/echo", "an echo")] {
        let connection = connector.connect(&target(address)).await.expect("verified");
        let request = Request::builder().method(method);
        let request = request.uri(format!("https://{HOST}{path}"));
        let request = request.body(body.as_bytes().to_vec()).expect("a request");
        let response = example::fetch(connection, request)
            .await
            .expect("a response");
        assert_eq!(response.status(), 200);
        let verdict = response
            .headers()
            .get("multipath-verdict")
            .expect("a verdict");
        assert!(verdict.as_bytes().starts_with(b"verified"), "{verdict:?}");
        match body {
            "" => assert_eq!(response.body(), b"hello over HTTP/3"),
            body => assert_eq!(response.body(), body.as_bytes()),
        }
    }
}
