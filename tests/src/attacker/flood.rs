//! Making a server's side verifier busy.

use std::net::{IpAddr, SocketAddr};

use mtls_core::proto::binding::{Association, Bindings};
use mtls_core::proto::frame::{Frame, FrameBody};

use super::SideClient;
use crate::Result;

/// Asks for handshakes that never come, and so holds waiting places until it is dropped.
#[derive(Debug)]
pub struct Flood {
    _connections: Vec<SideClient>,
}

impl Flood {
    /// From each of these addresses, opens so many questions on one side connection.
    ///
    /// # Errors
    /// When a connection broke.
    pub async fn start(server: SocketAddr, from: &[IpAddr], questions: u8) -> Result<Self> {
        let mut connections = Vec::new();
        for (source, &address) in (0..=u8::MAX).zip(from) {
            let mut client = SideClient::connect(server, Some(address)).await?;
            let frames: Vec<_> = (0..questions)
                .map(|number| open([source, number]))
                .collect();
            client.send(&frames).await?;
            connections.push(client);
        }
        Ok(Self {
            _connections: connections,
        })
    }
}

fn open(id: [u8; 2]) -> Frame {
    let mut association = [0xf1; Association::LEN];
    association[..2].copy_from_slice(&id);
    Frame {
        association: Association(association),
        body: FrameBody::Open {
            nonce_c: [0xf1; 32],
            bindings: Bindings::ALL,
        },
    }
}
