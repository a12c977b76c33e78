//! The connection of one client, from its first byte to the end of its tunnel.

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
    Protocol, Request, RequestReader, SocksReply, Step, http_error, socks_reply, socks4_reply,
};
use super::tunnels::{Admitted, TunnelError, admit, dial, relay, report_end, report_verdict};
use crate::connect::close::close;

/// The maximum time for a client's request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that are read at a time before the tunnel.
const READ: usize = 4096;

const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves one client until its connection ends.
pub(super) async fn serve(proxy: Arc<Proxy>, mut stream: TcpStream, peer: SocketAddr) {
    // On the heap, and freed before the tunnel is relayed.
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
    /// With the bytes that have been read.
    Http(Vec<u8>),
}

async fn open(proxy: &Arc<Proxy>, stream: &mut TcpStream, peer: SocketAddr) -> Option<Opened> {
    match timeout(REQUEST_TIMEOUT, receive(proxy, stream, peer)).await {
        Ok(Some(Step::Http(received))) => Some(Opened::Http(received)),
        Ok(Some(Step::Tunnel(request))) => establish(proxy, stream, peer, request).await,
        _ => None,
    }
}

/// Reads the client's request. `None` if the connection has ended.
async fn receive(proxy: &Proxy, stream: &mut TcpStream, peer: SocketAddr) -> Option<Step> {
    let mut reader = RequestReader::default();
    let mut buffer = vec![0; READ];
    let mut step = Ok(Step::More);
    loop {
        step = match step {
            Ok(Step::More) => match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => reader.handle(&buffer[..read]),
            },
            Ok(Step::Reply(reply)) => {
                stream.write_all(&reply).await.ok()?;
                reader.proceed()
            }
            Ok(done) => return Some(done),
            Err(error) => {
                proxy.console.bad_request(peer, &error.to_string());
                write_and_close(stream, &error.reply()).await;
                return None;
            }
        };
    }
}

/// Dials the target, and reports the result to the client.
async fn establish(
    proxy: &Arc<Proxy>,
    stream: &mut TcpStream,
    peer: SocketAddr,
    request: Request,
) -> Option<Opened> {
    let Request {
        target,
        protocol,
        rest,
    } = request;
    if page::is_at(&target.host) {
        confirm(stream, protocol).await?;
        return Some(Opened::Http(rest));
    }
    let Some(mut admitted) = admit(proxy, target, protocol, peer) else {
        refuse(stream, protocol, &TunnelError::Full).await;
        return None;
    };
    if let Err(error) = dial(proxy, &mut admitted).await {
        report_verdict(proxy, &admitted.entry).await;
        report_end(proxy, &admitted.entry);
        refuse(stream, protocol, &TunnelError::of(&error)).await;
        return None;
    }
    confirm(stream, protocol).await?;
    admitted.tunnel = admitted.tunnel.received(rest);
    Some(Opened::Tunnel(Box::new(admitted)))
}

/// Confirms the tunnel to the client.
async fn confirm(stream: &mut TcpStream, protocol: Protocol) -> Option<()> {
    let written = match protocol {
        Protocol::Connect => stream.write_all(CONNECTED).await,
        Protocol::Socks4 => stream.write_all(&socks4_reply(true)).await,
        Protocol::Socks5 => stream.write_all(&socks_reply(SocksReply::Succeeded)).await,
        Protocol::PlainHttp => Ok(()),
    };
    written.ok()
}

async fn refuse(stream: &mut TcpStream, protocol: Protocol, error: &TunnelError) {
    let reply = match protocol {
        Protocol::Socks4 => socks4_reply(false).to_vec(),
        Protocol::Socks5 => socks_reply(error.socks_reply()).to_vec(),
        Protocol::Connect | Protocol::PlainHttp => {
            let (status, phrase) = error.status();
            http_error(status, phrase, &error.to_string())
        }
    };
    write_and_close(stream, &reply).await;
}

async fn write_and_close(stream: &mut TcpStream, last: &[u8]) {
    if stream.write_all(last).await.is_ok() {
        close(stream).await;
    }
}
