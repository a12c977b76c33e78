//! Every attack of the threat model, executed: first against plain TLS, where it succeeds, and then
//! against verification by resumption. Three of them break it, which is what these tests expect.
//!
//! `A/-` is an attacker on the primary path alone, `-/A` one on the side path alone, `A/A` are two
//! who do not communicate, and `A-A` is one on both.

use std::sync::Arc;

use mtls_core::{Method, Policy, Reason, ResumptionFailure};
use rustls::ServerConfig;

use crate::forger;
use crate::mitm::Mitm;
use crate::outcomes::{reason, refused_by_require_and_prefer};
use crate::tickets::{
    Fixed, TicketKey, genuine_ticket, stateless, ticket_key, with_key, without_tickets,
};
use crate::world::{PAGE, Site, To, World, ask, builder, connect, plain, refused, target, verdict};

/// A genuine server, and an attacker in front of it.
struct Attack {
    world: World,
    server: Site,
    mitm: Mitm,
}

impl Attack {
    /// The attack succeeds against plain TLS, or this fails.
    async fn new(
        server: impl Fn(&World) -> ServerConfig,
        identity: impl Fn(&World) -> ServerConfig,
    ) -> Self {
        Self::in_world(World::new(), server, identity).await
    }

    async fn in_world(
        world: World,
        server: impl Fn(&World) -> ServerConfig,
        identity: impl Fn(&World) -> ServerConfig,
    ) -> Self {
        let server = Site::start(server(&world)).await;
        let identity = identity(&world);
        Self::between(world, server, identity).await
    }

    async fn between(world: World, server: Site, identity: ServerConfig) -> Self {
        let mitm = Mitm::start(identity, world.client_config(), server.address).await;
        let page = plain(world.client_config(), mitm.address).await;
        assert_eq!(page.expect("a page"), PAGE);
        assert!(mitm.take_secret(), "the attack succeeds against plain TLS");
        Self {
            world,
            server,
            mitm,
        }
    }

    /// Refused by `require` and by `prefer`, for this reason; and the attacker gets nothing.
    async fn fails(&self, primary: &To, side: &To, failure: ResumptionFailure) {
        refused_by_require_and_prefer(&self.world, primary, side, failure).await;
        assert!(!self.mitm.take_secret(), "the attacker captured the secret");
    }

    async fn fails_on_primary(&self, failure: ResumptionFailure) {
        let (primary, side) = (To::one(self.mitm.address), To::one(self.server.address));
        self.fails(&primary, &side, failure).await;
    }

    async fn is_disputed(&self, policy: Policy) {
        let (primary, side) = (To::one(self.mitm.address), To::one(self.server.address));
        let error = connect(&self.world, policy, &primary, &side).await;
        let refused = refused(error.expect_err("an error"));
        let disputed = Reason::Resumption(ResumptionFailure::TicketDisputed);
        assert_eq!(refused.reason, disputed);
        let evidence = refused.evidence.expect("evidence");
        assert!(!evidence.chain.is_empty() && !evidence.side_chain.is_empty());
        assert!(!self.mitm.take_secret());
    }

    /// The connection is verified, and the attacker gets the secret all the same.
    async fn breaks(&self, primary: &To, side: &To) {
        let stream = connect(&self.world, Policy::Require, primary, side).await;
        let mut stream = stream.expect("a verified stream");
        let verdict = stream.verdict();
        assert_eq!(
            verdict.verified().expect("verified").method(),
            Method::Resumption
        );
        assert_eq!(ask(&mut stream).await.expect("a page"), PAGE);
        assert!(
            self.mitm.take_secret(),
            "known as broken: docs/threat-model.md"
        );
    }
}

/// Tickets of both kinds that a genuine server may hand out.
fn kinds_of_tickets() -> [fn(ServerConfig) -> ServerConfig; 2] {
    [|stateful| stateful, stateless]
}

#[tokio::test]
async fn a_primary_attacker_with_a_rogue_certificate_and_tickets_is_found() {
    for tickets in kinds_of_tickets() {
        let attack = Attack::new(|w| tickets(w.genuine()), |w| tickets(w.rogue())).await;
        attack.fails_on_primary(ResumptionFailure::Split).await;
    }
}

#[tokio::test]
async fn a_primary_attacker_without_tickets_is_found() {
    let world = World::in_real_time();
    let identity = |w: &World| without_tickets(w.rogue());
    let attack = Attack::in_world(world, World::genuine, identity).await;
    attack.fails_on_primary(ResumptionFailure::Split).await;
}

#[tokio::test]
async fn a_primary_attacker_with_the_private_key_of_the_server_is_found() {
    for tickets in kinds_of_tickets() {
        let attack = Attack::new(|w| tickets(w.genuine()), |w| tickets(w.genuine())).await;
        attack.fails_on_primary(ResumptionFailure::Split).await;
    }
}

#[tokio::test]
async fn a_primary_attacker_who_relays_a_genuine_ticket_is_found() {
    for tickets in kinds_of_tickets() {
        for identity in [World::rogue, World::genuine] {
            // Of single use where tickets are stateful.
            for policy in [Policy::Require, Policy::Prefer] {
                let world = World::new();
                let server = Site::start(tickets(world.genuine())).await;
                let ticket = genuine_ticket(world.client_config(), server.address).await;
                let key: TicketKey = Arc::new(Fixed(ticket));
                let identity = with_key(identity(&world), &key);
                let attack = Attack::between(world, server, identity).await;
                attack.is_disputed(policy).await;
            }
        }
    }
}

