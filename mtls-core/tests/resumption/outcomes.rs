//! Every outcome of the procedure, and what each policy makes of it.

use std::sync::Arc;
use std::time::Duration;

use mtls_core::path::Path;
use mtls_core::smkex::SmkexClient;
use mtls_core::{
    ApiMisuse, ClientSettings, Error, Method, Outcome, Policy, Reason, ResumptionDirection,
    ResumptionFailure, Verdict,
};
use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::closed_port::closed_port;
use crate::tickets::{
    Sometimes, TicketKey, stateless, ticket_key, useless, with_key, without_tickets,
};
use crate::world::{
    Site, To, World, builder_with, connect, refused, server_config, settings, target, verdict,
};

pub(crate) fn reason(verdict: &Verdict) -> Option<ResumptionFailure> {
    match verdict.outcome {
        Outcome::Unverified(Reason::Resumption(failure)) => Some(failure),
        _ => None,
    }
}

fn direction(verdict: &Verdict) -> Option<ResumptionDirection> {
    let proofs = verdict.verified()?.resumptions();
    proofs.first().map(|proof| proof.direction())
}

/// Fails closed under both policies. Under `observe` the connection is made, and reported.
pub(crate) async fn refused_by_require_and_prefer(
    world: &World,
    primary: &To,
    side: &To,
    failure: ResumptionFailure,
) {
    for policy in [Policy::Require, Policy::Prefer] {
        let error = connect(world, policy, primary, side)
            .await
            .expect_err("an error");
        let refused = refused(error);
        assert_eq!(refused.reason, Reason::Resumption(failure), "{policy}");
        assert_eq!(refused.evidence.is_some(), failure.is_suspicious());
    }
    let observed = connect(world, Policy::Observe, primary, side).await;
    let observed = observed.expect("a stream");
    assert_eq!(reason(&observed.verdict()), Some(failure));
    assert_eq!(observed.evidence().is_some(), failure.is_suspicious());
}

/// Refused by `require` alone.
async fn accepted_by_prefer(world: &World, primary: &To, side: &To, failure: ResumptionFailure) {
    let error = connect(world, Policy::Require, primary, side)
        .await
        .expect_err("an error");
    assert_eq!(refused(error).reason, Reason::Resumption(failure));
    for policy in [Policy::Prefer, Policy::Observe] {
        let stream = connect(world, policy, primary, side)
            .await
            .expect("a stream");
        assert_eq!(reason(&stream.verdict()), Some(failure));
        assert!(stream.evidence().is_none());
    }
}

#[tokio::test]
async fn a_server_of_plain_tls_is_verified_with_one_connection_over_the_side_path() {
    let world = World::new();
    for config in [world.genuine(), stateless(world.genuine())] {
        let site = Site::start(config).await;
        let (primary, side) = (To::one(site.address), To::one(site.address));
        let verdict = verdict(&world, &primary, &side).await;
        assert_eq!(direction(&verdict), Some(ResumptionDirection::Forward));
        assert_eq!(
            verdict.verified().expect("verified").method(),
            Method::Resumption
        );
        assert_eq!(verdict.binding(), None);
        assert_eq!(verdict.paths[1].result, Some("verified"));
        assert_eq!((primary.dials(), side.dials()), (1, 1));
    }
}

#[tokio::test]
async fn the_verdict_names_the_method_and_what_it_proves() {
    let world = World::new();
    let site = Site::start(world.genuine()).await;
    let to = To::one(site.address);
    let json = serde_json::to_value(verdict(&world, &to, &to).await).expect("JSON");
    assert_eq!(json["method"], "resumption");
    assert_eq!(json["proves"], "same-ticket-domain");
    assert_eq!(json["binding"], serde_json::Value::Null);
    drop(world);
    let world = World::in_real_time();
    let site = Site::start(without_tickets(world.genuine())).await;
    let to = To::one(site.address);
    let json = serde_json::to_value(verdict(&world, &to, &to).await).expect("JSON");
    assert_eq!(json["method"], "resumption");
    assert_eq!(json["proves"], serde_json::Value::Null);
    assert_eq!(json["paths"][1]["same_key"], true);
}

#[tokio::test]
async fn a_server_that_resumes_nothing_is_unsupported_and_showed_the_same_key() {
    let world = World::in_real_time();
    for config in [without_tickets(world.genuine()), useless(world.genuine())] {
        let site = Site::start(config).await;
        let to = To::one(site.address);
        accepted_by_prefer(&world, &to, &to, ResumptionFailure::Unsupported).await;
        let verdict = verdict(&world, &to, &to).await;
        assert_eq!(verdict.paths[1].same_key, Some(true));
    }
}

#[tokio::test]
async fn two_servers_that_resume_nothing_and_have_a_certificate_each_are_refused() {
    let world = World::in_real_time();
    let other = world
        .pki
        .ca
        .issue(&[crate::world::HOST])
        .expect("a certificate");
    let one = Site::start(without_tickets(world.genuine())).await;
    let two = Site::start(without_tickets(server_config(&other))).await;
    let (primary, side) = (To::one(one.address), To::one(two.address));
    let failure = ResumptionFailure::OtherKey;
    refused_by_require_and_prefer(&world, &primary, &side, failure).await;
    let verdict = verdict(&world, &primary, &side).await;
    assert_eq!(verdict.paths[1].same_key, Some(false));
}

