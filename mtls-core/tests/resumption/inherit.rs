//! Inheritance: a resumed session of a verified connection needs no side path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls_core::smkex::SmkexClient;
use mtls_core::{
    ApiMisuse, ClientSettings, ClientStream, ConnectorBuilder, Error, Method, MultipathConnector,
    Policy, Reason, ResumptionFailure, Verdict,
};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::advance;

use crate::auto::{behind, multipath};
use crate::mitm::Mitm;
use crate::outcomes::reason;
use crate::tickets::{stateless, ticket_key, with_key};
use crate::world::{
    PAGE, Site, To, World, ask, builder, builder_with, plain, refused, settings, target,
};

pub(crate) const MAX_AGE: Duration = Duration::from_secs(12 * 3600);

/// Lets hours pass, in a world without time.
pub(crate) async fn hours(hours: u64) {
    advance(Duration::from_secs(hours * 3600)).await;
}

/// A connector that inherits, with one side path.
pub(crate) fn inheriting(
    world: &World,
    method: Method,
    primary: &To,
    side: &To,
) -> MultipathConnector<To> {
    let builder = builder(world.client_config(), Policy::Require, primary, side);
    inherits(builder.method(method))
}

fn inherits(builder: ConnectorBuilder<To>) -> MultipathConnector<To> {
    builder.inherit(MAX_AGE).build().expect("a connector")
}

/// Connects, and reads the page: the tickets arrive before it.
async fn visit(connector: &MultipathConnector<To>) -> Verdict {
    let stream = connector.connect(&target()).await;
    used(stream.expect("a verified stream")).await
}

async fn used(mut stream: ClientStream<TcpStream>) -> Verdict {
    assert_eq!(ask(&mut stream).await.expect("an answer"), PAGE);
    let verdict = stream.verdict();
    assert!(verdict.verified().is_some(), "{:?}", verdict.outcome);
    verdict
}

fn is_inherited(verdict: &Verdict) -> bool {
    let inherited = verdict.inheritance().is_some();
    assert_eq!(inherited, verdict.tls.handshake == Some("resumed"));
    inherited
}

/// A server of plain TLS and one that speaks the side protocol, each with its method.
async fn servers(world: &World) -> [(SocketAddr, Method); 2] {
    let site = Site::start(stateless(world.genuine())).await.address;
    let multipath = multipath(stateless(world.genuine())).await;
    [(site, Method::Resumption), (multipath, Method::Side)]
}

#[tokio::test]
async fn a_resumed_session_of_a_verified_connection_needs_no_side_connection() {
    let world = World::new();
    for (address, method) in servers(&world).await {
        let (primary, side) = (To::one(address), To::one(address));
        let connector = inheriting(&world, method, &primary, &side);
        let first = visit(&connector).await;
        assert!(!is_inherited(&first));
        let side_dials = side.dials();
        for dials in 2..5 {
            let verdict = visit(&connector).await;
            let inheritance = verdict.inheritance().expect("an inheritance");
            assert_eq!(inheritance.origin().method, method);
            assert_eq!(inheritance.origin().paths.len(), first.paths.len());
            assert_eq!(verdict.method, method);
            assert_eq!(verdict.paths.len(), 1, "the primary path alone");
            assert_eq!(verdict.binding(), None);
            assert_eq!((primary.dials(), side.dials()), (dials, side_dials));
        }
    }
}

#[tokio::test]
async fn the_verdict_names_the_origin_and_its_age_and_what_it_proves() {
    let world = World::new();
    for (address, method) in servers(&world).await {
        let to = To::one(address);
        let connector = inheriting(&world, method, &to, &to);
        let first = serde_json::to_value(visit(&connector).await).expect("JSON");
        assert!(first["origin"].is_null() && first["age_s"].is_null());
        hours(2).await;
        let verdict = serde_json::to_value(visit(&connector).await).expect("JSON");
        assert_eq!(verdict["verdict"], "verified");
        assert_eq!(verdict["proves"], "same-ticket-domain");
        assert!(verdict["age_s"].as_u64().expect("an age") >= 7200);
        let origin = &verdict["origin"];
        assert_eq!(origin["method"], method.as_str());
        assert_eq!(origin["independence"], first["independence"]);
        assert_eq!(origin["paths"][1]["result"], "verified");
        assert!(origin["unix_time"].as_u64().expect("a time") > 1_700_000_000);
    }
}

