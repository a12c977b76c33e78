//! Attacks on a side exchange inside a Multipath TCP connection: two links between namespaces, with
//! attackers on them.
//!
//! The primary path is the first subflow on the first link, and the side path is the second one on the
//! second link. Each attack is also run where it must succeed: on plain TLS, or on a receiver of Multipath
//! TCP that compares no counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Path;
use mtls_core::proto::binding::Binding;
use mtls_core::{Method, Policy, SideServiceSettings};
use rustls::crypto::aws_lc_rs::Ticketer;

use super::cell::{AttackerReport, Attackers, Attempt, Cell, Presence, Trust};
use super::outcome::FetchOutcome;
use super::site;
use crate::link::TwoLinks;
use crate::mptcp::{
    FORGED, Forger, Interference, LinkReader, MitmHost, MptcpMitmPlan, ServerHost, change_proof,
    cut_exchange, drop_prio, fool_naive_receiver, links_for_exchange, reset_joins,
    strip_mp_capable,
};
use crate::netns::{INTERFACES, SERVER, spawn_here};
use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};
use crate::{Result, Setup, Victim, World, eventually};

/// The deadline of the client. It ends two of the attacks; a verification takes a fraction of it.
const DEADLINE: Duration = Duration::from_secs(5);

/// The port of a server for clients that do not verify.
const PORT_OF_PLAIN_TLS: u16 = 444;

/// An attack on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkAttack {
    /// In the middle, with a kernel of their own.
    InTheMiddle,
    /// The same, with the client's random toward the server.
    CopiesRandom,
    /// The same, and removes the options of Multipath TCP.
    StripsInTheMiddle,
    Strips,
    DropsPrio,
    Forges,
    ResetsJoins,
    Cuts,
    ChangesProof,
}

use LinkAttack::{
    ChangesProof, CopiesRandom, Cuts, DropsPrio, Forges, InTheMiddle, ResetsJoins, Strips,
    StripsInTheMiddle,
};

/// The attacks on each link; `None`: no active attacker.
type Variant = [Option<LinkAttack>; 2];

/// The variants of these attackers.
pub(super) fn variants(attackers: &Attackers) -> &'static [Variant] {
    let primary = attackers.primary == Presence::Active;
    let side = attackers.sides.contains(&Presence::Active);
    match (primary, side) {
        (false, false) => &[[None; 2]],
        (true, false) => &[
            [Some(InTheMiddle), None],
            [Some(CopiesRandom), None],
            [Some(StripsInTheMiddle), None],
            [Some(Strips), None],
            [Some(DropsPrio), None],
            [Some(Forges), None],
        ],
        (false, true) => &[
            [None, Some(InTheMiddle)],
            [None, Some(ResetsJoins)],
            [None, Some(Cuts)],
            [None, Some(ChangesProof)],
        ],
        (true, true) if attackers.communicate => &[
            [Some(InTheMiddle), Some(InTheMiddle)],
            [Some(CopiesRandom), Some(CopiesRandom)],
        ],
        (true, true) => &[
            [Some(InTheMiddle), Some(InTheMiddle)],
            [Some(CopiesRandom), Some(InTheMiddle)],
            [Some(DropsPrio), Some(Cuts)],
            [Some(Forges), Some(ChangesProof)],
        ],
    }
}

impl LinkAttack {
    fn says(self) -> &'static str {
        match self {
            Self::InTheMiddle => "stands in the middle, with a listener of Multipath TCP",
            Self::CopiesRandom => {
                "stands in the middle, and sends the client's random to the server"
            }
            Self::StripsInTheMiddle => "stands in the middle, and strips MP_CAPABLE",
            Self::Strips => "strips MP_CAPABLE",
            Self::DropsPrio => "drops MP_PRIO",
            Self::Forges => "forges bytes that are meant for the second subflow",
            Self::ResetsJoins => "resets the join of the second subflow",
            Self::Cuts => "cuts the second subflow at its first data",
            Self::ChangesProof => "changes the server's proof on the second subflow",
        }
    }

    fn is_in_the_middle(self) -> bool {
        matches!(
            self,
            Self::InTheMiddle | Self::CopiesRandom | Self::StripsInTheMiddle
        )
    }

    /// Whether the client still adds a second subflow.
    fn lets_join(self) -> bool {
        !matches!(self, Self::Strips | Self::StripsInTheMiddle)
    }
}

/// Runs one variant of a cell in a thread of its own: commands that configure namespaces block it.
pub(super) async fn attempt(cell: &Cell, number: usize) -> Result<Attempt> {
    let (attackers, trust) = (cell.attackers, cell.trust);
    let variant = *variants(&attackers).get(number).ok_or("no such variant")?;
    let running = spawn_here(move || async move {
        let field = Field::open(trust).await?;
        field.attack(&attackers, variant).await
    });
    running.join().await
}

/// The links, the server and its client.
struct Field {
    links: TwoLinks,
    trust: Trust,
    client: Victim,
    plan: MptcpMitmPlan,
    _server: ServerHost,
    /// The server requires a verification, so plain TLS takes another.
    _server_of_plain_tls: ServerHost,
}

