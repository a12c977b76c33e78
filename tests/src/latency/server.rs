//! The server: one thread with all listeners, and one with the relay.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use mtls_certs::{Authority, KeyAlgorithm, Pki};
use mtls_core::path::Endpoint;
use mtls_core::quic::{QuicAcceptor, QuicListener, QuicListenerLimits};
use mtls_core::relay::{RelayListener, ServerRelay};
use mtls_core::smkex::SmkexServer;
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::echo::{respond, respond_noise};
use super::network::{End, Network};
use super::noise::NoiseStream;
use crate::meter::Meter;
use crate::netns::Inside;
use crate::quic::{ALPN, QuicStream, plain_server};
use crate::sockets::{mptcp_listener, udp_and_tcp};
use crate::{Result, raw_keys, tls};

/// The addresses of the listeners.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) tcp: SocketAddr,
    pub(super) noise: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) raw_key: SocketAddr,
    pub(super) smkex: SocketAddr,
    pub(super) multipath: SocketAddr,
    /// Plain TLS with session tickets.
    pub(super) resuming: SocketAddr,
    /// SMKEX and multipath TLS over Multipath TCP.
    pub(super) mptcp: [SocketAddr; 2],
    /// Plain QUIC. That of multipath TLS has the port of `multipath`.
    pub(super) quic: SocketAddr,
}

/// A thread that runs until this is dropped or stopped.
pub(super) struct Running<T> {
    pub(super) about: T,
    pub(super) meter: Meter,
    stop: Option<oneshot::Sender<()>>,
    thread: Inside<()>,
}

impl<T: Send + 'static> Running<T> {
    /// Starts a thread at one end: `set_up` returns its public data and the work to do.
    pub(super) async fn start<S, W>(
        network: &Network,
        end: End,
        set_up: impl FnOnce() -> S + Send + 'static,
    ) -> Result<Self>
    where
        S: Future<Output = Result<(T, W)>>,
        W: Future<Output = ()>,
    {
        let (ready, is_ready) = oneshot::channel();
        let (stop, stops) = oneshot::channel::<()>();
        let thread = network.spawn(end, move || async move {
            let (about, work) = set_up().await?;
            let _ = ready.send((about, Meter::here()));
            tokio::select! {
                () = work => {}
                _ = stops => {}
            }
            Ok(())
        })?;
        match is_ready.await {
            Ok((about, meter)) => Ok(Self {
                about,
                meter,
                stop: Some(stop),
                thread,
            }),
            Err(_) => match thread.join().await {
                Err(error) => Err(error),
                Ok(()) => Err("a host has ended".into()),
            },
        }
    }

    /// Ends it.
    pub(super) async fn stop(mut self) -> Result {
        drop(self.stop.take());
        self.thread.join().await
    }
}

/// Starts everything that listens, but for the relay.
pub(super) async fn start(network: &Network, pki: &Pki) -> Result<Running<Addresses>> {
    let (ip, has_mptcp) = (network.server(), network.no_mptcp().is_none());
    let tls = Arc::new(tls::server_config(&pki.server, tls::provider())?);
    let resuming = Arc::new(tls::resuming_server_config(&pki.server, tls::provider())?);
    // SMKEX's servers have keys of Ed25519, too.
    let ed25519 = Authority::with_algorithm("raw key", KeyAlgorithm::Ed25519)?;
    let raw_key = Arc::new(raw_keys::server_config(&ed25519.issue(&[ip.to_string()])?)?);
    Running::start(network, End::Server, move || async move {
        let multipath = MultipathAcceptor::builder(Arc::clone(&tls), Policy::Require).build()?;
        let smkex = SmkexServer::new(tls::provider())
            .acceptor(Policy::Require)?
            .build()?;
        let listeners = Listeners::bind(ip, has_mptcp).await?;
        let plain_quic = UdpSocket::bind((ip, 0))?;
        let addresses = listeners.addresses(plain_quic.local_addr()?)?;
        let plain_quic = plain_server((*tls).clone(), plain_quic)?;
        let verified_quic = quic_listener(&multipath, listeners.udp)?;
        let [
            tcp,
            noise,
            tls_at,
            raw_key_at,
            smkex_at,
            multipath_at,
            resuming_at,
        ] = listeners.tcp;
        let [smkex_mptcp, multipath_mptcp] = listeners.mptcp;
        Ok((addresses, async move {
            tokio::join!(
                each(tcp, respond),
                each(noise, |tcp| async {
                    respond_noise(NoiseStream::respond(tcp).await?).await
                }),
                serve_tls(tls_at, tls),
                serve_tls(raw_key_at, raw_key),
                serve_tls(resuming_at, resuming),
                serve_multipath(smkex_at, smkex.clone()),
                serve_multipath(multipath_at, multipath.clone()),
                serve_multipath(smkex_mptcp, smkex),
                serve_multipath(multipath_mptcp, multipath),
                serve_plain_quic(plain_quic),
                serve_quic(verified_quic),
            );
        }))
    })
    .await
}

