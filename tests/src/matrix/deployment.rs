//! The attackers of an attempt, on their paths.

use std::net::SocketAddr;

use mtls_core::proto::binding::Value;
use mtls_core::proto::frame::FrameBody;

use super::cell::{AttackerReport, Cell, Presence, Protocol};
use super::site::Site;
use super::variants::{AGREED_IN_ADVANCE, PrimaryAttack, RESETS, SIDE_TRIES, primary_attack};
use crate::attacker::frames::change_proof;
use crate::attacker::{
    Dispatcher, EarlyConnection, Eavesdropper, Injection, Injector, Mitm, MitmPlan, Notes,
    SideAttack, SideAttacker,
};
use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};
use crate::{Result, eventually};

/// The host number of the attacker on the primary path.
const PRIMARY: u8 = 66;
/// The host number where all paths meet.
const MEETING: u8 = 90;

/// The running attackers, and the addresses that the client's paths lead to.
pub(super) struct Deployment {
    pub(super) primary: SocketAddr,
    pub(super) sides: Vec<SocketAddr>,
    /// Descriptions of the attacks.
    attack: Vec<&'static str>,
    primary_attacker: Option<Attacker>,
    side_attackers: Vec<Attacker>,
    _dispatcher: Option<Dispatcher>,
}

/// One attacker.
enum Attacker {
    Reads(Eavesdropper),
    InTheMiddle(Mitm),
    Injects(Injector),
    Answers(SideAttacker),
}

/// The data that the attacker on the primary path shares with the others.
enum Shared {
    Nothing,
    Plan(Box<MitmPlan>),
    Notes(Notes),
}

impl Deployment {
    pub(super) async fn start(cell: &Cell, site: &Site, number: usize) -> Result<Self> {
        let attackers = &cell.attackers;
        let mut deployment = Self {
            primary: site.address(),
            sides: Vec::new(),
            attack: Vec::new(),
            primary_attacker: None,
            side_attackers: Vec::new(),
            _dispatcher: None,
        };
        let shared = deployment.start_primary(cell, site, number).await?;
        let shared = match attackers.communicate {
            true => shared,
            false => Shared::Nothing,
        };
        for (index, &presence) in (0..).zip(attackers.sides) {
            let resumes = cell.protocol.resumes_sessions() && number != RESETS;
            if resumes && attackers.next_to_server {
                // One attacker terminates the TLS of all paths.
                deployment.sides.push(deployment.primary);
                continue;
            }
            if resumes && presence == Presence::Active {
                let plan = deployment.resuming_attack(site, &shared, number)?;
                let mitm = Mitm::start(site.host(80 + index), plan).await?;
                deployment.sides.push(mitm.address());
                deployment.side_attackers.push(Attacker::InTheMiddle(mitm));
                continue;
            }
            let attack = match presence {
                Presence::Active => Some(deployment.side_attack(site, &shared, number)?),
                Presence::Absent | Presence::Passive => None,
            };
            deployment.start_side(site, index, presence, attack).await?;
        }
        if attackers.next_to_server {
            deployment.dispatch_at(site.host(MEETING)).await?;
        }
        Ok(deployment)
    }

    async fn start_primary(&mut self, cell: &Cell, site: &Site, number: usize) -> Result<Shared> {
        match cell.attackers.primary {
            Presence::Absent => Ok(Shared::Nothing),
            Presence::Passive => {
                self.attack.push("reads the primary path");
                let (place, server) = (site.host(60), site.address());
                let spy = match cell.protocol.is_quic() {
                    true => Eavesdropper::of_datagrams(place, server).await?,
                    false => Eavesdropper::start(place, server).await?,
                };
                let notes = spy.notes().clone();
                self.primary = spy.address();
                self.primary_attacker = Some(Attacker::Reads(spy));
                Ok(Shared::Notes(notes))
            }
            Presence::Active => {
                let plan = self.plan(cell, site, number)?;
                let attack = primary_attack(cell.protocol, number);
                let attacker = Attacker::active(cell, site, attack, plan.clone()).await?;
                self.primary = attacker.address();
                self.primary_attacker = Some(attacker);
                Ok(Shared::Plan(Box::new(plan)))
            }
        }
    }

