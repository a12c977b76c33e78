//! The verdict in handlers of axum.

use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use mtls_core::axum::MultipathConnectInfo;
use mtls_core::tower::RequireVerified;
use mtls_core::{ClientStream, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::A_WHILE;
use crate::world::*;

/// `/pay` is for verified clients; `/` answers with the reason.
fn shop() -> Router {
    let reason = async |ConnectInfo(info): ConnectInfo<MultipathConnectInfo>| {
        info.verdict().outcome().reason().unwrap_or("verified")
    };
    Router::new()
        .route("/pay", get(async || "paid"))
        .route_layer(RequireVerified::on_server())
        .route("/", get(reason))
}

async fn ask(stream: &mut ClientStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("to write");
    stream.flush().await.expect("to flush");
    let mut response = String::new();
    let read = stream.read_to_string(&mut response).await;
    read.expect("a response");
    response
}

#[tokio::test]
async fn handlers_and_layers_find_the_verdict_of_a_client_whose_confirm_is_late() {
    let world = World::new(LONG).await;
    let permits = Arc::new(Semaphore::new(0));
    let side = side_path(world.address, Confirms::Held(Arc::clone(&permits))).await;
    let connector = world.connector(side, Policy::Require);
    let app = shop().into_make_service_with_connect_info::<MultipathConnectInfo>();
    let address = world.address;
    tokio::spawn(async move { axum::serve(world.listener, app).await });
    for (path, expected) in [("/pay", "paid"), ("/", "verified")] {
        let stream = connector.connect(&address.into()).await;
        let mut stream = stream.expect("a verified stream");
        let mut asking = Box::pin(ask(&mut stream, path));
        timeout(A_WHILE, &mut asking).await.expect_err("held back");
        permits.add_permits(1);
        let response = asking.await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(response.ends_with(expected), "{response}");
    }
}