/// Starts the relay in front of the listener of plain TLS.
pub(super) async fn start_relay(
    network: &Network,
    target: SocketAddr,
) -> Result<Running<SocketAddr>> {
    let ip = network.server();
    Running::start(network, End::Server, move || async move {
        let relay = ServerRelay::builder(&tls::provider(), Endpoint::from(target), Policy::Require)
            .build()?;
        let listener = TcpListener::bind((ip, 0)).await?;
        let address = listener.local_addr()?;
        let mut relaying = RelayListener::new(relay, ListenerLimits::default(), |_, _| {});
        relaying.add(listener);
        Ok((address, async move {
            let _relaying = relaying;
            std::future::pending().await
        }))
    })
    .await
}

struct Listeners {
    tcp: [TcpListener; 7],
    /// Of Multipath TCP, where the network has it.
    mptcp: [TcpListener; 2],
    /// Of the address of the sixth.
    udp: UdpSocket,
}

impl Listeners {
    async fn bind(ip: IpAddr, has_mptcp: bool) -> Result<Self> {
        let bind = || TcpListener::bind((ip, 0));
        let (udp, multipath) = udp_and_tcp(SocketAddr::new(ip, 0))?;
        let mptcp = match has_mptcp {
            true => {
                let bind = || mptcp_listener(SocketAddr::new(ip, 0));
                [bind()?, bind()?]
            }
            false => [bind().await?, bind().await?],
        };
        let tcp = [
            bind().await?,
            bind().await?,
            bind().await?,
            bind().await?,
            bind().await?,
            multipath,
            bind().await?,
        ];
        Ok(Self { tcp, mptcp, udp })
    }

    fn addresses(&self, quic: SocketAddr) -> Result<Addresses> {
        let [tcp, noise, tls, raw_key, smkex, multipath, resuming] = &self.tcp;
        let [smkex_mptcp, multipath_mptcp] = &self.mptcp;
        Ok(Addresses {
            mptcp: [smkex_mptcp.local_addr()?, multipath_mptcp.local_addr()?],
            quic,
            tcp: tcp.local_addr()?,
            noise: noise.local_addr()?,
            tls: tls.local_addr()?,
            raw_key: raw_key.local_addr()?,
            smkex: smkex.local_addr()?,
            multipath: multipath.local_addr()?,
            resuming: resuming.local_addr()?,
        })
    }
}

/// Serves every connection in a task of its own.
async fn each<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = Result> + Send + 'static,
{
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            continue;
        };
        // A client that fails says so itself.
        if tcp.set_nodelay(true).is_ok() {
            tokio::spawn(serve(tcp));
        }
    }
}

async fn serve_tls(listener: TcpListener, config: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(config);
    each(listener, |tcp| {
        let accepting = acceptor.accept(tcp);
        async { respond(accepting.await?).await }
    })
    .await;
}

async fn serve_multipath(listener: TcpListener, acceptor: MultipathAcceptor) {
    let mut listener = MultipathListener::new(acceptor, listener, ListenerLimits::default());
    loop {
        let (stream, _) = listener.accept().await;
        tokio::spawn(respond(stream));
    }
}

fn quic_listener(acceptor: &MultipathAcceptor, socket: UdpSocket) -> Result<QuicListener> {
    let quic = QuicAcceptor::builder(acceptor).alpn(&[ALPN]).build()?;
    let endpoint = quic.endpoint(socket)?;
    let limits = QuicListenerLimits::default();
    Ok(QuicListener::new(quic, endpoint, limits))
}

async fn serve_plain_quic(endpoint: quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move { respond(QuicStream::accept(incoming.await?).await?).await });
    }
}

async fn serve_quic(mut listener: QuicListener) {
    loop {
        let (connection, _) = listener.accept().await;
        let connection = connection.into_inner();
        tokio::spawn(async move { respond(QuicStream::accept(connection).await?).await });
    }
}
