//! QUIC on the primary path, with attackers of the lab.

use mtls_core::proto::client::InterceptionReason;
use mtls_core::quic::{QuicConnection, QuicConnector};
use mtls_core::{Error, EvidenceReason, Policy};
use mtls_lab::attacker::{EarlyConnection, Injection, Injector, Mitm, MitmPlan};
use mtls_lab::attacker::{SideAttack, SideAttacker};
use mtls_lab::quic::{ALPN, QuicStream};
use mtls_lab::{PAGE_SECRET, Result, Server, Setup, Victim, World, fetch};
use quinn::{ConnectionError, TransportErrorCode};

const REFUSING: [Policy; 2] = [Policy::Require, Policy::Prefer];

pub(crate) async fn connect(
    victim: &Victim,
    policy: Policy,
) -> Result<Result<QuicConnection, Error>> {
    let tcp = victim.connector(policy)?.build()?;
    let connector = QuicConnector::builder(&tcp).alpn(&[ALPN]).build()?;
    Ok(connector.connect(&victim.target()).await)
}

pub(crate) async fn fetch_plain(victim: &Victim) -> Result<String> {
    let connection = victim.connect_plain_quic().await??;
    fetch(QuicStream::open(connection).await?).await
}

async fn served() -> Result<(World, Server)> {
    let world = World::new()?;
    // The server that is easiest on attackers: it refuses no connection.
    let server = world.serve(Setup::new(Policy::Observe).quic()).await?;
    Ok((world, server))
}

/// Shows that plain QUIC accepts a man in the middle, and that multipath TLS over QUIC refuses them for
/// this reason, with no application byte.
async fn is_detected(
    plan: impl FnOnce(MitmPlan) -> MitmPlan,
    reason: InterceptionReason,
) -> Result {
    let (world, server) = served().await?;
    let plan = plan(MitmPlan::rogue_ca(&world, &server)?);
    let mitm = Mitm::over_quic(world.host(66, &server), plan).await?;
    let victim = world.victim(&server)?.primary_to(mitm.address());
    assert_eq!(fetch_plain(&victim).await?, PAGE_SECRET);
    mitm.captured().expect_both_secrets().await?;
    let before = server.bytes();
    for policy in REFUSING {
        let Err(Error::Interception(evidence)) = connect(&victim, policy).await? else {
            return Err(format!("{policy}: not refused").into());
        };
        assert_eq!(evidence.reason, EvidenceReason::Interception(reason));
        assert_eq!(evidence.connection.tls.transport, Some("quic"));
        mitm.captured().expect_no_plaintext().await?;
    }
    assert_eq!(server.bytes(), before);
    Ok(())
}

#[tokio::test]
async fn a_man_in_the_middle_with_a_rogue_certificate_is_detected() -> Result {
    is_detected(|plan| plan, InterceptionReason::UnknownHandshake).await
}

#[tokio::test]
async fn a_man_in_the_middle_whom_the_server_has_verified_is_detected() -> Result {
    let plan = |plan: MitmPlan| plan.early_connection(EarlyConnection::Confirms);
    is_detected(plan, InterceptionReason::UnknownHandshake).await
}

#[tokio::test]
async fn a_copied_random_is_detected() -> Result {
    for early in [EarlyConnection::Connects, EarlyConnection::Confirms] {
        let plan = |plan: MitmPlan| plan.copies_random().early_connection(early);
        is_detected(plan, InterceptionReason::WrongValue).await?;
    }
    Ok(())
}

#[tokio::test]
async fn attackers_on_all_paths_who_communicate_are_not_detected() -> Result {
    let (world, server) = served().await?;
    let plan = MitmPlan::rogue_ca(&world, &server)?.shares_secrets()?;
    let answers = plan.side_acceptor().ok_or("it shares its secrets")?;
    let mitm = Mitm::over_quic(world.host(66, &server), plan).await?;
    let attack = SideAttack::AnswerForMitm(answers);
    let side = SideAttacker::start(world.host(80, &server), server.address(), attack).await?;
    let victim = world.victim(&server)?.primary_to(mitm.address());
    let victim = victim.side_to(side.address());
    let connection = connect(&victim, Policy::Require).await??;
    let stream = QuicStream::open(connection.into_inner()).await?;
    assert_eq!(fetch(stream).await?, PAGE_SECRET);
    mitm.captured().expect_both_secrets().await
}

#[tokio::test]
async fn a_side_connection_that_is_reset_denies_the_connection_under_require_only() -> Result {
    let (world, server) = served().await?;
    let place = world.host(80, &server);
    let side = SideAttacker::start(place, server.address(), SideAttack::Reset).await?;
    let victim = world.victim(&server)?.side_to(side.address());
    let refused = connect(&victim, Policy::Require).await?;
    assert!(matches!(refused, Err(Error::Unverified(_))), "{refused:?}");
    let connection = connect(&victim, Policy::Prefer).await??;
    assert_eq!(connection.verdict().outcome.as_str(), "unverified");
    Ok(())
}

/// A packet that no handshake protects costs the connection, plain or not.
async fn is_denied(
    injection: impl FnOnce(&World) -> Result<Injection>,
    is_expected: impl Fn(&ConnectionError) -> bool,
) -> Result {
    let (world, server) = served().await?;
    let place = world.host(66, &server);
    let injector = Injector::start(place, server.address(), injection(&world)?).await?;
    let victim = world.victim(&server)?.primary_to(injector.address());
    let plain = victim.connect_plain_quic().await?.err();
    assert!(plain.as_ref().is_some_and(&is_expected), "{plain:?}");
    for policy in REFUSING {
        let refused = connect(&victim, policy).await?;
        let Err(Error::Quic(error)) = &refused else {
            return Err(format!("{policy}: {refused:?}").into());
        };
        assert!(is_expected(error), "{policy}: {error:?}");
    }
    assert_eq!(injector.clients(), 3);
    assert_eq!(server.bytes(), 0);
    Ok(())
}

#[tokio::test]
async fn an_injected_version_negotiation_denies_the_connection_and_no_more() -> Result {
    is_denied(
        |_| Ok(Injection::VersionNegotiation),
        |error| *error == ConnectionError::VersionMismatch,
    )
    .await
}

#[tokio::test]
async fn an_injected_retry_denies_the_connection_and_no_more() -> Result {
    is_denied(Injection::retry, |error| match error {
        ConnectionError::TransportError(failed) => {
            failed.code == TransportErrorCode::TRANSPORT_PARAMETER_ERROR
        }
        _ => false,
    })
    .await
}
