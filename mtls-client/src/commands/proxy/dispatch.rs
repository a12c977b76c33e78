//! One client of the proxy, from its first byte to the end of its tunnel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Proxy;
use super::forward;
use super::page;
use super::request::{
    Protocol, Reception, Request, SocksReply, Step, http_refusal, socks_reply, socks4_reply,
};
use super::tunnels::{Admitted, NoWay, admit, dial, relay, settle, told_over};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes are read at a time before the tunnel.
const READ: usize = 4096;

const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves one client to its end.
pub(super) async fn attend(proxy: Arc<Proxy>, mut stream: TcpStream, peer: SocketAddr) {
    // On the heap, and gone before the long part of a tunnel's life.
    let opened = Box::pin(open(&proxy, &mut stream, peer)).await;
    match opened {
        Some(Opened::Tunnel(admitted)) => relay(&proxy, *admitted, stream).await,
        Some(Opened::Http(received)) => {
            Box::pin(forward::serve(proxy, stream, peer, received)).await;
        }
        None => {}
    }
}

enum Opened {
    Tunnel(Box<Admitted>),
    /// With what was read already.
    Http(Vec<u8>),
}

async fn open(proxy: &Arc<Proxy>, stream: &mut TcpStream, peer: SocketAddr) -> Option<Opened> {
    match timeout(PATIENCE, receive(proxy, stream, peer)).await {
        Ok(Some(Step::Http(received))) => Some(Opened::Http(received)),
        Ok(Some(Step::Tunnel(request))) => establish(proxy, stream, peer, request).await,
        _ => None,
    }
}

/// Reads until it is clear what the client wants. `None`: there is nothing more to do.
async fn receive(proxy: &Proxy, stream: &mut TcpStream, peer: SocketAddr) -> Option<Step> {
    let mut reception = Reception::default();
    let mut buffer = vec![0; READ];
    let mut step = Ok(Step::More);
    loop {
        step = match step {
            Ok(Step::More) => match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => reception.handle(&buffer[..read]),
            },
            Ok(Step::Answer(answer)) => {
                stream.write_all(&answer).await.ok()?;
                reception.proceed()
            }
            Ok(done) => return Some(done),
            Err(refusal) => {
                proxy.console.puzzled(peer, &refusal.to_string());
                part(stream, &refusal.answer()).await;
                return None;
            }
        };
    }
}

/// Dials the target and tells the client what came of it.
async fn establish(
    proxy: &Arc<Proxy>,
    stream: &mut TcpStream,
    peer: SocketAddr,
    request: Request,
) -> Option<Opened> {
    let Request { target, by, rest } = request;
    if page::is_at(&target.host) {
        answer(stream, by).await?;
        return Some(Opened::Http(rest));
    }
    let Some(mut admitted) = admit(proxy, target, by, peer) else {
        refuse(stream, by, &NoWay::Full).await;
        return None;
    };
    if let Err(error) = dial(proxy, &mut admitted).await {
        settle(proxy, &admitted.entry).await;
        told_over(proxy, &admitted.entry);
        refuse(stream, by, &NoWay::of(&error)).await;
        return None;
    }
    answer(stream, by).await?;
    admitted.tunnel = admitted.tunnel.received(rest);
    Some(Opened::Tunnel(Box::new(admitted)))
}

/// The tunnel is there.
async fn answer(stream: &mut TcpStream, by: Protocol) -> Option<()> {
    let written = match by {
        Protocol::Connect => stream.write_all(CONNECTED).await,
        Protocol::Socks4 => stream.write_all(&socks4_reply(true)).await,
        Protocol::Socks5 => stream.write_all(&socks_reply(SocksReply::Succeeded)).await,
        Protocol::PlainHttp => Ok(()),
    };
    written.ok()
}

async fn refuse(stream: &mut TcpStream, by: Protocol, why: &NoWay) {
    let answer = match by {
        Protocol::Socks4 => socks4_reply(false).to_vec(),
        Protocol::Socks5 => socks_reply(why.reply()).to_vec(),
        Protocol::Connect | Protocol::PlainHttp => {
            let (status, phrase) = why.status();
            http_refusal(status, phrase, &why.to_string())
        }
    };
    part(stream, &answer).await;
}

/// Says the last word and waits a little for the client to have read it: a close with unread
/// bytes would reset the connection, and the word would be lost.
async fn part(stream: &mut TcpStream, last: &[u8]) {
    const FAREWELL: Duration = Duration::from_millis(500);
    const MOST: usize = 64 * 1024;
    let saying = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut nothing = [0; 1024];
        let mut read = 0;
        while read < MOST {
            match stream.read(&mut nothing).await? {
                0 => break,
                count => read += count,
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let _ = timeout(FAREWELL, saying).await;
}