#[tokio::test]
async fn renewed_sessions_do_not_extend_the_age() {
    let world = World::new();
    for (address, method) in servers(&world).await {
        let to = To::one(address);
        let connector = inheriting(&world, method, &to, &to);
        assert!(!is_inherited(&visit(&connector).await));
        for at_least in [5, 10] {
            hours(5).await;
            let verdict = visit(&connector).await;
            let age = verdict.inheritance().expect("an inheritance").age();
            assert!(age >= Duration::from_secs(at_least * 3600));
        }
        hours(3).await;
        assert!(
            !is_inherited(&visit(&connector).await),
            "too old: a full handshake, which is verified"
        );
        let verdict = visit(&connector).await;
        let age = verdict.inheritance().expect("a new origin").age();
        assert!(age < Duration::from_secs(3600));
    }
}

#[tokio::test]
async fn a_full_handshake_instead_of_a_resumption_is_verified_as_usual() {
    let world = World::new();
    let [(site, _), (multipath_server, _)] = servers(&world).await;
    let other = Site::start(stateless(world.genuine())).await.address;
    let other_multipath = multipath(stateless(world.genuine())).await;
    for (one, two, method) in [
        (site, other, Method::Resumption),
        (multipath_server, other_multipath, Method::Side),
        (site, other, Method::Auto),
    ] {
        let (primary, side) = (To::each(&[one, two]), To::each(&[one, two]));
        let settings = settings(Policy::Require, &primary, &side).side_idle_timeout(Duration::ZERO);
        let to_each =
            |method| inherits(builder_with(world.client_config(), settings).method(method));
        let verdict = match method {
            // The side path is dialled twice for each verification.
            Method::Auto => {
                let side = To::each(&[one, one, two, two]);
                let connector = inheriting(&world, method, &primary, &side);
                visit(&connector).await;
                visit(&connector).await
            }
            method => {
                let connector = to_each(method);
                visit(&connector).await;
                visit(&connector).await
            }
        };
        assert!(
            !is_inherited(&verdict),
            "the second server has no such session"
        );
        assert_eq!(verdict.paths[1].result, Some("verified"));
        assert_eq!(verdict.binding().is_some(), method == Method::Side);
    }
}

