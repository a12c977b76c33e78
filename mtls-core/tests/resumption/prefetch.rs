//! Tickets of the side path in advance.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::known_hosts::FileStore;
use mtls_core::{
    ApiMisuse, Error, Method, MultipathConnector, Policy, PrefetchError, ResumptionDirection,
    ResumptionFailure, Verdict,
};
use rustls::{HandshakeKind, ServerConfig};
use tokio::net::TcpListener;

use crate::auto::multipath;
use crate::closed_port::closed_port;
use crate::inherit::{MAX_AGE, hours};
use crate::mitm::Mitm;
use crate::outcomes::reason;
use crate::tickets::{
    Fixed, TicketKey, genuine_ticket, stateless, ticket_key, useless, with_key, without_tickets,
};
use crate::world::{
    PAGE, Site, To, World, ask, builder, builder_with, plain, refused, server_config, settings,
    target,
};

fn connector(world: &World, primary: &To, side: &To) -> MultipathConnector<To> {
    let builder = builder(world.client_config(), Policy::Require, primary, side);
    builder.build().expect("a connector")
}

async fn visit(connector: &MultipathConnector<To>) -> Verdict {
    let mut stream = connector
        .connect(&target())
        .await
        .expect("a verified stream");
    assert_eq!(ask(&mut stream).await.expect("an answer"), PAGE);
    stream.verdict()
}

fn direction(verdict: &Verdict) -> ResumptionDirection {
    let verified = verdict.verified().expect("verified");
    assert_eq!(verified.method(), Method::Resumption);
    verified.resumptions()[0].direction()
}

#[tokio::test]
async fn a_connection_with_a_ticket_of_the_side_path_is_verified_by_its_own_handshake() {
    let world = World::new();
    // Stateful tickets are of single use, as under protection against replay.
    for config in [world.genuine(), stateless(world.genuine())] {
        let site = Site::start(config).await;
        let (primary, side) = (To::one(site.address), To::one(site.address));
        let connector = connector(&world, &primary, &side);
        assert_eq!(connector.prefetch(&target()).await.expect("tickets"), 2);
        for dials in 1..=2 {
            let verdict = visit(&connector).await;
            assert_eq!(direction(&verdict), ResumptionDirection::Prefetched);
            assert_eq!(verdict.tls.handshake, Some("resumed"));
            let json = serde_json::to_value(&verdict).expect("JSON");
            assert_eq!(json["paths"][1]["resumed"], "prefetched");
            assert_eq!(json["paths"][1]["result"], "verified");
            assert_eq!(json["proves"], "same-ticket-domain");
            assert_eq!((primary.dials(), side.dials()), (dials, 1));
        }
        let verdict = visit(&connector).await;
        assert_eq!(
            direction(&verdict),
            ResumptionDirection::Forward,
            "none is left"
        );
        let resumed = site.served();
        let resumed = resumed.iter().filter(|s| s.kind == HandshakeKind::Resumed);
        assert_eq!(resumed.count(), 3);
    }
}

#[tokio::test]
async fn a_server_without_tickets_has_none_in_advance_and_useless_ones_change_nothing() {
    for count in [0, 2] {
        let (world, config): (_, fn(ServerConfig) -> ServerConfig) = match count {
            0 => (World::in_real_time(), without_tickets),
            _ => (World::new(), useless),
        };
        let site = Site::start(config(world.genuine())).await;
        let to = To::one(site.address);
        let connector = connector(&world, &to, &to);
        assert_eq!(
            connector.prefetch(&target()).await.expect("to connect"),
            count
        );
        let error = connector.connect(&target()).await.expect_err("an error");
        let verdict = refused(error).verdict;
        assert_eq!(reason(&verdict), Some(ResumptionFailure::Unsupported));
    }
}

