//! The man in the middle of QUIC: quinn's server and client back to back.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use mtls_core::path::Endpoint;
use mtls_core::quic::{QuicAcceptor, QuicConnector};

use super::super::datagrams::{DatagramRelay, Flow};
use super::super::mitm::{Attack, Front, Mitm, MitmPlan, Stream, verifying};
use super::initial::ClientCrypto;
use crate::quic::{ALPN, QuicStream, client_socket, plain_client, plain_server};
use crate::secrets::HOST;
use crate::{Captured, Result};

/// A victim whose first datagrams have been read, and not answered.
struct Overheard {
    datagrams: Vec<Vec<u8>>,
    random: [u8; 32],
}

impl Mitm {
    /// Listens at `address` for QUIC, and speaks it to the server. Of the plan,
    /// [`delays_hello`](MitmPlan::delays_hello) and the downgrades do not concern QUIC.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn over_quic(address: SocketAddr, plan: MitmPlan) -> Result<Self> {
        let captured = Captured::default();
        let attack = Attack {
            plan: Arc::new(plan),
            captured: captured.clone(),
        };
        let relay = DatagramRelay::start(address, move |flow| {
            let attack = attack.clone();
            async move {
                let _ = run(&attack, flow).await;
            }
        });
        Ok(Self::at(Front::Quic(relay.await?), captured))
    }
}

/// Attacks one victim.
async fn run(attack: &Attack, mut flow: Flow) -> Result {
    attack.captured.count_connection(false);
    let result = match overhear(&mut flow).await {
        Ok(overheard) => intercept(attack, flow, overheard).await,
        Err(error) => Err(error),
    };
    attack.captured.count_end();
    result
}

/// Reads datagrams until the victim's random is known.
async fn overhear(flow: &mut Flow) -> Result<Overheard> {
    let (mut crypto, mut datagrams) = (ClientCrypto::default(), Vec::new());
    loop {
        let datagram = flow.next().await.ok_or("the victim is gone")?;
        crypto.take(&datagram);
        datagrams.push(datagram);
        if let Some(random) = crypto.random() {
            return Ok(Overheard { datagrams, random });
        }
    }
}

async fn intercept(attack: &Attack, flow: Flow, overheard: Overheard) -> Result {
    let plan = &*attack.plan;
    let early = match plan.early_connection.confirms() {
        Some(confirms) => connect(plan, overheard.random, confirms).await.ok(),
        None => None,
    };
    let early = early.filter(|_| plan.early_connection.keeps());
    let socket = UdpSocket::bind(SocketAddr::new(flow.local_ip()?, 0))?;
    let address = socket.local_addr()?;
    let terminated = async {
        let victim = accept(plan, socket).await?;
        attack.captured.count_handshake(false);
        let server = match early {
            Some(server) => Some(server),
            None => connect(plan, overheard.random, false).await.ok(),
        };
        let stream = QuicStream::accept(victim.clone()).await?;
        attack.serve(Box::new(stream), server).await?;
        // A connection that is dropped takes what it has sent with it.
        victim.closed().await;
        Ok(())
    };
    tokio::select! {
        result = terminated => result,
        failed = flow.relay(overheard.datagrams, address, |_, _| {}) => Ok(failed?),
    }
}

/// Terminates the victim's handshake.
async fn accept(plan: &MitmPlan, socket: UdpSocket) -> Result<quinn::Connection> {
    let identity = &plan.identity;
    if let Some(acceptor) = plan.side_acceptor() {
        let quic = QuicAcceptor::builder(&acceptor).alpn(&[ALPN]).build()?;
        let endpoint = quic.endpoint(socket)?;
        let incoming = endpoint.accept().await.ok_or("no victim")?;
        return Ok(quic.accept(incoming).await?.into_inner());
    }
    let endpoint = plain_server((**identity).clone(), socket)?;
    Ok(endpoint.accept().await.ok_or("no victim")?.await?)
}

/// Connects to the real server, with plain QUIC or with a verification.
async fn connect(plan: &MitmPlan, random: [u8; 32], confirms: bool) -> Result<Stream> {
    let config = plan.client_config(random)?;
    let connection = match confirms {
        true => {
            let tcp = verifying(Arc::new(config))?;
            let connector = QuicConnector::builder(&tcp).alpn(&[ALPN]).build()?;
            let endpoint = client_socket()?;
            let side = Endpoint::from(plan.server);
            let name = HOST.try_into()?;
            let connected = connector.connect_on(&endpoint, plan.server, name, &side);
            connected.await?.into_inner()
        }
        false => plain_client(config)?.connect(plan.server, HOST)?.await?,
    };
    Ok(Box::new(QuicStream::open(connection).await?))
}
