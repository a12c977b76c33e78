//! Hostile clients, and honest ones that are attacked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::proto::binding::{Association, Bindings, Value};
use mtls_core::proto::frame::{Frame, FrameBody};
use mtls_core::proto::hello::HelloTap;
use mtls_core::{Error, Policy};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::failing::{FailingPath, Passing};
use crate::attacker::{Mitm, MitmPlan, SideClient, with_client_random};
use crate::load::site::Site;
use crate::prng::Prng;
use crate::{HOST, Result, Victim, describe, fetch};

/// The longest time that an attacker spends on one connection.
const ATTENTION: Duration = Duration::from_secs(3);
/// Opens of one side connection.
const OPENS: usize = 16;
/// The addresses of attackers in the lab's network.
const SOURCES: std::ops::Range<usize> = 10..250;

/// The kinds of attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attack {
    Silence,
    OneByteAtATime,
    Garbage,
    UnknownOpens,
    WrongConfirms,
    CopiedRandom,
    HalfHandshakes,
    Resets,
    Interception,
    FailingPath,
}

impl Attack {
    pub(super) const ALL: [Self; 10] = [
        Self::Silence,
        Self::OneByteAtATime,
        Self::Garbage,
        Self::UnknownOpens,
        Self::WrongConfirms,
        Self::CopiedRandom,
        Self::HalfHandshakes,
        Self::Resets,
        Self::Interception,
        Self::FailingPath,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Silence => "connections that send nothing",
            Self::OneByteAtATime => "one byte of a ClientHello at a time",
            Self::Garbage => "random bytes",
            Self::UnknownOpens => "Opens for unknown handshakes",
            Self::WrongConfirms => "Opens by strangers, and wrong Confirms",
            Self::CopiedRandom => "handshakes with a copied random",
            Self::HalfHandshakes => "half handshakes",
            Self::Resets => "resets within the ClientHello",
            Self::Interception => "a man in the middle on the primary path",
            Self::FailingPath => "a side path that fails and recovers",
        }
    }

    /// Connections of this kind at a time.
    pub(super) fn at_a_time(self) -> usize {
        match self {
            Self::Silence | Self::OneByteAtATime | Self::HalfHandshakes | Self::UnknownOpens => 16,
            Self::Interception | Self::FailingPath => 1,
            _ => 2,
        }
    }
}

/// The listeners, victims and paths that attacks need.
pub(super) struct Scene {
    network: Vec<std::net::IpAddr>,
    listeners: Vec<SocketAddr>,
    servers: Vec<SocketAddr>,
    config: Arc<ClientConfig>,
    copied: Victim,
    intercepted: Victim,
    failing: Victim,
    failing_path: FailingPath,
    _mitm: Mitm,
}

impl Scene {
    /// The man in the middle and the path run on the threads of `attackers`.
    pub(super) async fn new(site: &Site, attackers: &Handle) -> Result<Self> {
        let serve = site.serve.address;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let plan = MitmPlan::new(&site.world, serve, site.world.rogue_config()?)?;
        let mitm = attackers.spawn(Mitm::start(any, plan)).await??;
        let failing_path = attackers.spawn(FailingPath::start(serve)).await??;
        let victim = site.world.victim_of(serve)?;
        let copied = site.world.pki.client_config(with_client_random([9; 32]))?;
        Ok(Self {
            network: SOURCES.map(|host| site.world.ip(host as u8)).collect(),
            listeners: site.listeners().map(|program| program.address).collect(),
            servers: site.servers().map(|program| program.address).collect(),
            config: Arc::clone(&victim.config),
            copied: victim.clone().with_config(copied),
            intercepted: victim.clone().primary_to(mitm.address()).side_to(serve),
            failing: victim.side_to(failing_path.address()),
            failing_path,
            _mitm: mitm,
        })
    }

    /// One connection of an attacker, which counts if it went as far as it was meant to; or of an
    /// honest client that is attacked, and an error if that did not end as it must.
    pub(super) async fn act(&self, attack: Attack, prng: &mut Prng) -> Result<bool, String> {
        let hostile = match attack {
            Attack::Interception => return self.intercept().await.map(|()| true),
            Attack::FailingPath => return self.fail(Passing::any(prng)).await.map(|()| true),
            Attack::Silence => self.send(prng, &[]).await,
            Attack::OneByteAtATime => self.drip(prng).await,
            Attack::Garbage => self.send_garbage(prng).await,
            Attack::UnknownOpens => self.open_unknown(prng).await,
            Attack::WrongConfirms => match self.confirm_wrongly(prng).await {
                Ok(Some(accepted)) => return Err(accepted),
                other => other.map(|_| ()),
            },
            Attack::CopiedRandom => self.copy_random().await,
            Attack::HalfHandshakes => self.send_hello(prng).await,
            Attack::Resets => self.reset(prng).await,
        };
        // The servers may refuse attackers in any way.
        Ok(hostile.is_ok())
    }