    fn plan(&mut self, cell: &Cell, site: &Site, number: usize) -> Result<MitmPlan> {
        let agreed = number == AGREED_IN_ADVANCE && !cell.attackers.communicate;
        let mut plan = match cell.protocol.resumes_sessions() && agreed {
            true => site.mitm_with_agreed_ticket_key()?,
            false => site.mitm()?,
        };
        if cell.attackers.communicate {
            plan = plan.shares_secrets()?;
        }
        // A man in the middle connects to the server first, as a client that speaks its protocol. One
        // that does not support multipath TLS confirms nothing.
        let confirms = cell.protocol.is_multipath() && cell.protocol != Protocol::Resumption;
        if confirms {
            plan = plan.early_connection(EarlyConnection::Confirms);
        }
        let (says, plan) = match primary_attack(cell.protocol, number) {
            PrimaryAttack::InTheMiddle if cell.protocol.is_multipath() => (
                "stands in the middle of the primary path, verified by the server",
                plan,
            ),
            PrimaryAttack::InTheMiddle => ("stands in the middle of the primary path", plan),
            PrimaryAttack::CopiesRandom => (
                "the same, and sends the client's random to the server",
                plan.copies_random(),
            ),
            PrimaryAttack::InjectsVersionNegotiation => (
                "injects a Version Negotiation packet on the primary path",
                plan,
            ),
            PrimaryAttack::InjectsRetry => ("injects a Retry packet on the primary path", plan),
        };
        self.attack.push(says);
        Ok(plan)
    }

    fn side_attack(&mut self, site: &Site, shared: &Shared, number: usize) -> Result<SideAttack> {
        let (says, attack) = match (shared, number % SIDE_TRIES) {
            (Shared::Plan(plan), _) => {
                let answers = plan
                    .side_acceptor()
                    .ok_or("the attacker does not communicate")?;
                let says = "answers on the side path for the man in the middle";
                (says, SideAttack::AnswerForMitm(answers))
            }
            (Shared::Notes(notes), _) => {
                let says = "answers on the side path, with the hellos from the other attacker";
                (says, SideAttack::Forge(notes.clone()))
            }
            (Shared::Nothing, 0) => {
                let unrelated = site.mitm()?.shares_secrets()?;
                let answers = unrelated
                    .side_acceptor()
                    .ok_or("the attacker does not communicate")?;
                let says = "plays the server on the side path";
                (says, SideAttack::AnswerForMitm(answers))
            }
            (Shared::Nothing, 1) => (
                "changes the server's proof on the side path",
                change_proof(another_value),
            ),
            (Shared::Nothing, _) => ("resets the side path", SideAttack::Reset),
        };
        self.attack.push(says);
        Ok(attack)
    }

    /// The attacker on the side path terminates TLS when the client resumes its session there.
    fn resuming_attack(&mut self, site: &Site, shared: &Shared, number: usize) -> Result<MitmPlan> {
        let (says, plan) = match (shared, number) {
            (Shared::Plan(plan), _) => (
                "resumes the session on the side path for the man in the middle",
                MitmPlan::clone(plan),
            ),
            (_, AGREED_IN_ADVANCE) => (
                "is in the middle of the side path, with a ticket key that was agreed in advance",
                site.mitm_with_agreed_ticket_key()?,
            ),
            _ => ("is in the middle of the side path", site.mitm()?),
        };
        self.attack.push(says);
        Ok(plan)
    }

    async fn start_side(
        &mut self,
        site: &Site,
        index: u8,
        presence: Presence,
        attack: Option<SideAttack>,
    ) -> Result {
        let (address, attacker) = match (presence, attack) {
            (Presence::Passive, _) => {
                self.attack.push("reads the side path");
                let spy = Eavesdropper::start(site.host(70 + index), site.address()).await?;
                (spy.address(), Some(Attacker::Reads(spy)))
            }
            (_, Some(attack)) => {
                let place = site.host(80 + index);
                let side = SideAttacker::start(place, site.address(), attack).await?;
                (side.address(), Some(Attacker::Answers(side)))
            }
            (_, None) => (site.address(), None),
        };
        self.sides.push(address);
        self.side_attackers.extend(attacker);
        Ok(())
    }

    /// Leads all paths through one host.
    async fn dispatch_at(&mut self, place: SocketAddr) -> Result {
        let side = self.sides.first().copied().ok_or("there is no side path")?;
        let dispatcher = Dispatcher::start(place, self.primary, side).await?;
        self.primary = dispatcher.address();
        self.sides.fill(dispatcher.address());
        self._dispatcher = Some(dispatcher);
        self.attack.push("where all paths meet");
        Ok(())
    }

