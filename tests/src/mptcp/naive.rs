//! A client of Multipath TCP that compares no counters.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use super::{Forger, ServerHost, links_for_exchange, mptcp_listener};
use crate::link::TwoLinks;
use crate::netns::{INTERFACES, Inside};
use crate::{Result, eventually};

/// The bytes of the attacker, and those of the server.
pub const FORGED: &[u8; 8] = b"FORGED!!";
const GENUINE: &[u8; 8] = b"GENUINE!";

/// The time until both kernels have taken the last packet of the join.
const SETTLE: Duration = Duration::from_millis(100);
/// The longest wait for bytes of the other end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Has a [`Forger`] on the first link attack a client that compares no counters, while its server
/// answers over the second link; returns the answer that the client has read.
///
/// # Errors
/// When the attacker did not send, or the genuine answer did not take the second link.
pub async fn fool_naive_receiver() -> Result<[u8; 8]> {
    let links = links_for_exchange("kernel").await?;
    links.client.ip("mptcp limits set subflows 2")?;
    for (index, id) in [(0, 1), (1, 2)] {
        let name = INTERFACES[index];
        links.client.ip(&format!(
            "mptcp endpoint add 10.{index}.1.2 id {id} dev {name} subflow"
        ))?;
    }
    let forger = Forger::new(FORGED);
    links.attack(0, forger.attacks());
    let (up, is_up) = oneshot::channel();
    let address = ServerHost::address();
    let server = links.server.spawn(move || serve(address, up))?;
    is_up.await?;
    let (ready, is_ready) = oneshot::channel::<()>();
    let client = links.client.spawn(move || ask(address, ready))?;
    is_ready.await?;
    eventually("the second subflow is established", || {
        links.carried(1).iter().all(|way| way.packets >= 2) && links.travelling() == 0
    })
    .await?;
    tokio::time::sleep(SETTLE).await;
    // Both ends send over the second link alone from now on.
    links.client.ip("mptcp endpoint change id 1 backup")?;
    eventually("the attacker has sent", || forger.sent() == 1).await?;
    finish(&links, client, server).await
}

async fn finish(links: &TwoLinks, client: Inside<[u8; 8]>, server: Inside<()>) -> Result<[u8; 8]> {
    let answer = client.join().await?;
    server.join().await?;
    match links.carried(1)[1].bytes {
        0 => Err("the genuine answer did not take the second link".into()),
        _ => Ok(answer),
    }
}

async fn serve(address: SocketAddr, up: oneshot::Sender<()>) -> Result {
    let listener = mptcp_listener(address)?;
    let _ = up.send(());
    let (stream, _) = listener.accept().await?;
    let mut stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 1])?;
    stream.write_all(GENUINE)?;
    // The client closes when it has read an answer.
    let _ = stream.read(&mut [0; 1]);
    Ok(())
}

/// Sends its question when both ends use the second subflow: the forged bytes are there then.
async fn ask(address: SocketAddr, ready: oneshot::Sender<()>) -> Result<[u8; 8]> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
    socket.connect(&address.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut [0; 5])?;
    let _ = ready.send(());
    stream.peek(&mut [0; 1])?;
    stream.write_all(b"?")?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
