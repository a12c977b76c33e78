//! An attacker on the side path who accepts every ticket, and knows the secret of none.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(answer(tcp));
        }
    });
    address
}

/// Selects the first ticket of the ClientHello, and pretends to go on.
async fn answer(mut tcp: TcpStream) -> std::io::Result<()> {
    let mut header = [0; 5];
    tcp.read_exact(&mut header).await?;
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    tcp.read_exact(&mut hello).await?;
    let session_id = &hello[38..39 + usize::from(hello[38])];
    let mut flight = record(22, &server_hello(session_id));
    flight.extend(record(20, &[1]));
    flight.extend(record(23, &[0x5a; 200]));
    tcp.write_all(&flight).await?;
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).await?;
    Ok(())
}

fn server_hello(session_id: &[u8]) -> Vec<u8> {
    let mut extensions = Vec::new();
    extensions.extend([0, 43, 0, 2, 3, 4]); // TLS 1.3
    extensions.extend([0, 51, 0, 36, 0, 29, 0, 32]); // a key share of X25519
    extensions.extend([9; 32]);
    extensions.extend([0, 41, 0, 2, 0, 0]); // the first ticket
    let mut body = vec![3, 3];
    body.extend([0x77; 32]);
    body.extend(session_id);
    body.extend([0x13, 0x02, 0]); // TLS_AES_256_GCM_SHA384
    body.extend(
        u16::try_from(extensions.len())
            .expect("short")
            .to_be_bytes(),
    );
    body.extend(extensions);
    let mut message = vec![2, 0];
    message.extend(u16::try_from(body.len()).expect("short").to_be_bytes());
    message.extend(body);
    message
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend(u16::try_from(body.len()).expect("short").to_be_bytes());
    record.extend(body);
    record
}
