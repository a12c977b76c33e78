//! Clients that leave, and clients that only stop sending.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::{HUNG, Site, send_get};
use crate::terminate::target::target;

/// Well below the time after which an idle connection is cut.
const SOON: Duration = Duration::from_secs(40);

/// How a client ends what it sends.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A TCP FIN without an alert, as a process that is killed.
    Fin,
    /// A TCP reset.
    Reset,
    /// A close_notify alert, and a FIN.
    CloseNotify,
    /// A close_notify alert alone.
    AlertOnly,
}

impl Way {
    /// Ends the sending half.
    async fn stop_sending(self, tls: &mut TlsStream<TcpStream>) {
        match self {
            Self::Fin => tls.get_mut().0.shutdown().await,
            Self::CloseNotify => tls.shutdown().await,
            Self::AlertOnly => {
                tls.get_mut().1.send_close_notify();
                tls.flush().await
            }
            Self::Reset => tls.get_mut().0.set_zero_linger(),
        }
        .expect("to close");
    }
}

async fn connect(
    site: &Site,
    address: SocketAddr,
    version: &'static rustls::SupportedProtocolVersion,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(site.pki.ca.cert_der()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.expect("to connect");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.expect("TLS")
}

/// An event on a connection to a target.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request,
    End,
}

/// A target that sends `first` and then waits for the end of the request's connection.
async fn waiting_target(first: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let (seen, sees) = mpsc::unbounded_channel();
    let address = target(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = seen.send(Seen::Request);
            stream.write_all(first).await.expect("to write");
            while let Ok(1..) = stream.read(&mut head).await {}
            let _ = seen.send(Seen::End);
        }
    })
    .await;
    (address, sees)
}

#[tokio::test]
async fn a_target_learns_at_once_that_its_client_is_gone() {
    let site = Site::new();
    let stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
    for first in [&b""[..], stream] {
        let (address, mut sees) = waiting_target(first).await;
        let server = site.terminate(&format!("http://{address}"), &[]);
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            for way in [Way::Fin, Way::Reset, Way::CloseNotify] {
                let mut tls = connect(&site, server.address, version).await;
                send_get(&mut tls, "/", "keep-alive").await;
                let mut received = Vec::new();
                while !first.is_empty() && !received.ends_with(b"data: 1\n\n\r\n") {
                    tls.read_buf(&mut received).await.expect("the beginning");
                }
                // The request has gone on before its client leaves.
                let request = timeout(HUNG, sees.recv()).await;
                assert_eq!(request, Ok(Some(Seen::Request)));
                way.stop_sending(&mut tls).await;
                drop(tls);
                let end = timeout(SOON, sees.recv()).await;
                let context = format!("{way:?} over {version:?}, {first:?}");
                assert_eq!(end, Ok(Some(Seen::End)), "{context}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_only_stops_sending_gets_its_response() {
    let site = Site::new();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let address = target(move |_, mut stream| {
        let released = Arc::clone(&released);
        async move {
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            released.notified().await;
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npatience";
            let _ = stream.write_all(response).await;
        }
    })
    .await;
    let server = site.terminate(&format!("http://{address}"), &[]);
    for way in [Way::Fin, Way::CloseNotify, Way::AlertOnly] {
        let mut tls = connect(&site, server.address, &rustls::version::TLS13).await;
        send_get(&mut tls, "/", "close").await;
        way.stop_sending(&mut tls).await;
        // A server that takes this for the client's end has given up by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        release.notify_one();
        let mut response = Vec::new();
        let _ = timeout(HUNG, tls.read_to_end(&mut response)).await;
        assert!(response.ends_with(b"patience"), "{way:?}: {response:?}");
    }
}