    async fn connect(&self, to: SocketAddr, prng: &mut Prng) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let source = self.network[prng.below(self.network.len())];
        socket.bind(SocketAddr::new(source, 0))?;
        let stream = timeout(ATTENTION, socket.connect(to)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends these bytes to any listener, and waits for the end of the connection.
    async fn send(&self, prng: &mut Prng, bytes: &[u8]) -> Result {
        let to = self.listeners[prng.below(self.listeners.len())];
        let mut stream = self.connect(to, prng).await?;
        stream.write_all(bytes).await?;
        let mut rest = Vec::new();
        let _ = timeout(ATTENTION, stream.read_to_end(&mut rest)).await;
        Ok(())
    }

    async fn drip(&self, prng: &mut Prng) -> Result {
        let (hello, _) = self.client_hello()?;
        let to = self.servers[prng.below(self.servers.len())];
        let mut stream = self.connect(to, prng).await?;
        for byte in &hello[..8] {
            stream.write_all(&[*byte]).await?;
            sleep(ATTENTION / 8).await;
        }
        Ok(())
    }

    async fn send_garbage(&self, prng: &mut Prng) -> Result {
        let length = 1 + prng.below(4096);
        let bytes: Vec<u8> = (0..length).map(|_| prng.number() as u8).collect();
        self.send(prng, &bytes).await
    }

    async fn send_hello(&self, prng: &mut Prng) -> Result {
        let (hello, _) = self.client_hello()?;
        self.send(prng, &hello).await
    }

    async fn reset(&self, prng: &mut Prng) -> Result {
        let (hello, _) = self.client_hello()?;
        let to = self.servers[prng.below(self.servers.len())];
        let mut stream = self.connect(to, prng).await?;
        stream.write_all(&hello[..prng.below(hello.len())]).await?;
        // The end of the stream is then a reset.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    async fn open_unknown(&self, prng: &mut Prng) -> Result {
        let to = self.servers[prng.below(self.servers.len())];
        let source = self.network[prng.below(self.network.len())];
        let mut side = SideClient::connect(to, Some(source)).await?;
        let mut frames = Vec::new();
        for _ in 0..OPENS {
            let association = Association(std::array::from_fn(|_| prng.number() as u8));
            frames.push(open(association));
            frames.push(Frame {
                association,
                body: FrameBody::Done,
            });
        }
        side.send(&frames).await?;
        let read = async { while let Ok(Some(_)) = side.next().await {} };
        let _ = timeout(ATTENTION, read).await;
        Ok(())
    }

    /// Takes the Proof for a handshake as if it were another client's, and confirms it with a value
    /// that is wrong. Returns a fault if the server does not refuse that.
    async fn confirm_wrongly(&self, prng: &mut Prng) -> Result<Option<String>> {
        let (hello, association) = self.client_hello()?;
        let to = self.servers[prng.below(self.servers.len())];
        let mut primary = self.connect(to, prng).await?;
        primary.write_all(&hello).await?;
        let mut side = SideClient::connect(to, None).await?;
        side.send(&[open(association)]).await?;
        let proof = timeout(ATTENTION, side.next()).await??;
        if !matches!(proof.map(|frame| frame.body), Some(FrameBody::Proof { .. })) {
            return Err("no Proof".into());
        }
        let body = FrameBody::Confirm {
            value: Value([7; 32]),
        };
        side.send(&[Frame { association, body }]).await?;
        Ok(match timeout(ATTENTION, side.next()).await? {
            Ok(Some(Frame {
                body: FrameBody::Reject { .. },
                ..
            }))
            | Ok(None)
            | Err(_) => None,
            Ok(Some(other)) => Some(format!("a wrong Confirm got {other:?}")),
        })
    }

    /// Two handshakes of the same name at the same time.
    async fn copy_random(&self) -> Result {
        let both = async { tokio::try_join!(self.copied.fetch_plain(), self.copied.fetch_plain()) };
        timeout(ATTENTION, both).await??;
        Ok(())
    }

    async fn intercept(&self) -> Result<(), String> {
        match self.intercepted.connect(Policy::Prefer).await {
            Err(Error::Interception(_)) => Ok(()),
            Ok(stream) => Err(format!("not detected: {:?}", stream.verdict().outcome)),
            Err(error) => Err(format!("not detected: {error}")),
        }
    }

    /// A client whose side path breaks: it is verified by an exchange that was complete, goes on
    /// without one where the path broke before the greeting, and is refused where it broke between.
    async fn fail(&self, passing: Passing) -> Result<(), String> {
        self.failing_path.let_pass(passing);
        let connected = self.failing.connect(Policy::Prefer).await;
        let verdict = describe(&connected);
        if !passing.allows(&verdict) {
            return Err(format!("{passing:?}: {verdict}"));
        }
        if let Ok(stream) = connected {
            let fetched = fetch(stream).await;
            fetched.map_err(|error| format!("lost: {error}"))?;
        }
        Ok(())
    }

    /// A ClientHello, and the name of its handshake.
    fn client_hello(&self) -> Result<(Vec<u8>, Association)> {
        let name = ServerName::try_from(HOST)?;
        let mut client = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello)?;
        let mut tap = HelloTap::new();
        tap.client_bytes(&hello)?;
        let association = tap.association().ok_or("the ClientHello is incomplete")?;
        Ok((hello, association))
    }
}

fn open(association: Association) -> Frame {
    Frame {
        association,
        body: FrameBody::Open {
            nonce_c: [0xa5; 32],
            bindings: Bindings::ALL,
        },
    }
}