/// An attacker on a link.
struct LinkAttacker {
    link: usize,
    role: Role,
}

enum Role {
    Reads(LinkReader),
    Interferes(LinkAttack, Interference, Option<Arc<MitmHost>>),
}

impl Field {
    async fn open(trust: Trust) -> Result<Self> {
        let links = links_for_exchange("userspace").await?;
        let world = Arc::new(World::new()?);
        let client = ServerHost::client(&world)?.with_config(site::client_config(&world, trust)?);
        let tune = |settings: SideServiceSettings| settings.bindings(Binding::Exporter);
        let mut setup = Setup::new(Policy::Require).mptcp().tune(tune);
        let mut identity = site::certificate(&world, trust)?;
        if trust == Trust::StolenTicketKey {
            let mut config = world.server_config()?;
            config.ticketer = Ticketer::new()?;
            identity.ticketer = Arc::clone(&config.ticketer);
            setup = setup.tls(config);
        }
        let plan = MptcpMitmPlan {
            identity,
            roots: world.roots()?,
            server: ServerHost::address(),
            copies_random: false,
        };
        let server = ServerHost::start(&links, &world, setup).await?;
        let address = SocketAddr::new(SERVER, PORT_OF_PLAIN_TLS);
        let setup = Setup::new(Policy::Prefer).mptcp();
        let server_of_plain_tls = ServerHost::start_at(&links, &world, address, setup).await?;
        Ok(Self {
            links,
            trust,
            client,
            plan,
            _server: server,
            _server_of_plain_tls: server_of_plain_tls,
        })
    }

    /// Puts the attackers on the links.
    async fn deploy(&self, attackers: &Attackers, variant: Variant) -> Result<Vec<LinkAttacker>> {
        let presence = attackers.sides.iter().copied();
        let presence = [attackers.primary].into_iter().chain(presence);
        let (mut deployed, notes) = (Vec::new(), LinkReader::default());
        for ((link, presence), attack) in (0..).zip(presence).zip(variant) {
            let role = match (presence, attack) {
                (Presence::Passive, _) => {
                    let reader = match attackers.communicate {
                        true => notes.clone(),
                        false => LinkReader::default(),
                    };
                    self.links.attack(link, reader.attacks());
                    Role::Reads(reader)
                }
                (Presence::Active, Some(attack)) => {
                    let host = match attack.is_in_the_middle() {
                        true => Some(self.mitm(link, attack, &deployed, attackers).await?),
                        false => None,
                    };
                    self.interfere(link, attack, host)?
                }
                _ => continue,
            };
            deployed.push(LinkAttacker { link, role });
        }
        Ok(deployed)
    }

    /// The man in the middle of a link: the same as on the other one, if they communicate.
    async fn mitm(
        &self,
        link: usize,
        attack: LinkAttack,
        deployed: &[LinkAttacker],
        attackers: &Attackers,
    ) -> Result<Arc<MitmHost>> {
        let other = deployed.iter().find_map(|other| match &other.role {
            Role::Interferes(_, _, host) => host.clone(),
            Role::Reads(_) => None,
        });
        if let Some(other) = other.filter(|_| attackers.communicate) {
            return Ok(other);
        }
        let plan = MptcpMitmPlan {
            copies_random: attack == CopiesRandom,
            ..self.plan.clone()
        };
        let host = MitmHost::start(&self.links, u8::try_from(link)?, plan).await?;
        Ok(Arc::new(host))
    }

    fn interfere(
        &self,
        link: usize,
        attack: LinkAttack,
        host: Option<Arc<MitmHost>>,
    ) -> Result<Role> {
        let attacks = match (attack, &host) {
            (_, Some(host)) => host.redirect(attack == StripsInTheMiddle),
            (Strips, None) => strip_mp_capable(),
            (DropsPrio, None) => drop_prio(),
            (Forges, None) => Forger::of_side_chunk().attacks(),
            (ResetsJoins, None) => reset_joins(),
            (Cuts, None) => cut_exchange(),
            (ChangesProof, None) => change_proof(),
            (InTheMiddle | CopiesRandom | StripsInTheMiddle, None) => {
                return Err("no man in the middle".into());
            }
        };
        let interference = Interference::default();
        self.links.attack(link, interference.count(attacks));
        Ok(Role::Interferes(attack, interference, host))
    }

    /// Shows that the attacks work elsewhere, and runs them on a client that verifies.
    async fn attack(&self, attackers: &Attackers, variant: Variant) -> Result<Attempt> {
        let deployed = self.deploy(attackers, variant).await?;
        for attacker in &deployed {
            self.check_attack(attacker).await?;
        }
        let before: Vec<_> = deployed.iter().map(LinkAttacker::packets).collect();
        let outcome = self.fetch().await?;
        let joins = variant[0].is_none_or(LinkAttack::lets_join) && outcome.accepted_certificate();
        for (attacker, before) in deployed.iter().zip(before) {
            if attacker.link == 0 || joins {
                attacker.wait_for_client(before).await?;
            }
        }
        let reports: Vec<_> = deployed.iter().map(LinkAttacker::report).collect();
        let mut attacks: Vec<_> = deployed.iter().map(LinkAttacker::describe).collect();
        if attackers.next_to_server {
            attacks.push("where all paths meet".to_owned());
        }
        Ok(Attempt {
            result: outcome.against(&reports),
            attack: attacks.join("; "),
            client: outcome.description().to_owned(),
            attackers: reports,
            milliseconds: 0,
        })
    }

