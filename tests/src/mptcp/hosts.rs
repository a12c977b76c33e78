//! A server behind two links, and men in the middle with kernels of their own.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use mtls_core::path::{Path, SubflowSource};
use tokio::sync::oneshot;

use super::mitm::{MptcpMitm, MptcpMitmPlan};
use crate::link::segment::{SYN, Segment, change};
use crate::link::{Attack, TwoLinks};
use crate::netns::{INTERFACES, Inside, Namespace, SERVER, SERVER_V4};
use crate::{Captured, Result, Setup, Victim, World};

/// The port of the server, and that of a man in the middle.
pub const PORT: u16 = 443;

/// A server of Multipath TCP in the server's namespace.
#[derive(Debug)]
pub struct ServerHost {
    stop: oneshot::Sender<()>,
    running: Inside<usize>,
}

impl ServerHost {
    /// The server's address.
    #[must_use]
    pub fn address() -> SocketAddr {
        SocketAddr::new(SERVER, PORT)
    }

    /// A client whose second subflow goes over the second link.
    ///
    /// # Errors
    /// When the certificates are invalid.
    pub fn client(world: &World) -> Result<Victim> {
        let second = SubflowSource::Interface(INTERFACES[1].to_owned());
        Ok(world
            .victim_of(Self::address())?
            .primary_by(Path::system().mptcp(true))
            .side_by(Path::subflow(second)?, Self::address()))
    }

    /// Starts it at [its address](Self::address).
    ///
    /// # Errors
    /// Errors of the system.
    pub async fn start(links: &TwoLinks, world: &Arc<World>, setup: Setup) -> Result<Self> {
        Self::start_at(links, world, Self::address(), setup).await
    }

    /// Starts it elsewhere in the server's namespace.
    ///
    /// # Errors
    /// Errors of the system.
    pub async fn start_at(
        links: &TwoLinks,
        world: &Arc<World>,
        address: SocketAddr,
        setup: Setup,
    ) -> Result<Self> {
        let world = Arc::clone(world);
        let (up, is_up) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = links.server.spawn(move || async move {
            let server = world.serve_at(address, setup).await?;
            let _ = up.send(());
            let _ = stopped.await;
            Ok(server.bytes())
        })?;
        match is_up.await {
            Ok(()) => Ok(Self { stop, running }),
            Err(_) => Err(running.join().await.err().unwrap_or("no server".into())),
        }
    }

    /// Ends it; the number of application bytes that it has read.
    ///
    /// # Errors
    /// Errors of the server.
    pub async fn stop(self) -> Result<usize> {
        let _ = self.stop.send(());
        self.running.join().await
    }
}

/// A man in the middle in a namespace of their own, to which the server's forwards. A link leads there
/// when an attacker on it [redirects](Self::redirect) connections. They end when this is dropped.
#[derive(Debug)]
pub struct MitmHost {
    captured: Captured,
    address: SocketAddrV4,
    _stop: oneshot::Sender<()>,
    _namespace: Namespace,
}

impl MitmHost {
    /// Starts the one with this number, of those of the same links.
    ///
    /// # Errors
    /// Errors of the system.
    pub async fn start(links: &TwoLinks, number: u8, plan: MptcpMitmPlan) -> Result<Self> {
        let own = Ipv4Addr::new(10, 98, number, 1);
        let address = SocketAddrV4::new(own, PORT);
        let namespace = Namespace::new()?;
        connect(&links.server, &namespace, number, own)?;
        let (up, is_up) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = namespace.spawn(move || async move {
            let mitm = MptcpMitm::start(address.into(), plan)?;
            let _ = up.send(mitm.captured().clone());
            let _ = stopped.await;
            Ok(())
        })?;
        match is_up.await {
            Ok(captured) => Ok(Self {
                captured,
                address,
                _stop: stop,
                _namespace: namespace,
            }),
            Err(_) => Err(running.join().await.err().unwrap_or("no attacker".into())),
        }
    }

    /// The data that they captured.
    #[must_use]
    pub fn captured(&self) -> &Captured {
        &self.captured
    }

    /// An attacker on a link who leads connections to the server to this host, in both directions.
    /// `strips`: removes the options of Multipath TCP from their first packets.
    #[must_use]
    pub fn redirect(&self, strips: bool) -> [Attack; 2] {
        let server = (SERVER_V4.octets(), PORT);
        let own = (self.address.ip().octets(), PORT);
        let strip = move |segment: &mut Segment| {
            if strips && segment.flags & SYN != 0 {
                segment.strip_mptcp();
            }
        };
        let to_attacker = change(move |mut segment| {
            if segment.to == server {
                strip(&mut segment);
                segment.to = own;
            }
            Some(segment)
        });
        let from_attacker = change(move |mut segment| {
            if segment.from == own {
                strip(&mut segment);
                segment.from = server;
            }
            Some(segment)
        });
        [to_attacker, from_attacker]
    }
}

/// Leads from the server's namespace to another one and back.
fn connect(server: &Namespace, other: &Namespace, number: u8, own: Ipv4Addr) -> Result {
    let [a, b, c, _] = own.octets();
    let (near, router) = (format!("mitm{number}"), Ipv4Addr::new(a, b, c, 2));
    server.link_to(&near, other, "up0")?;
    server.ip(&format!("addr add {router}/24 dev {near}"))?;
    server.ip(&format!("link set {near} up"))?;
    server.sysctl("net.ipv4.ip_forward=1")?;
    other.ip(&format!("addr add {own}/24 dev up0"))?;
    other.ip("link set up0 up")?;
    other.ip(&format!("route add default via {router}"))?;
    other.ip("mptcp limits set subflows 2")
}