    /// Descriptions of the attacks.
    pub(super) fn attack(&self) -> &[&'static str] {
        &self.attack
    }

    /// Whether the client may give its connection up before it has used a side path.
    pub(super) fn ends_before_sides(&self) -> bool {
        matches!(self.primary_attacker, Some(Attacker::Injects(_)))
    }

    /// Waits until all connections of the client to the attackers have ended.
    ///
    /// # Errors
    /// When the client did not connect to them: then the experiment shows nothing.
    pub(super) async fn wait_for_client(&self, sides_count: bool) -> Result {
        if let Some(attacker) = &self.primary_attacker {
            attacker.wait_for_client("on the primary path").await?;
        }
        for attacker in self.side_attackers.iter().filter(|_| sides_count) {
            attacker.wait_for_client("on a side path").await?;
        }
        Ok(())
    }

    pub(super) fn reports(&self) -> Vec<AttackerReport> {
        self.primary_attacker
            .iter()
            .map(|attacker| attacker.report("on the primary path"))
            .chain(
                self.side_attackers
                    .iter()
                    .map(|attacker| attacker.report("on a side path")),
            )
            .collect()
    }
}

impl Attacker {
    /// An active attacker on the primary path.
    async fn active(
        cell: &Cell,
        site: &Site,
        attack: PrimaryAttack,
        plan: MitmPlan,
    ) -> Result<Self> {
        let is_quic = cell.protocol.is_quic();
        let place = match cell.attackers.next_to_server && is_quic {
            // Datagrams need no dispatcher.
            true => site.host(MEETING),
            false => site.host(PRIMARY),
        };
        let injection = match attack {
            PrimaryAttack::InTheMiddle | PrimaryAttack::CopiesRandom => {
                let mitm = match is_quic {
                    true => Mitm::over_quic(place, plan).await?,
                    false => Mitm::start(place, plan).await?,
                };
                return Ok(Self::InTheMiddle(mitm));
            }
            PrimaryAttack::InjectsVersionNegotiation => Injection::VersionNegotiation,
            PrimaryAttack::InjectsRetry => site.retry()?,
        };
        let injector = Injector::start(place, site.address(), injection).await?;
        Ok(Self::Injects(injector))
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Reads(spy) => spy.address(),
            Self::InTheMiddle(mitm) => mitm.address(),
            Self::Injects(injector) => injector.address(),
            Self::Answers(side) => side.address(),
        }
    }

    async fn wait_for_client(&self, place: &str) -> Result {
        let what = format!("the client connects to the attacker {place}");
        eventually(&what, || match self {
            Self::Reads(spy) => spy.notes().bytes() > 0,
            Self::InTheMiddle(mitm) => mitm.captured().connections() > 0,
            Self::Injects(injector) => injector.clients() > 0,
            Self::Answers(side) => side.connections() > 0,
        })
        .await?;
        match self {
            Self::InTheMiddle(mitm) => mitm.captured().wait_until_closed().await,
            Self::Reads(_) | Self::Injects(_) | Self::Answers(_) => Ok(()),
        }
    }

    fn report(&self, who: &'static str) -> AttackerReport {
        let (saw, has_request, has_page) = match self {
            Self::Reads(spy) => {
                let notes = spy.notes();
                let saw = format!("{} bytes on the wire", notes.bytes());
                let (request, page) = (notes.contain(REQUEST_SECRET), notes.contain(PAGE_SECRET));
                (saw, request, page)
            }
            Self::InTheMiddle(mitm) => {
                let captured = mitm.captured();
                let (handshakes, bytes) = (captured.handshakes(), captured.bytes_from_victim());
                let saw = format!("{handshakes} handshakes with the client, {bytes} bytes of it");
                (
                    saw,
                    captured.has_request_secret(),
                    captured.has_both_secrets(),
                )
            }
            Self::Injects(injector) => (format!("{} clients", injector.clients()), false, false),
            Self::Answers(side) => (
                format!("{} side connections", side.connections()),
                false,
                false,
            ),
        };
        AttackerReport::new(who, saw, has_request, has_page)
    }
}

fn another_value(proof: FrameBody) -> FrameBody {
    match proof {
        FrameBody::Proof {
            nonce_s,
            binding,
            value: Value(mut value),
        } => {
            value[0] ^= 1;
            FrameBody::Proof {
                nonce_s,
                binding,
                value: Value(value),
            }
        }
        other => other,
    }
}
