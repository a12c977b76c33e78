//! The attackers of a cell, and what comes of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mtls_core::proto::binding::Value;
use mtls_core::proto::frame::FrameBody;
use tokio::time::timeout;

use super::cell::{Attempt, Cell, Haul, Outcome, Stand};
use super::site::{Site, Visit};
use crate::attacker::frames::change_proof;
use crate::attacker::{
    Ahead, Crossroads, Eavesdropper, Mitm, MitmPlan, Notes, SideAttack, SideAttacker,
};
use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};
use crate::{Result, eventually};

/// More than one attempt takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a man in the middle tries, one after the other, with a protocol that asks back.
const MITM_TRIES: usize = 2;
/// What an attacker tries who is alone on a side path.
const SIDE_TRIES: usize = 3;

/// Plays a cell through: each thing that the attackers can try, on a client of its own.
pub(super) async fn play(cell: Cell) -> Vec<Attempt> {
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
        Stand::Active => MITM_TRIES,
        Stand::Nobody | Stand::Passive => 1,
    };
    let alone = !attackers.talk || attackers.primary == Stand::Nobody;
    let side = match alone && attackers.sides.contains(&Stand::Active) {
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
    let cast = Cast::assemble(cell, &site, number).await?;
    let victim = site.victim(cast.primary, &cast.sides)?;
    let visit = site.visit(&victim).await?;
    drop(victim);
    let sides_count = cell.protocol.is_multipath() && visit.accepted_certificate();
    cast.met_the_client(sides_count).await?;
    let attackers = cast.hauls();
    let leaked = attackers.iter().any(|haul| !haul.secrets.is_empty());
    let result = match (leaked, &visit) {
        (true, _) => Outcome::Broken,
        (false, Visit::Used(_)) => Outcome::Protected,
        (false, Visit::Refused(_)) => Outcome::Refused,
        (false, Visit::Failed(_)) => Outcome::Failed,
    };
    Ok(Attempt {
        result,
        attack: cast.attack.join("; "),
        client: visit.words().to_owned(),
        attackers,
        milliseconds: 0,
    })
}

/// Everybody who stands on a path, and where the client's paths lead.
struct Cast {
    primary: SocketAddr,
    sides: Vec<SocketAddr>,
    /// What they do, in words.
    attack: Vec<&'static str>,
    primary_attacker: Option<Attacker>,
    side_attackers: Vec<Attacker>,
    _crossroads: Option<Crossroads>,
}

/// One attacker.
enum Attacker {
    Reads(Eavesdropper),
    InTheMiddle(Mitm),
    Answers(SideAttacker),
}

/// What the attacker on the primary path can tell the others.
enum Word {
    Nothing,
    Of(Box<MitmPlan>),
    Heard(Notes),
}

impl Cast {
    async fn assemble(cell: &Cell, site: &Site, number: usize) -> Result<Self> {
        let attackers = &cell.attackers;
        let mut cast = Self {
            primary: site.address(),
            sides: Vec::new(),
            attack: Vec::new(),
            primary_attacker: None,
            side_attackers: Vec::new(),
            _crossroads: None,
        };
        let word = cast.take_primary(cell, site, number).await?;
        let word = match attackers.talk {
            true => word,
            false => Word::Nothing,
        };
        for (index, &stand) in (0..).zip(attackers.sides) {
            let attack = match stand {
                Stand::Active => Some(cast.side_attack(site, &word, number)?),
                Stand::Nobody | Stand::Passive => None,
            };
            cast.take_side(site, index, stand, attack).await?;
        }
        if attackers.next_to_server {
            cast.meet_at(site.host(90)).await?;
        }
        Ok(cast)
    }

    async fn take_primary(&mut self, cell: &Cell, site: &Site, number: usize) -> Result<Word> {
        match cell.attackers.primary {
            Stand::Nobody => Ok(Word::Nothing),
            Stand::Passive => {
                self.attack.push("reads the primary path");
                let spy = Eavesdropper::start(site.host(60), site.address()).await?;
                let notes = spy.notes().clone();
                self.primary = spy.address();
                self.primary_attacker = Some(Attacker::Reads(spy));
                Ok(Word::Heard(notes))
            }
            Stand::Active => {
                let mut plan = site.mitm()?;
                if cell.attackers.talk {
                    plan = plan.talks()?;
                }
                let plan = self.plan(cell, plan, number);
                let mitm = Mitm::start(site.host(66), plan.clone()).await?;
                self.primary = mitm.address();
                self.primary_attacker = Some(Attacker::InTheMiddle(mitm));
                Ok(Word::Of(Box::new(plan)))
            }
        }
    }

