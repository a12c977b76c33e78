//! A host on the path of datagrams: what it does with those of each client is an attack.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtls_core::proto::binding::Role;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::tasks::Tasks;

/// The largest datagram of IPv4.
const MAX_DATAGRAM: usize = 65_507;
/// The most datagrams of a client that wait; more are lost, as in a network.
const MAX_WAITING: usize = 1024;

/// Receives datagrams in place of a server, and passes those of each client to a task of its own.
#[derive(Debug)]
pub(crate) struct DatagramRelay {
    address: SocketAddr,
    clients: Arc<AtomicUsize>,
    _tasks: Arc<Tasks>,
    _receiving: Tasks,
}

/// The datagrams of one client.
pub(crate) struct Flow {
    client: SocketAddr,
    front: Arc<UdpSocket>,
    from_client: mpsc::Receiver<Vec<u8>>,
}

impl DatagramRelay {
    /// Listens at `address`, and serves each client in a task of its own.
    pub(crate) async fn start<F, T>(address: SocketAddr, serve: F) -> io::Result<Self>
    where
        F: Fn(Flow) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let front = Arc::new(UdpSocket::bind(address).await?);
        let address = front.local_addr()?;
        let (receiving, tasks) = (Tasks::default(), Arc::new(Tasks::default()));
        let clients = Arc::new(AtomicUsize::new(0));
        let (served, count) = (Arc::clone(&tasks), Arc::clone(&clients));
        receiving.spawn(async move {
            let mut flows = HashMap::new();
            let mut buffer = vec![0; MAX_DATAGRAM];
            loop {
                let Ok((length, client)) = front.recv_from(&mut buffer).await else {
                    continue;
                };
                let flow = flows.entry(client).or_insert_with(|| {
                    let (to_flow, from_client) = mpsc::channel(MAX_WAITING);
                    count.fetch_add(1, Ordering::SeqCst);
                    served.spawn(serve(Flow {
                        client,
                        front: Arc::clone(&front),
                        from_client,
                    }));
                    to_flow
                });
                let _ = flow.try_send(buffer[..length].to_vec());
            }
        });
        Ok(Self {
            address,
            clients,
            _tasks: tasks,
            _receiving: receiving,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many clients sent something.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::SeqCst)
    }
}

impl Flow {
    /// The next datagram of the client.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        self.from_client.recv().await
    }

    /// The address that the client's datagrams are sent to.
    pub(crate) fn local_ip(&self) -> io::Result<IpAddr> {
        Ok(self.front.local_addr()?.ip())
    }

    /// Sends the client a datagram, from the server's address.
    pub(crate) async fn reply(&self, datagram: &[u8]) -> io::Result<()> {
        self.front.send_to(datagram, self.client).await.map(drop)
    }

    /// Passes all datagrams to `server` and back, those first that have been taken out, and reports them.
    /// Ends with an error only.
    pub(crate) async fn relay(
        mut self,
        taken: Vec<Vec<u8>>,
        server: SocketAddr,
        mut report: impl FnMut(Role, &[u8]),
    ) -> io::Result<()> {
        let back = UdpSocket::bind(SocketAddr::new(self.local_ip()?, 0)).await?;
        back.connect(server).await?;
        for datagram in taken {
            report(Role::Client, &datagram);
            lose(back.send(&datagram).await);
        }
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            tokio::select! {
                Some(datagram) = self.from_client.recv() => {
                    report(Role::Client, &datagram);
                    lose(back.send(&datagram).await);
                }
                received = back.recv(&mut buffer) => {
                    let Ok(length) = received else { continue };
                    report(Role::Server, &buffer[..length]);
                    lose(self.reply(&buffer[..length]).await);
                }
            }
        }
    }
}

/// A datagram that cannot be sent is lost, as in a network: QUIC repeats it.
fn lose<T>(_sent: io::Result<T>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Result;

    #[tokio::test]
    async fn datagrams_pass_both_ways_and_are_reported() -> Result {
        let server = UdpSocket::bind("127.0.0.1:0").await?;
        let (address, (reported, mut reports)) = (server.local_addr()?, mpsc::unbounded_channel());
        let relay = DatagramRelay::start("127.0.0.1:0".parse()?, move |mut flow| {
            let reported = reported.clone();
            async move {
                let first = flow.next().await.unwrap_or_default();
                let report = |from, bytes: &[u8]| {
                    let _ = reported.send((from, bytes.to_vec()));
                };
                let _ = flow.relay(vec![first], address, report).await;
            }
        })
        .await?;
        let client = UdpSocket::bind("127.0.0.1:0").await?;
        client.connect(relay.address()).await?;
        let mut buffer = [0; 16];
        for question in [b"one", b"two"] {
            client.send(question).await?;
            let (length, from) = server.recv_from(&mut buffer).await?;
            assert_eq!(&buffer[..length], question);
            server.send_to(b"reply", from).await?;
            let length = client.recv(&mut buffer).await?;
            assert_eq!(&buffer[..length], b"reply");
            assert_eq!(
                reports.recv().await,
                Some((Role::Client, question.to_vec()))
            );
            assert_eq!(
                reports.recv().await,
                Some((Role::Server, b"reply".to_vec()))
            );
        }
        assert_eq!(relay.clients(), 1);
        Ok(())
    }
}
