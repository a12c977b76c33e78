//! `MultipathListener` under `axum::serve`.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::Uri;
use mtls_core::axum::MultipathConnectInfo;
use mtls_core::{
    ListenerLimits, MultipathAcceptor, MultipathListener, Policy, SideServiceSettings,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};

use crate::support::*;

const SILENT: usize = 1_000;

/// Room for both ends of all silent connections in this one process.
fn raise_descriptor_limit() {
    let needed = 2 * SILENT as u64 + 512;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("`ulimit -Hn` of at least 2512");
    }
}

#[tokio::test]
async fn honest_client_is_served_while_a_thousand_are_silent() {
    raise_descriptor_limit();
    let pki = pki();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let tcp = socket.listen(4_096).expect("to listen");
    let address = tcp.local_addr().expect("an address");
    // Long enough that no silent client is sent away during the test.
    let settings = SideServiceSettings::new(Policy::Require)
        .handshake_timeout(Duration::from_secs(3_600))
        .deadline(LONG);
    let acceptor = MultipathAcceptor::builder(server_config(&pki.server, &["h2"]), settings)
        .build()
        .expect("an acceptor");
    let listener = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
    let app = routes().into_make_service_with_connect_info::<MultipathConnectInfo>();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut silent = Vec::with_capacity(SILENT);
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(address).await.expect("a connection"));
    }
    let https = https(&pki, Policy::Require).enable_all_versions().build();
    let client = client(https.expect("a connector"));
    let uri: Uri = format!("https://{address}/").parse().expect("a uri");
    let response = client.get(uri).await.expect("a response");
    assert!(body(response).await.ends_with(" verified"));
    for stream in &silent {
        let read = stream.try_read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(
            read,
            Err(ErrorKind::WouldBlock),
            "still connected, still silent"
        );
    }
}

#[tokio::test]
async fn graceful_shutdown_answers_what_is_under_way_and_takes_nothing_new() {
    let pki = pki();
    let (tcp, address) = bind().await;
    let listener = listener(tcp, server_config(&pki.server, &["h2"]), Policy::Require);
    assert_eq!(listener.local_addr().expect("an address"), address);
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (arrived, go_on) = (Arc::clone(&arrived), Arc::clone(&go_on));
        async move || {
            arrived.notify_one();
            go_on.notified().await;
            "answered"
        }
    };
    let app = Router::new().route("/", get(handler));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        axum::serve(
            listener,
            app.into_make_service_with_connect_info::<MultipathConnectInfo>(),
        )
        .with_graceful_shutdown(async { drop(stopped.await) })
        .await
    });
    let https = https(&pki, Policy::Require).enable_all_versions().build();
    let client = client(https.expect("a connector"));
    let uri: Uri = format!("https://{address}/").parse().expect("a uri");
    let under_way = tokio::spawn(client.get(uri));
    arrived.notified().await;
    stop.send(()).expect("a running server");
    // The socket closes once the listener's tasks are gone.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.is_finished(), "a request is under way");
    go_on.notify_one();
    let response = under_way.await.expect("no panic").expect("a response");
    assert_eq!(body(response).await, "answered");
    drop(client);
    server.await.expect("no panic").expect("a clean end");
}
