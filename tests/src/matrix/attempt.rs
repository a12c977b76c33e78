//! Runs the attacks of a cell.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mtls_core::proto::binding::Value;
use mtls_core::proto::frame::FrameBody;
use tokio::time::timeout;

use super::cell::{AttackerReport, Attempt, Cell, Outcome, Presence, Protocol};
use super::site::{FetchOutcome, Site};
use crate::attacker::frames::change_proof;
use crate::attacker::{
    Dispatcher, EarlyConnection, Eavesdropper, Mitm, MitmPlan, Notes, SideAttack, SideAttacker,
};
use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};
use crate::{Result, eventually};

/// More than one attempt takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Number of variants that a man in the middle tries with a protocol that verifies.
const MITM_TRIES: usize = 2;
/// Number of variants that an attacker tries who is alone on a side path.
const SIDE_TRIES: usize = 3;

/// The variant in which attackers who are apart have agreed on a ticket key in advance.
const AGREED_IN_ADVANCE: usize = 1;
/// The variant in which an attacker resets the side path.
const RESETS: usize = 2;

/// Runs a cell: each variant of the attack, on a client of its own.
pub(super) async fn run_cell(cell: Cell) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for number in 0..tries(&cell) {
        let started = Instant::now();
        let attempt = match timeout(PATIENCE, attempt(&cell, number)).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(error)) => failed(&error.to_string()),
            Err(_) => failed("it took too long: is this machine very busy?"),
        };
        attempts.push(Attempt {
            milliseconds: started.elapsed().as_millis() as u64,
            ..attempt
        });
    }
    attempts
}

fn tries(cell: &Cell) -> usize {
    let attackers = &cell.attackers;
    if !cell.protocol.is_multipath() {
        return 1;
    }
    let mitm = match attackers.primary {
        Presence::Active => MITM_TRIES,
        Presence::Absent | Presence::Passive => 1,
    };
    let alone = !attackers.communicate || attackers.primary == Presence::Absent;
    let side = match alone && attackers.sides.contains(&Presence::Active) {
        true => SIDE_TRIES,
        false => 1,
    };
    mitm.max(side)
}

fn failed(why: &str) -> Attempt {
    Attempt {
        result: Outcome::Failed,
        attack: "the experiment failed".to_owned(),
        client: why.to_owned(),
        attackers: Vec::new(),
        milliseconds: 0,
    }
}

async fn attempt(cell: &Cell, number: usize) -> Result<Attempt> {
    let site = Site::open(cell.protocol, cell.trust).await?;
    let deployment = Deployment::start(cell, &site, number).await?;
    let victim = site.victim(deployment.primary, &deployment.sides)?;
    let outcome = site.fetch(&victim).await?;
    drop(victim);
    let sides_count = cell.protocol.is_multipath() && outcome.accepted_certificate();
    deployment.wait_for_client(sides_count).await?;
    let attackers = deployment.reports();
    let leaked = attackers.iter().any(|report| !report.secrets.is_empty());
    let result = match (leaked, &outcome) {
        (true, _) => Outcome::Broken,
        (false, FetchOutcome::Used(_)) => Outcome::Protected,
        (false, FetchOutcome::Refused(_)) => Outcome::Refused,
        (false, FetchOutcome::Failed(_)) => Outcome::Failed,
    };
    Ok(Attempt {
        result,
        attack: deployment.attack.join("; "),
        client: outcome.description().to_owned(),
        attackers,
        milliseconds: 0,
    })
}

/// The running attackers, and the addresses that the client's paths lead to.
struct Deployment {
    primary: SocketAddr,
    sides: Vec<SocketAddr>,
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
    Answers(SideAttacker),
}

/// The data that the attacker on the primary path shares with the others.
enum Shared {
    Nothing,
    Plan(Box<MitmPlan>),
    Notes(Notes),
}

impl Deployment {
    async fn start(cell: &Cell, site: &Site, number: usize) -> Result<Self> {
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
            deployment.dispatch_at(site.host(90)).await?;
        }
        Ok(deployment)
    }

    async fn start_primary(&mut self, cell: &Cell, site: &Site, number: usize) -> Result<Shared> {
        match cell.attackers.primary {
            Presence::Absent => Ok(Shared::Nothing),
            Presence::Passive => {
                self.attack.push("reads the primary path");
                let spy = Eavesdropper::start(site.host(60), site.address()).await?;
                let notes = spy.notes().clone();
                self.primary = spy.address();
                self.primary_attacker = Some(Attacker::Reads(spy));
                Ok(Shared::Notes(notes))
            }
            Presence::Active => {
                let agreed = number == AGREED_IN_ADVANCE && !cell.attackers.communicate;
                let mut plan = match cell.protocol.resumes_sessions() && agreed {
                    true => site.mitm_with_agreed_ticket_key()?,
                    false => site.mitm()?,
                };
                if cell.attackers.communicate {
                    plan = plan.shares_secrets()?;
                }
                let plan = self.plan(cell, plan, number);
                let mitm = Mitm::start(site.host(66), plan.clone()).await?;
                self.primary = mitm.address();
                self.primary_attacker = Some(Attacker::InTheMiddle(mitm));
                Ok(Shared::Plan(Box::new(plan)))
            }
        }
    }

    /// A man in the middle connects to the server first, as a client that speaks its protocol.
    fn plan(&mut self, cell: &Cell, plan: MitmPlan, number: usize) -> MitmPlan {
        if !cell.protocol.is_multipath() {
            self.attack.push("stands in the middle of the primary path");
            return plan;
        }
        // A server that does not support multipath TLS confirms nothing.
        let plan = match cell.protocol {
            Protocol::Resumption => plan,
            _ => plan.early_connection(EarlyConnection::Confirms),
        };
        if number.is_multiple_of(MITM_TRIES) {
            self.attack
                .push("stands in the middle of the primary path, verified by the server");
            return plan;
        }
        self.attack
            .push("the same, and sends the client's random to the server");
        plan.copies_random()
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

    /// Waits until all connections of the client to the attackers have ended.
    ///
    /// # Errors
    /// When the client did not connect to them: then the experiment shows nothing.
    async fn wait_for_client(&self, sides_count: bool) -> Result {
        if let Some(attacker) = &self.primary_attacker {
            attacker.wait_for_client("on the primary path").await?;
        }
        for attacker in self.side_attackers.iter().filter(|_| sides_count) {
            attacker.wait_for_client("on a side path").await?;
        }
        Ok(())
    }

    fn reports(&self) -> Vec<AttackerReport> {
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
    async fn wait_for_client(&self, place: &str) -> Result {
        let what = format!("the client connects to the attacker {place}");
        eventually(&what, || match self {
            Self::Reads(spy) => spy.notes().bytes() > 0,
            Self::InTheMiddle(mitm) => mitm.captured().connections() > 0,
            Self::Answers(side) => side.connections() > 0,
        })
        .await?;
        match self {
            Self::InTheMiddle(mitm) => mitm.captured().wait_until_closed().await,
            Self::Reads(_) | Self::Answers(_) => Ok(()),
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
            Self::Answers(side) => (
                format!("{} side connections", side.connections()),
                false,
                false,
            ),
        };
        let secrets = [(REQUEST_SECRET, has_request), (PAGE_SECRET, has_page)];
        AttackerReport {
            who,
            saw,
            secrets: secrets
                .into_iter()
                .filter_map(|(secret, has)| has.then_some(secret))
                .collect(),
        }
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