    /// Fetches the page over a connection that is verified inside.
    async fn fetch(&self) -> Result<FetchOutcome> {
        let client = self.client.clone();
        let fetching = self.links.client.spawn(move || async move {
            let settings = client.settings(Policy::Require).deadline(DEADLINE);
            let settings = settings.bindings(Binding::Exporter);
            site::fetch_verified(&client, settings, Method::Side).await
        })?;
        fetching.join().await
    }

    /// Checks that the attack succeeds on a client without the comparison.
    async fn check_attack(&self, attacker: &LinkAttacker) -> Result {
        match &attacker.role {
            Role::Reads(_) => Ok(()),
            Role::Interferes(_, _, Some(host)) => {
                let page = self.fetch_plain(self.client.clone(), attacker.link).await?;
                match (self.trust, page) {
                    (Trust::HonestCas, Ok(_)) => Err("the client trusts any certificate".into()),
                    (Trust::HonestCas, Err(_)) => host.captured().expect_no_plaintext().await,
                    (_, Ok(_)) => host.captured().expect_both_secrets().await,
                    (_, Err(error)) => Err(format!("plain TLS is not fooled: {error}").into()),
                }
            }
            Role::Interferes(Forges, ..) => match fool_naive_receiver().await? == *FORGED {
                true => Ok(()),
                false => Err("a receiver that compares no counters is not fooled".into()),
            },
            Role::Interferes(..) => self.check_unnoticed().await,
        }
    }

    /// Checks that plain TLS notices nothing.
    async fn check_unnoticed(&self) -> Result {
        let address = SocketAddr::new(SERVER, PORT_OF_PLAIN_TLS);
        let client = self.client.clone().primary_to(address);
        match self.fetch_plain(client, 0).await? {
            Ok(page) if page == PAGE_SECRET => Ok(()),
            other => Err(format!("plain TLS notices the attack: {other:?}").into()),
        }
    }

    /// Fetches the page by plain TLS over Multipath TCP, with the first subflow on this link.
    async fn fetch_plain(&self, client: Victim, link: usize) -> Result<Result<String, String>> {
        let path = match link {
            0 => Path::system(),
            _ => Path::interface(INTERFACES[link])?,
        };
        let client = client.primary_by(path.mptcp(true));
        let fetching = self.links.client.spawn(move || async move {
            let page = client.fetch_plain_by_path().await;
            Ok(page.map_err(|error| error.to_string()))
        })?;
        fetching.join().await
    }
}

impl LinkAttacker {
    /// The packets or bytes that have reached them.
    fn packets(&self) -> usize {
        match &self.role {
            Role::Reads(reader) => reader.bytes(),
            Role::Interferes(_, interference, _) => interference.packets(),
        }
    }

    /// Waits until the client has reached them, and its connections to them have ended.
    async fn wait_for_client(&self, before: usize) -> Result {
        let what = format!("the attack takes place {}", self.place());
        let Role::Interferes(_, _, Some(host)) = &self.role else {
            return eventually(&what, || self.packets() > before).await;
        };
        let captured = host.captured();
        // A join to a kernel without the connection does not reach their program.
        let connected = || self.link != 0 || captured.connections() > 0;
        eventually(&what, || self.packets() > before && connected()).await?;
        captured.wait_until_closed().await
    }

    fn place(&self) -> &'static str {
        match self.link {
            0 => "on the first link",
            _ => "on the second link",
        }
    }

    fn describe(&self) -> String {
        let says = match &self.role {
            Role::Reads(_) => "reads",
            Role::Interferes(attack, ..) => attack.says(),
        };
        format!("{}: {says}", self.place())
    }

    fn report(&self) -> AttackerReport {
        let (saw, has_request, has_page) = match &self.role {
            Role::Reads(reader) => {
                let saw = format!("{} bytes on the wire", reader.bytes());
                let [request, page] =
                    [REQUEST_SECRET, PAGE_SECRET].map(|text| reader.contain(text));
                (saw, request, page)
            }
            Role::Interferes(_, _, Some(host)) => {
                let captured = host.captured();
                let (handshakes, bytes) = (captured.handshakes(), captured.bytes_from_victim());
                let saw = format!("{handshakes} handshakes with the client, {bytes} bytes of it");
                let (request, both) = (captured.has_request_secret(), captured.has_both_secrets());
                (saw, request, both)
            }
            Role::Interferes(_, interference, None) => {
                let packets = interference.packets();
                let saw = format!("{packets} packets changed, dropped or added");
                (saw, false, false)
            }
        };
        AttackerReport::new(self.place(), saw, has_request, has_page)
    }
}
