//! A passive attacker.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mtls_core::proto::binding::{Association, HelloHash, Role};
use mtls_core::proto::hello::{Hello, HelloTap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::datagrams::DatagramRelay;
use crate::Result;
use crate::tasks::Listening;

/// How many bytes of each direction of one connection are kept.
const KEPT: usize = 256 * 1024;

/// An attacker on a path that forwards all bytes and records them.
#[derive(Debug)]
pub struct Eavesdropper {
    notes: Notes,
    address: SocketAddr,
    _front: Front,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
enum Front {
    Tcp(Listening),
    Udp(DatagramRelay),
}

impl Eavesdropper {
    /// Listens at `address`, in front of the server at `server`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn start(address: SocketAddr, server: SocketAddr) -> Result<Self> {
        let notes = Notes::default();
        let taken = notes.clone();
        let listening = Listening::start(address, move |client, _| {
            let notes = taken.clone();
            async move {
                let _ = notes.listen_in(client, server).await;
            }
        })
        .await?;
        Ok(Self {
            notes,
            address: listening.address,
            _front: Front::Tcp(listening),
        })
    }

    /// Listens at `address` for datagrams, in front of the server at `server`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn of_datagrams(address: SocketAddr, server: SocketAddr) -> Result<Self> {
        let notes = Notes::default();
        let taken = notes.clone();
        let relay = DatagramRelay::start(address, move |flow| {
            let notes = taken.clone();
            async move {
                let number = notes.begin();
                let report = |from, bytes: &[u8]| notes.write_down(number, from, bytes);
                let _ = flow.relay(Vec::new(), server, report).await;
            }
        })
        .await?;
        Ok(Self {
            notes,
            address: relay.address(),
            _front: Front::Udp(relay),
        })
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The recorded bytes; recording continues.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }
}

/// Everything that passed an [`Eavesdropper`], as it was on the wire. Clones are the same notes.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Vec<Conversation>>>);

/// One connection.
#[derive(Clone, Debug, Default)]
struct Conversation {
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    /// The sender and length of each piece, in the order of arrival.
    order: Vec<(Role, usize)>,
}

impl Notes {
    /// How many bytes.
    pub fn bytes(&self) -> usize {
        let conversations = self.lock();
        let sizes = conversations
            .iter()
            .map(|one| one.from_client.len() + one.from_server.len());
        sizes.sum()
    }

    /// Did this text pass in the clear?
    pub fn contain(&self, text: &str) -> bool {
        let found = |bytes: &[u8]| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        let conversations = self.lock();
        conversations
            .iter()
            .any(|one| found(&one.from_client) || found(&one.from_server))
    }

    /// The hellos of a handshake that passed, by its association: all that the hello binding is
    /// computed from.
    pub fn hello(&self, association: &Association) -> Option<HelloHash> {
        let conversations = self.lock();
        let mut hellos = conversations.iter().filter_map(Conversation::hello);
        hellos
            .find(|hello| hello.association == *association)
            .map(|hello| hello.hello_hash)
    }

    async fn listen_in(&self, mut client: TcpStream, server: SocketAddr) -> Result {
        let mut server = TcpStream::connect(server).await?;
        server.set_nodelay(true)?;
        let number = self.begin();
        let (mut from_client, mut from_server) = (vec![0; 4096], vec![0; 4096]);
        let (mut client_open, mut server_open) = (true, true);
        while client_open || server_open {
            tokio::select! {
                read = client.read(&mut from_client), if client_open => {
                    let bytes = &from_client[..read?];
                    client_open = !bytes.is_empty();
                    self.write_down(number, Role::Client, bytes);
                    pass_on(&mut server, bytes).await?;
                }
                read = server.read(&mut from_server), if server_open => {
                    let bytes = &from_server[..read?];
                    server_open = !bytes.is_empty();
                    self.write_down(number, Role::Server, bytes);
                    pass_on(&mut client, bytes).await?;
                }
            }
        }
        Ok(())
    }

    fn begin(&self) -> usize {
        let mut conversations = self.lock();
        conversations.push(Conversation::default());
        conversations.len() - 1
    }

    fn write_down(&self, number: usize, from: Role, bytes: &[u8]) {
        if let Some(conversation) = self.lock().get_mut(number) {
            let kept = match from {
                Role::Client => &mut conversation.from_client,
                Role::Server => &mut conversation.from_server,
            };
            let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
            conversation.order.push((from, room));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Conversation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conversation {
    /// Replays the pieces into a tap, in the order of arrival.
    fn hello(&self) -> Option<Hello> {
        let mut tap = HelloTap::new();
        let (mut client, mut server) = (&self.from_client[..], &self.from_server[..]);
        for &(from, length) in &self.order {
            let direction = match from {
                Role::Client => &mut client,
                Role::Server => &mut server,
            };
            let (bytes, rest) = direction.split_at_checked(length)?;
            *direction = rest;
            match from {
                Role::Client => tap.client_bytes(bytes).ok()?,
                Role::Server => tap.server_bytes(bytes).ok()?,
            }
            if let Some(hello) = tap.hello() {
                return Some(hello);
            }
        }
        None
    }
}

/// Nothing means that the other end has closed.
async fn pass_on(to: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    match bytes {
        [] => to.shutdown().await,
        bytes => to.write_all(bytes).await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};

    /// That the search finds nothing in TLS means something only if it finds what is there.
    #[tokio::test]
    async fn what_passes_in_the_clear_is_found() -> Result {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let server = tcp.local_addr()?;
        let served = tokio::spawn(async move {
            let (mut stream, _) = tcp.accept().await?;
            let mut request = vec![0; REQUEST_SECRET.len()];
            stream.read_exact(&mut request).await?;
            stream.write_all(PAGE_SECRET.as_bytes()).await
        });
        let spy = Eavesdropper::start("127.0.0.1:0".parse()?, server).await?;
        let mut client = TcpStream::connect(spy.address()).await?;
        client.write_all(REQUEST_SECRET.as_bytes()).await?;
        let mut page = String::new();
        client.read_to_string(&mut page).await?;
        served.await??;
        assert_eq!(page, PAGE_SECRET);
        assert!(spy.notes().contain(REQUEST_SECRET) && spy.notes().contain(PAGE_SECRET));
        assert!(!spy.notes().contain("another secret"));
        Ok(())
    }
}