    /// A man in the middle goes to the server first, as a client that speaks its protocol.
    fn plan(&mut self, cell: &Cell, plan: MitmPlan, number: usize) -> MitmPlan {
        if !cell.protocol.is_multipath() {
            self.attack.push("stands in the middle of the primary path");
            return plan;
        }
        let plan = plan.ahead(Ahead::Confirms);
        if number.is_multiple_of(MITM_TRIES) {
            self.attack
                .push("stands in the middle of the primary path, verified by the server");
            return plan;
        }
        self.attack
            .push("the same, and sends the client's random to the server");
        plan.copies_random()
    }

    fn side_attack(&mut self, site: &Site, word: &Word, number: usize) -> Result<SideAttack> {
        let (says, attack) = match (word, number % SIDE_TRIES) {
            (Word::Of(plan), _) => {
                let answers = plan
                    .accomplice()
                    .ok_or("the attacker does not communicate")?;
                let says = "answers on the side path for the man in the middle";
                (says, SideAttack::Talk(answers))
            }
            (Word::Heard(notes), _) => {
                let says = "answers on the side path, with the hellos from the other attacker";
                (says, SideAttack::Forge(notes.clone()))
            }
            (Word::Nothing, 0) => {
                let stranger = site.mitm()?.talks()?;
                let answers = stranger
                    .accomplice()
                    .ok_or("the attacker does not communicate")?;
                let says = "plays the server on the side path";
                (says, SideAttack::Talk(answers))
            }
            (Word::Nothing, 1) => (
                "changes the server's proof on the side path",
                change_proof(another_value),
            ),
            (Word::Nothing, _) => ("resets the side path", SideAttack::Reset),
        };
        self.attack.push(says);
        Ok(attack)
    }

    async fn take_side(
        &mut self,
        site: &Site,
        index: u8,
        stand: Stand,
        attack: Option<SideAttack>,
    ) -> Result {
        let (address, attacker) = match (stand, attack) {
            (Stand::Passive, _) => {
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

    /// All paths lead by one place.
    async fn meet_at(&mut self, place: SocketAddr) -> Result {
        let side = self.sides.first().copied().ok_or("there is no side path")?;
        let crossroads = Crossroads::start(place, self.primary, side).await?;
        self.primary = crossroads.address();
        self.sides.fill(crossroads.address());
        self._crossroads = Some(crossroads);
        self.attack.push("where all paths meet");
        Ok(())
    }

    /// Waits until all that the client began with the attackers has come to its end.
    ///
    /// # Errors
    /// When it did not come by them: then the experiment shows nothing.
    async fn met_the_client(&self, sides_count: bool) -> Result {
        if let Some(attacker) = &self.primary_attacker {
            attacker.met_the_client("on the primary path").await?;
        }
        for attacker in self.side_attackers.iter().filter(|_| sides_count) {
            attacker.met_the_client("on a side path").await?;
        }
        Ok(())
    }

    fn hauls(&self) -> Vec<Haul> {
        self.primary_attacker
            .iter()
            .map(|attacker| attacker.haul("on the primary path"))
            .chain(
                self.side_attackers
                    .iter()
                    .map(|attacker| attacker.haul("on a side path")),
            )
            .collect()
    }
}

impl Attacker {
    async fn met_the_client(&self, place: &str) -> Result {
        let what = format!("the client comes by the attacker {place}");
        eventually(&what, || match self {
            Self::Reads(spy) => spy.notes().bytes() > 0,
            Self::InTheMiddle(mitm) => mitm.loot().connections() > 0,
            Self::Answers(side) => side.connections() > 0,
        })
        .await?;
        match self {
            Self::InTheMiddle(mitm) => mitm.loot().settled().await,
            Self::Reads(_) | Self::Answers(_) => Ok(()),
        }
    }

    fn haul(&self, who: &'static str) -> Haul {
        let (saw, has_request, has_page) = match self {
            Self::Reads(spy) => {
                let notes = spy.notes();
                let saw = format!("{} bytes on the wire", notes.bytes());
                let (request, page) = (notes.contain(REQUEST_SECRET), notes.contain(PAGE_SECRET));
                (saw, request, page)
            }
            Self::InTheMiddle(mitm) => {
                let loot = mitm.loot();
                let (handshakes, bytes) = (loot.handshakes(), loot.bytes_from_victim());
                let saw = format!("{handshakes} handshakes with the client, {bytes} bytes of it");
                (saw, loot.has_request_secret(), loot.has_both_secrets())
            }
            Self::Answers(side) => (
                format!("{} side connections", side.connections()),
                false,
                false,
            ),
        };
        let secrets = [(REQUEST_SECRET, has_request), (PAGE_SECRET, has_page)];
        Haul {
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
