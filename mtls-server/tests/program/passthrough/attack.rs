//! A man in the middle in front of the passthrough.

use std::sync::Arc;

use mtls_core::Error;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::common::Site;
use crate::passthrough::world::*;

/// The bytes that an attacker got.
#[derive(Debug)]
struct Loot {
    of_victim: Vec<u8>,
    of_server: Vec<u8>,
}

/// Terminates TLS with a certificate of the rogue CA, speaks TLS to the passthrough, and passes on
/// what it reads.
async fn attacker(
    site: &Site,
    at: TcpListener,
    through: std::net::SocketAddr,
) -> mpsc::UnboundedReceiver<Loot> {
    let config = site.pki.rogue_config(aws_lc_rs::default_provider());
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a configuration")));
    let connector = TlsConnector::from(site.client_config());
    let (took, loot) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = at.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            let took = took.clone();
            tokio::spawn(async move {
                let mut loot = Loot {
                    of_victim: Vec::new(),
                    of_server: Vec::new(),
                };
                let name = "localhost".try_into().expect("a name");
                let server = TcpStream::connect(through).await.expect("a connection");
                let server = connector.connect(name, server).await;
                let victim = acceptor.accept(tcp).await;
                if let (Ok(mut victim), Ok(mut server)) = (victim, server) {
                    // A request of their own, before they have the victim's.
                    let request = b"GET /index.html HTTP/1.0\r\n\r\n";
                    let _ = server.write_all(request).await;
                    let _ = server.flush().await;
                    let _ = server.read_to_end(&mut loot.of_server).await;
                    let _ = victim.read_buf(&mut loot.of_victim).await;
                }
                let _ = took.send(loot);
            });
        }
    });
    loot
}

#[tokio::test(flavor = "multi_thread")]
async fn attacker_in_front_gets_nothing_of_either_end_under_require() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let options = ["--policy", "require", "--deadline", "300ms"];
    let through = passthrough(nginx.address, &options);
    let at = TcpListener::bind(("127.0.0.3", through.address.port())).await;
    let at = at.expect("a port");
    let address = at.local_addr().expect("an address");
    let mut loot = attacker(&site, at, through.address).await;
    let config = site.pki.client_config(aws_lc_rs::default_provider());
    let config = config.expect("a configuration");
    let (connector, target) = misled_connector(Arc::new(config), through.address, address);
    let error = connector.connect(&target).await.expect_err("refused");
    assert!(matches!(error, Error::Interception(_)), "{error}");
    let loot = loot.recv().await.expect("an attack");
    assert_eq!(loot.of_victim, b"");
    assert_eq!(loot.of_server, b"");
    let access = std::fs::read_to_string(site.root.path().join("access.log"));
    assert_eq!(access.expect("a log"), "", "no request reached nginx");
}