#[tokio::test]
async fn a_balancer_by_source_address_without_a_common_ticket_key_is_split_and_no_interception() {
    let world = World::new();
    let one = Site::start(stateless(world.genuine())).await;
    let two = Site::start(stateless(world.genuine())).await;
    let (primary, side) = (To::one(one.address), To::one(two.address));
    let failure = ResumptionFailure::Split;
    refused_by_require_and_prefer(&world, &primary, &side, failure).await;
    let error = connect(&world, Policy::Require, &primary, &side).await;
    let refused = refused(error.expect_err("an error"));
    let evidence = refused.evidence.expect("evidence");
    assert_eq!(
        evidence.chain, evidence.side_chain,
        "the certificate is the same"
    );
    assert!(!evidence.chain.is_empty());
    assert!(!evidence.to_string().contains("interception"), "{evidence}");
}

#[tokio::test]
async fn back_ends_with_a_common_ticket_key_are_verified() {
    let world = World::new();
    let key = ticket_key();
    let one = Site::start(with_key(world.genuine(), &key)).await;
    let two = Site::start(with_key(world.genuine(), &key)).await;
    let verdict = verdict(&world, &To::one(one.address), &To::one(two.address)).await;
    assert_eq!(direction(&verdict), Some(ResumptionDirection::Forward));
}

#[tokio::test]
async fn a_balancer_over_back_ends_without_a_common_ticket_key_is_verified_by_trying_again() {
    let world = World::new();
    let one = Site::start(stateless(world.genuine())).await;
    let two = Site::start(stateless(world.genuine())).await;
    // The primary path reaches one, two, one, ...; the side path two.
    let primary = To::each(&[one.address, two.address]);
    let verdict = verdict(&world, &primary, &To::one(two.address)).await;
    assert_eq!(direction(&verdict), Some(ResumptionDirection::Reversed));
    assert_eq!(verdict.tls.handshake, Some("resumed"));
    assert_eq!(verdict.paths[1].same_key, Some(true));
    let resumed = two
        .served()
        .iter()
        .filter(|s| s.kind == HandshakeKind::Resumed)
        .count();
    assert_eq!(resumed, 1);
}

#[tokio::test]
async fn a_side_path_that_resumes_its_sessions_sometimes_is_inconclusive() {
    let world = World::new();
    let one = Site::start(stateless(world.genuine())).await;
    let sometimes: TicketKey = Arc::new(Sometimes::new());
    let two = Site::start(with_key(world.genuine(), &sometimes)).await;
    let (primary, side) = (To::one(one.address), To::one(two.address));
    let verdict = verdict(&world, &primary, &side).await;
    assert_eq!(reason(&verdict), Some(ResumptionFailure::Inconclusive));
    let refused = connect(&world, Policy::Prefer, &primary, &side).await;
    assert!(matches!(refused, Err(Error::Unverified(_))));
}

#[tokio::test]
async fn no_more_than_eight_connections_are_made() {
    let world = World::new();
    let one = Site::start(stateless(world.genuine())).await;
    for config in [stateless(world.genuine()), useless(world.genuine())] {
        let two = Site::start(config).await;
        let (primary, side) = (To::one(one.address), To::one(two.address));
        verdict(&world, &primary, &side).await;
        assert_eq!(primary.dials() + side.dials(), 8);
    }
}

#[tokio::test]
async fn a_side_path_that_cannot_be_dialled_lets_prefer_go_on() {
    let world = World::new();
    let site = Site::start(world.genuine()).await;
    let (_socket, closed) = closed_port([127, 0, 0, 1]);
    let (primary, side) = (To::one(site.address), To::one(closed));
    let failure = ResumptionFailure::SideUnreachable;
    accepted_by_prefer(&world, &primary, &side, failure).await;
}

#[tokio::test]
async fn a_side_endpoint_that_does_not_speak_tls_is_refused() {
    let world = World::new();
    let site = Site::start(world.genuine()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let side = To::one(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let primary = To::one(site.address);
    let failure = ResumptionFailure::SideFailed;
    refused_by_require_and_prefer(&world, &primary, &side, failure).await;
    let error = connect(&world, Policy::Require, &primary, &side).await;
    let message = error.expect_err("an error").to_string();
    assert!(
        message.starts_with("side path 1: TLS failed on the side path: "),
        "{message}"
    );
}

#[tokio::test]
async fn a_silent_side_endpoint_is_refused_at_the_deadline() {
    let world = World::in_real_time();
    let site = Site::start(world.genuine()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let side = To::one(listener.local_addr().expect("an address"));
    let settings = settings(Policy::Prefer, &To::one(site.address), &side);
    let settings = settings.deadline(Duration::from_secs(5));
    let connector = builder_with(world.client_config(), settings)
        .build()
        .expect("a connector");
    let refused = refused(connector.connect(&target()).await.expect_err("an error"));
    assert_eq!(
        refused.reason,
        Reason::Resumption(ResumptionFailure::SideFailed)
    );
}

#[test]
fn smkex_has_no_sessions_to_resume() {
    for method in [Method::Resumption, Method::Auto] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let built = SmkexClient::new(provider)
            .connector(ClientSettings::new(Policy::Require).side(Path::system()))
            .expect("a builder")
            .method(method)
            .build();
        let misuse = built.expect_err("an error");
        assert!(matches!(misuse, Error::ApiMisuse(ApiMisuse::SmkexMethod)));
    }
}
