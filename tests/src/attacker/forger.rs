//! An attacker on a side path who gets the hellos from an eavesdropper on the primary path.

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::proto::binding::{
    Association, Binding, Bindings, HelloHash, Nonce, SideContext, SideSecret, Value,
};
use mtls_core::proto::frame::{Frame, FrameBody, FrameReader, GREETING};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::SideClient;
use super::eavesdropper::Notes;
use crate::Result;

/// How long it waits for the eavesdropper to see the hellos.
const PATIENCE: Duration = Duration::from_secs(5);
/// A constant: the attacker's nonce need not be unpredictable.
const NONCE: Nonce = [0x5e; 32];

/// Answers each Open of the client as the server would, and confirms to the server as the client
/// would, by the hello binding (`docs/protocol.md`, section 9.3). Where only the exporter is on
/// offer, it has to guess.
pub(super) async fn forge(mut client: TcpStream, server: SocketAddr, notes: Notes) -> Result {
    client.write_all(&GREETING).await?;
    let mut reader = FrameReader::new();
    let mut confirmed = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut frames = Vec::new();
        reader.read(&buffer[..read], |frame| frames.push(frame))?;
        for frame in frames {
            let FrameBody::Open { nonce_c, bindings } = frame.body else {
                continue;
            };
            let association = frame.association;
            let hello = match bindings.contains(Binding::Hello) {
                true => overheard(&notes, &association).await,
                false => None,
            };
            let body = proof(&association, nonce_c, bindings, hello);
            let mut bytes = Vec::new();
            Frame { association, body }.encode(&mut bytes);
            client.write_all(&bytes).await?;
            if let Some(hello) = hello {
                confirmed.push(confirm(server, association, hello).await?);
            }
        }
    }
}

/// The hellos of this handshake, as soon as the eavesdropper has seen them.
async fn overheard(notes: &Notes, association: &Association) -> Option<HelloHash> {
    let waiting = async {
        loop {
            if let Some(hello) = notes.hello(association) {
                return hello;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.ok()
}

fn proof(
    association: &Association,
    nonce_c: Nonce,
    offered: Bindings,
    hello: Option<HelloHash>,
) -> FrameBody {
    let binding = match hello {
        Some(_) => Binding::Hello,
        None => Binding::Exporter,
    };
    let context = SideContext::new(association, &nonce_c, offered, &NONCE, binding);
    let value = match hello {
        Some(hello) => SideSecret::from_hello(&hello).values(&context).server,
        None => Value([0x5e; Value::LEN]),
    };
    FrameBody::Proof {
        nonce_s: NONCE,
        binding,
        value,
    }
}

/// Opens a side connection and confirms the client's handshake on it. It stays open as long
/// as the client's.
async fn confirm(
    server: SocketAddr,
    association: Association,
    hello: HelloHash,
) -> Result<SideClient> {
    let mut side = SideClient::connect(server, None).await?;
    let offered = Bindings::from(Binding::Hello);
    let body = FrameBody::Open {
        nonce_c: NONCE,
        bindings: offered,
    };
    side.send(&[Frame { association, body }]).await?;
    if let Some(Frame {
        body: FrameBody::Proof {
            nonce_s, binding, ..
        },
        ..
    }) = side.next().await?
    {
        let context = SideContext::new(&association, &NONCE, offered, &nonce_s, binding);
        let value = SideSecret::from_hello(&hello).values(&context).client;
        let body = FrameBody::Confirm { value };
        side.send(&[Frame { association, body }]).await?;
    }
    Ok(side)
}