#[tokio::test]
async fn a_primary_attacker_is_found_where_the_genuine_server_resumes_nothing() {
    let world = World::in_real_time();
    let server = |w: &World| without_tickets(w.genuine());
    let attack = Attack::in_world(world, server, World::rogue).await;
    attack.fails_on_primary(ResumptionFailure::OtherKey).await;
}

#[tokio::test]
async fn a_side_attacker_with_a_rogue_certificate_verifies_nothing() {
    for tickets in kinds_of_tickets() {
        let attack = Attack::new(|w| tickets(w.genuine()), |w| tickets(w.rogue())).await;
        let (primary, side) = (To::one(attack.server.address), To::one(attack.mitm.address));
        attack
            .fails(&primary, &side, ResumptionFailure::Split)
            .await;
    }
}

#[tokio::test]
async fn a_side_attacker_who_accepts_a_ticket_without_its_secret_verifies_nothing() {
    let world = World::new();
    let server = Site::start(world.genuine()).await;
    let side = To::one(forger::start().await);
    let primary = To::one(server.address);
    let failure = ResumptionFailure::SideFailed;
    refused_by_require_and_prefer(&world, &primary, &side, failure).await;
    // The forger's records decrypt to nothing: they do not know the secret of the ticket.
    let error = connect(&world, Policy::Require, &primary, &side).await;
    let message = refused(error.expect_err("an error")).verdict.paths[1]
        .error
        .clone();
    assert_eq!(message.as_deref(), Some("cannot decrypt peer's message"));
}

#[tokio::test]
async fn two_attackers_with_one_rogue_key_who_share_no_ticket_key_are_found() {
    for tickets in kinds_of_tickets() {
        let attack = Attack::new(|w| tickets(w.genuine()), |w| tickets(w.rogue())).await;
        let other = Mitm::start(
            tickets(attack.world.rogue()),
            attack.world.client_config(),
            attack.server.address,
        )
        .await;
        let (primary, side) = (To::one(attack.mitm.address), To::one(other.address));
        attack
            .fails(&primary, &side, ResumptionFailure::Split)
            .await;
        assert!(!other.take_secret());
    }
}

/// The documented limit: without resumption on the side path the keys decide, and theirs are equal.
#[tokio::test]
async fn two_attackers_with_one_rogue_key_who_resume_nothing_pass_under_prefer_alone() {
    let world = World::in_real_time();
    let identity = |w: &World| without_tickets(w.rogue());
    let attack = Attack::in_world(world, World::genuine, identity).await;
    let identity = without_tickets(attack.world.rogue());
    let other = Mitm::start(
        identity,
        attack.world.client_config(),
        attack.server.address,
    )
    .await;
    let (primary, side) = (To::one(attack.mitm.address), To::one(other.address));
    let verdict = verdict(&attack.world, &primary, &side).await;
    assert_eq!(reason(&verdict), Some(ResumptionFailure::Unsupported));
    assert!(!attack.mitm.take_secret());
    let stream = connect(&attack.world, Policy::Prefer, &primary, &side).await;
    assert!(stream.expect("a stream").verdict().verified().is_none());
}

#[tokio::test]
async fn two_attackers_who_agreed_on_a_ticket_key_in_advance_break_it() {
    let agreed = ticket_key();
    let attack = Attack::new(World::genuine, |w| with_key(w.rogue(), &agreed)).await;
    let other = Mitm::start(
        with_key(attack.world.rogue(), &agreed),
        attack.world.client_config(),
        attack.server.address,
    )
    .await;
    attack
        .breaks(&To::one(attack.mitm.address), &To::one(other.address))
        .await;
}

#[tokio::test]
async fn one_attacker_on_both_paths_breaks_it() {
    let attack = Attack::new(World::genuine, World::rogue).await;
    let both = To::one(attack.mitm.address);
    attack.breaks(&both, &both).await;
}

#[tokio::test]
async fn a_primary_attacker_with_the_ticket_key_of_the_server_breaks_it() {
    let stolen = ticket_key();
    for identity in [World::rogue, World::genuine] {
        let attack = Attack::new(
            |w| with_key(w.genuine(), &stolen),
            |w| with_key(identity(w), &stolen),
        )
        .await;
        let (primary, side) = (To::one(attack.mitm.address), To::one(attack.server.address));
        attack.breaks(&primary, &side).await;
    }
}

/// As sslsplit and mitmproxy do: the server resumes its own sessions with another protocol than the
/// one that the interceptor agreed on.
#[tokio::test]
async fn an_interceptor_without_an_application_protocol_is_a_suspicion_too() {
    let world = World::new();
    let with_alpn = |mut config: ServerConfig| {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    };
    let mut client = world.client_config();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let site = Site::start(with_alpn(stateless(world.genuine()))).await;
    for (of_attacker, of_site) in [(true, false), (false, true)] {
        let mitm = Mitm::start(
            stateless(world.rogue()),
            world.client_config(),
            site.address,
        )
        .await;
        plain(client.clone(), mitm.address).await.expect("a page");
        assert!(mitm.take_secret(), "the attack succeeds against plain TLS");
        let path = |attacked: bool| To::one(if attacked { mitm.address } else { site.address });
        let (primary, side) = (path(of_attacker), path(of_site));
        for policy in [Policy::Require, Policy::Prefer] {
            let builder = builder(client.clone(), policy, &primary, &side);
            let connector = builder.build().expect("a connector");
            let error = connector.connect(&target()).await.expect_err("an error");
            let verdict = refused(error).verdict;
            assert_eq!(reason(&verdict), Some(ResumptionFailure::Split));
            assert!(!mitm.take_secret());
        }
    }
}
