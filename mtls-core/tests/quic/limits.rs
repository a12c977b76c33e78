//! Handshakes that clients do not finish.

use std::net::{Ipv4Addr, SocketAddr};

use mtls_core::quic::{QuicListener, QuicListenerLimits};
use mtls_core::{MultipathAcceptor, MultipathListener, Policy};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::world::*;

/// A client whose packets arrive, and that gets no answer.
async fn stalled_client(world: &World, server: SocketAddr) -> JoinSet<()> {
    let incoming = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let incoming = incoming.expect("a port");
    let address = incoming.local_addr().expect("an address");
    let outgoing = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let outgoing = outgoing.expect("a port");
    let client = plain_client(&world.client);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let connecting = client.connect(address, "localhost");
        let _ = connecting.expect("a valid configuration").await;
    });
    tasks.spawn(async move {
        let mut packet = [0; 2048];
        while let Ok(length) = incoming.recv(&mut packet).await {
            let _ = outgoing.send_to(&packet[..length], server).await;
        }
    });
    tasks
}

#[tokio::test]
async fn handshakes_that_are_not_finished_give_their_slots_to_those_that_wait() {
    const SLOTS: usize = 2;
    let world = World::new();
    let acceptor = MultipathAcceptor::builder(world.server.clone(), patient(Policy::Require));
    let acceptor = acceptor.build().expect("an acceptor");
    let quic = quic_acceptor(&acceptor);
    let (tcp, udp) = sockets([127, 0, 0, 1]).await;
    let address = tcp.local_addr().expect("an address");
    let endpoint = quic.endpoint(udp).expect("an endpoint");
    let _sides = MultipathListener::new(acceptor, tcp, Default::default());
    let mut limits = QuicListenerLimits::default();
    limits.handshakes = SLOTS;
    let mut listener = QuicListener::new(quic, endpoint, limits);
    let mut clients = Vec::new();
    for number in 1..=SLOTS {
        clients.push(stalled_client(&world, address).await);
        while listener.handshakes() < number {
            tokio::task::yield_now().await;
        }
    }
    let settings = direct(Policy::Require, address);
    let honest = connector(&world.client, settings);
    let honest = tokio::spawn(async move { honest.connect(&target(address)).await });
    let (accepted, _) = listener.accept().await;
    assert_eq!(accepted.verdict().outcome.as_str(), "verified");
    let connected = honest.await.expect("no panic");
    assert!(connected.expect("a slot").verdict().verified().is_some());
}