/// Tickets in advance change nothing about an attacker on one path.
async fn is_found(world: &World, identity: ServerConfig, on_primary: bool) {
    let site = Site::start(stateless(world.genuine())).await;
    let mitm = attacker(world, stateless(identity), site.address).await;
    let (attacked, genuine) = (To::one(mitm.address), To::one(site.address));
    let connector = match on_primary {
        true => connector(world, &attacked, &genuine),
        false => connector(world, &genuine, &attacked),
    };
    connector.prefetch(&target()).await.expect("tickets");
    let error = connector.connect(&target()).await.expect_err("an error");
    let verdict = refused(error).verdict;
    assert_eq!(reason(&verdict), Some(ResumptionFailure::Split));
    assert!(!mitm.take_secret());
}

#[tokio::test]
async fn an_attacker_on_the_primary_path_cannot_use_the_ticket_and_is_found_as_usual() {
    let world = World::new();
    for identity in [world.rogue(), world.genuine()] {
        is_found(&world, identity, true).await;
    }
}

#[tokio::test]
async fn tickets_of_an_attacker_on_the_side_path_verify_nothing() {
    let world = World::new();
    is_found(&world, world.rogue(), false).await;
}

/// The limits of resumption hold in this direction too: the ticket is a message, and the client
/// carries it.
#[tokio::test]
async fn attackers_who_agreed_on_a_ticket_key_in_advance_break_it() {
    let world = World::new();
    let site = Site::start(stateless(world.genuine())).await;
    let agreed = ticket_key();
    let identity = || with_key(world.rogue(), &agreed);
    let one = attacker(&world, identity(), site.address).await;
    let two = attacker(&world, identity(), site.address).await;
    let connector = connector(&world, &To::one(one.address), &To::one(two.address));
    connector.prefetch(&target()).await.expect("tickets");
    let verdict = visit(&connector).await;
    assert_eq!(direction(&verdict), ResumptionDirection::Prefetched);
    assert!(one.take_secret(), "known as broken: docs/threat-model.md");
}

async fn attacker(world: &World, identity: ServerConfig, server: SocketAddr) -> Mitm {
    let mitm = Mitm::start(identity, world.client_config(), server).await;
    let page = plain(world.client_config(), mitm.address).await;
    assert_eq!(page.expect("a page"), PAGE);
    assert!(mitm.take_secret(), "the attack succeeds against plain TLS");
    mitm
}

#[tokio::test]
async fn a_ticket_is_not_offered_after_ten_minutes() {
    let world = World::new();
    let site = Site::start(stateless(world.genuine())).await;
    let to = To::one(site.address);
    let connector = connector(&world, &to, &to);
    connector.prefetch(&target()).await.expect("tickets");
    hours(1).await;
    let verdict = visit(&connector).await;
    assert_eq!(verdict.tls.handshake, Some("full"));
    assert_eq!(direction(&verdict), ResumptionDirection::Forward);
}

#[tokio::test]
async fn an_inherited_connection_counts_its_age_from_the_handshake_in_advance() {
    let world = World::new();
    let site = Site::start(stateless(world.genuine())).await;
    let to = To::one(site.address);
    let builder = builder(world.client_config(), Policy::Require, &to, &to);
    let connector = builder.inherit(MAX_AGE).build().expect("a connector");
    connector.prefetch(&target()).await.expect("tickets");
    let verdict = visit(&connector).await;
    assert_eq!(direction(&verdict), ResumptionDirection::Prefetched);
    hours(2).await;
    let verdict = visit(&connector).await;
    let inheritance = verdict.inheritance().expect("an inheritance");
    assert_eq!(inheritance.origin().method, Method::Resumption);
    assert!(inheritance.age() >= Duration::from_secs(7200));
}

