//! A thousand tunnels at a time.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Running;
use crate::lab::{Lab, server_config};

const TUNNELS: usize = 1000;

/// The number of concurrent handshakes.
const AT_A_TIME: usize = 32;

async fn open(proxy: &Running, config: &Arc<ClientConfig>, port: u16) -> TlsStream<TcpStream> {
    let (tcp, status) = proxy.tunnel(([127, 0, 0, 1], port).into()).await;
    assert!(status.contains("200"), "{status}");
    let connector = TlsConnector::from(Arc::clone(config));
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, tcp).await.expect("TLS")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_verified_tunnels_are_open_at_once_and_cost_kilobytes() {
    let mut lab = Lab::new();
    let config = server_config(&lab.pki.server, &[]);
    let site = lab
        .serve_at_a_port(config, |mut stream| async move {
            let mut line = [0; 5];
            while stream.read_exact(&mut line).await.is_ok() {
                if stream.write_all(&line).await.is_err() {
                    break;
                }
            }
        })
        .await;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let client = lab.pki.ca.client_config(provider);
    let client = Arc::new(client.expect("a configuration"));
    let proxy = Running::with(&["--policy", "require", "--deadline", "30s"]).await;
    // Warm: threads, buffers and the side connection are there.
    drop(open(&proxy, &client, site.port()).await);
    let before = proxy.memory();
    let mut tunnels = Vec::with_capacity(TUNNELS);
    while tunnels.len() < TUNNELS {
        let some = AT_A_TIME.min(TUNNELS - tunnels.len());
        let opening = (0..some).map(|_| open(&proxy, &client, site.port()));
        tunnels.extend(futures_util::future::join_all(opening).await);
    }
    proxy.opens(TUNNELS).await;
    for tunnel in &mut tunnels {
        tunnel.write_all(b"hello").await.expect("to write");
        tunnel.flush().await.expect("to write");
    }
    for tunnel in &mut tunnels {
        let mut line = [0; 5];
        tunnel.read_exact(&mut line).await.expect("an echo");
    }
    let each = proxy.memory().saturating_sub(before) / TUNNELS;
    println!("{each} bytes of resident memory for each idle tunnel");
    assert!(each < 32 * 1024, "{each} bytes for each idle tunnel");
    let totals = &proxy.json("/connections").await["totals"];
    assert_eq!(totals["verified"], TUNNELS + 1);
}