#[tokio::test]
async fn a_server_of_one_ticket_is_inherited_from_by_the_ticket_of_the_side_path() {
    let world = World::new();
    let mut config = stateless(world.genuine());
    config.send_tls13_tickets = 1;
    let site = Site::start(config).await;
    let (primary, side) = (To::one(site.address), To::one(site.address));
    let connector = inheriting(&world, Method::Resumption, &primary, &side);
    assert!(!is_inherited(&visit(&connector).await));
    // That ticket arrives while nothing waits for it.
    while !is_inherited(&visit(&connector).await) {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_session_is_not_offered_under_another_side_endpoint() {
    let world = World::new();
    let site = Site::start(stateless(world.genuine())).await;
    let to = To::one(site.address);
    let connector = inheriting(&world, Method::Resumption, &to, &to);
    let through = async |side: &str| {
        let tcp = TcpStream::connect(site.address).await.expect("to connect");
        let (name, side) = (
            crate::world::HOST.try_into().expect("a name"),
            side.parse().expect("an endpoint"),
        );
        let stream = connector.connect_stream(name, tcp, &side).await;
        is_inherited(&used(stream.expect("a verified stream")).await)
    };
    assert!(!through("server.test:443").await);
    assert!(through("server.test:443").await);
    assert!(!through("other.test:443").await);
}

#[tokio::test]
async fn nothing_is_inherited_from_an_unverified_connection() {
    let world = World::new();
    let one = Site::start(stateless(world.genuine())).await;
    let two = Site::start(stateless(world.genuine())).await;
    let (primary, side) = (To::one(one.address), To::one(two.address));
    let connector = inherits(builder(
        world.client_config(),
        Policy::Observe,
        &primary,
        &side,
    ));
    for _ in 0..2 {
        let mut stream = connector.connect(&target()).await.expect("a stream");
        ask(&mut stream).await.expect("an answer");
        let verdict = stream.verdict();
        assert_eq!(reason(&verdict), Some(ResumptionFailure::Split));
        assert_eq!(verdict.tls.handshake, Some("full"));
    }
}

#[tokio::test]
async fn without_inheritance_no_session_is_kept_and_side_paths_check_resumed_ones() {
    let world = World::new();
    for (address, method) in servers(&world).await {
        let to = To::one(address);
        let builder = builder(world.client_config(), Policy::Require, &to, &to);
        let connector = builder.method(method).build().expect("a connector");
        for _ in 0..3 {
            let verdict = visit(&connector).await;
            assert!(verdict.inheritance().is_none());
            assert_eq!(verdict.paths[1].result, Some("verified"));
        }
    }
}

/// A path that leads to `first` once, and to the attacker from then on.
fn taken_over(first: SocketAddr, attacker: SocketAddr) -> To {
    let mut addresses = vec![attacker; 20];
    addresses[0] = first;
    To::each(&addresses)
}

/// A victim whose connector has a session of the genuine server, and an attacker who takes the
/// primary path over afterwards.
struct Attack {
    mitm: Mitm,
    connector: MultipathConnector<To>,
}

impl Attack {
    async fn new(
        world: &World,
        genuine: SocketAddr,
        identity: rustls::ServerConfig,
        builder: impl FnOnce(ConnectorBuilder<To>) -> MultipathConnector<To>,
        method: Method,
    ) -> Self {
        let mitm = Mitm::start(identity, world.client_config(), genuine).await;
        let page = plain(world.client_config(), mitm.address).await;
        assert_eq!(page.expect("a page"), PAGE);
        assert!(mitm.take_secret(), "the attack succeeds against plain TLS");
        let primary = taken_over(genuine, mitm.address);
        let side = To::one(genuine);
        let settings = settings(Policy::Prefer, &primary, &side);
        let connector = builder(builder_with(world.client_config(), settings).method(method));
        assert!(!is_inherited(&visit(&connector).await));
        Self { mitm, connector }
    }
}

#[tokio::test]
async fn an_attacker_on_the_primary_path_cannot_resume_and_is_found_as_usual() {
    let world = World::new();
    for (genuine, method) in servers(&world).await {
        let rogue = stateless(world.rogue());
        let attack = Attack::new(&world, genuine, rogue, inherits, method).await;
        let error = attack.connector.connect(&target()).await;
        match (method, error.expect_err("an error")) {
            (Method::Side, Error::Interception(_)) => {}
            (_, error) => {
                let split = Reason::Resumption(ResumptionFailure::Split);
                assert_eq!(refused(error).reason, split);
            }
        }
        assert!(!attack.mitm.take_secret());
    }
}

/// The documented price: the side protocol alone would have found this attacker.
#[tokio::test]
async fn a_primary_attacker_with_the_ticket_key_of_the_server_inherits() {
    let world = World::new();
    let stolen = ticket_key();
    let genuine = multipath(with_key(world.genuine(), &stolen)).await;
    let identity = || with_key(world.rogue(), &stolen);
    let without = |builder: ConnectorBuilder<To>| builder.build().expect("a connector");
    let method = Method::Side;
    let attack = Attack::new(&world, genuine, identity(), without, method).await;
    let found = attack.connector.connect(&target()).await;
    assert!(matches!(found, Err(Error::Interception(_))));
    assert!(!attack.mitm.take_secret());
    let attack = Attack::new(&world, genuine, identity(), inherits, method).await;
    assert!(is_inherited(&visit(&attack.connector).await));
    assert!(
        attack.mitm.take_secret(),
        "known as broken: docs/threat-model.md"
    );
}

/// The side path is dialled only after the full handshake, which the attacker delays.
#[tokio::test]
async fn a_primary_attacker_who_delays_a_full_handshake_forces_no_fallback() {
    let world = World::in_real_time();
    for (genuine, method) in servers(&world).await {
        let rogue = Site::start(stateless(world.rogue())).await;
        let late = behind(rogue.address, Duration::from_secs(7)).await;
        let page = tokio::spawn(plain(world.client_config(), late));
        let (primary, side) = (taken_over(genuine, late), To::one(genuine));
        let settings = settings(Policy::Prefer, &primary, &side)
            .deadline(Duration::from_secs(5))
            .side_idle_timeout(Duration::ZERO);
        let connector = inherits(builder_with(world.client_config(), settings).method(method));
        visit(&connector).await;
        let error = connector.connect(&target()).await.expect_err("an error");
        match error {
            Error::Interception(_) | Error::Unverified(_) => {}
            other => panic!("expected a refusal, got {other:?}"),
        }
        let page = page.await.expect("no panic");
        assert_eq!(page.expect("a page"), PAGE, "plain TLS sends the secret");
    }
}

#[test]
fn inheritance_needs_tickets_and_an_age() {
    let world = World::in_real_time();
    let to = To::one(([127, 0, 0, 1], 443).into());
    let with = |tickets, age| {
        builder(world.client_config(), Policy::Require, &to, &to)
            .tickets(tickets)
            .inherit(age)
            .build()
    };
    let misuse = with(0, MAX_AGE).expect_err("an error");
    assert!(matches!(
        misuse,
        Error::ApiMisuse(ApiMisuse::InheritTickets)
    ));
    let misuse = with(1, Duration::ZERO).expect_err("an error");
    let zero = ApiMisuse::ZeroDuration("inherit");
    assert!(matches!(misuse, Error::ApiMisuse(found) if found == zero));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = SmkexClient::new(provider)
        .connector(ClientSettings::new(Policy::Require).side("direct".parse().expect("a path")))
        .expect("a builder")
        .inherit(MAX_AGE)
        .build();
    let misuse = built.expect_err("an error");
    assert!(matches!(
        misuse,
        Error::ApiMisuse(ApiMisuse::InheritTickets)
    ));
}