/// A known host that greets is verified by the side protocol alone, with every method.
#[tokio::test]
async fn tickets_in_advance_are_no_substitute_for_the_greeting_of_a_known_host() {
    let world = World::new();
    let to = To::one(multipath(stateless(world.genuine())).await);
    let directory = std::env::temp_dir().join(format!("mtls-prefetch-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let store = Arc::new(FileStore::new(directory.join("hosts.json")));
    let with = |method| {
        let settings = settings(Policy::Require, &to, &to).known_hosts(store.clone());
        let settings = settings.remember(Duration::from_secs(3600));
        let builder = builder_with(world.client_config(), settings);
        builder.method(method).build().expect("a connector")
    };
    let early = with(Method::Resumption);
    assert_eq!(early.prefetch(&target()).await.expect("tickets"), 2);
    visit(&with(Method::Side)).await;
    let late = with(Method::Resumption);
    assert_eq!(late.prefetch(&target()).await.expect("no tickets"), 0);
    for connector in [early, late] {
        let verdict = visit(&connector).await;
        assert_eq!(verdict.verified().expect("verified").method(), Method::Side);
        assert!(verdict.binding().is_some());
    }
    std::fs::remove_dir_all(&directory).expect("to clean up");
}

/// The ticket belongs to another session, so the server ends the connection. The next one succeeds.
#[tokio::test]
async fn a_genuine_ticket_that_an_attacker_relays_over_the_side_path_verifies_nothing() {
    let world = World::new();
    let genuine = stateless(world.genuine());
    let key = Arc::clone(&genuine.ticketer);
    let site = Site::start(genuine).await;
    let ticket = genuine_ticket(world.client_config(), site.address).await;
    assert!(key.decrypt(&ticket).is_some(), "the server can open it");
    let mut relaying = with_key(world.rogue(), &(Arc::new(Fixed(ticket)) as TicketKey));
    relaying.send_tls13_tickets = 1;
    let mitm = attacker(&world, relaying, site.address).await;
    let connector = connector(&world, &To::one(site.address), &To::one(mitm.address));
    assert_eq!(connector.prefetch(&target()).await.expect("tickets"), 1);
    let error = connector.connect(&target()).await.expect_err("an error");
    assert!(matches!(error, Error::Tls(_)), "{error:?}");
    let error = connector.connect(&target()).await.expect_err("an error");
    assert!(refused(error).verdict.verified().is_none());
    assert!(!mitm.take_secret());
}

#[tokio::test]
async fn the_error_names_the_side_path() {
    let world = World::in_real_time();
    let site = Site::start(world.genuine()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closing = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addresses = [&silent, &closing].map(|tcp| tcp.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = closing.accept().await {
            drop(tcp);
        }
    });
    let untrusted = Site::start(server_config(&World::in_real_time().pki.server)).await;
    let (_socket, closed) = closed_port([127, 0, 0, 1]);
    for (side, words) in [
        (addresses[0], "not complete at the deadline"),
        (addresses[1], "closed the connection"),
        (untrusted.address, "TLS failed"),
        (closed, "server.test:443"),
    ] {
        let settings = settings(Policy::Require, &To::one(site.address), &To::one(side));
        // Only the silent one takes as long, even where the machine stalls.
        let settings = settings.deadline(Duration::from_secs(5));
        let builder = builder_with(world.client_config(), settings);
        let connector = builder.build().expect("a connector");
        let error = connector.prefetch(&target()).await.expect_err("an error");
        let message = error.to_string();
        assert!(
            message.starts_with("side path: ") && message.contains(words),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_connector_that_could_not_use_them_fetches_no_tickets() {
    let world = World::new();
    let site = Site::start(world.genuine()).await;
    let to = To::one(site.address);
    let with = |config| builder(config, Policy::Require, &to, &to);
    let two = settings(Policy::Require, &to, &to).side(to.clone());
    for builder in [
        with(world.client_config()).method(Method::Side),
        with(world.client_config()).method(Method::Auto),
        with(world.client_config()).tickets(0),
        with(world.client_with_certificate()),
        builder_with(world.client_config(), two),
    ] {
        let connector = builder.build().expect("a connector");
        let misuse = connector.prefetch(&target()).await.expect_err("an error");
        assert!(matches!(
            misuse,
            PrefetchError::ApiMisuse(ApiMisuse::Prefetch)
        ));
    }
    assert_eq!(to.dials(), 0);
}
