//! SMKEX under attack: there is no certificate, so every man in the middle has as good a key as
//! the server.

use mtls_core::proto::binding::Binding;
use mtls_core::{Outcome, Policy};
use mtls_lab::attacker::{EarlyConnection, Mitm, MitmPlan, SideAttack, SideAttacker};
use mtls_lab::{Result, Server, Setup, Victim, World, fetch};

async fn smkex() -> Result<(World, Server, Victim)> {
    let world = World::new()?;
    let server = world.serve(Setup::smkex()).await?;
    let victim = world.victim(&server)?.smkex();
    Ok((world, server, victim))
}

#[tokio::test]
async fn nobody_in_between_and_both_ends_verify() -> Result {
    let (_, server, victim) = smkex().await?;
    let stream = victim.connect(Policy::Require).await?;
    assert!(matches!(stream.verdict().outcome, Outcome::Verified(_)));
    fetch(stream).await?;
    let verdicts = server.verdicts();
    assert!(verdicts.iter().all(|verdict| verdict.verified().is_some()));
    Ok(())
}

#[tokio::test]
async fn a_man_in_the_middle_with_any_key_gets_no_byte() -> Result {
    let (world, server, victim) = smkex().await?;
    for (number, early_connection) in [
        (66, EarlyConnection::None),
        (67, EarlyConnection::Connects),
        (68, EarlyConnection::Confirms),
    ] {
        let plan = MitmPlan::raw_key(&world, &server)?.early_connection(early_connection);
        let mitm = Mitm::start(world.host(number, &server), plan).await?;
        let victim = victim.clone().primary_to(mitm.address());
        for binding in [Binding::Exporter, Binding::Hello] {
            let outcome = victim
                .outcome_with(Policy::Require, |settings| settings.bindings(binding))
                .await?;
            assert_eq!(
                outcome, "refused: unknown-handshake",
                "{early_connection:?}"
            );
            mitm.captured().wait_until_closed().await?;
            assert!(
                mitm.captured().handshakes() > 0,
                "the attacker completed TLS"
            );
            mitm.captured().expect_no_plaintext().await?;
        }
    }
    assert_eq!(server.bytes(), 0);
    Ok(())
}

#[tokio::test]
async fn the_same_attacker_reads_everything_where_nobody_asks() -> Result {
    let (world, server, victim) = smkex().await?;
    let single = world
        .serve(Setup::plain().tls(mtls_lab::raw_keys::server_config(&world.pki.server)?))
        .await?;
    let plan = MitmPlan::raw_key(&world, &single)?;
    let mitm = Mitm::start(world.host(66, &single), plan).await?;
    let config = mtls_lab::raw_keys::client_config(mtls_lab::provider())?;
    victim
        .with_config(config)
        .primary_to(mitm.address())
        .fetch_plain()
        .await?;
    mitm.captured().expect_both_secrets().await?;
    drop(server);
    Ok(())
}

#[tokio::test]
async fn attackers_on_both_paths_win_if_and_only_if_they_talk() -> Result {
    let (world, server, victim) = smkex().await?;
    let talking = MitmPlan::raw_key(&world, &server)?.shares_secrets()?;
    let other = MitmPlan::raw_key(&world, &server)?.shares_secrets()?;
    let answer = |plan: &MitmPlan| {
        plan.side_acceptor()
            .map(SideAttack::AnswerForMitm)
            .ok_or("the attacker shares no secrets")
    };
    let (friend, alone) = (answer(&talking)?, answer(&other)?);
    let mitm = Mitm::start(
        world.host(66, &server),
        talking.early_connection(EarlyConnection::Confirms),
    )
    .await?;
    let friend = SideAttacker::start(world.host(77, &server), server.address(), friend).await?;
    let alone = SideAttacker::start(world.host(78, &server), server.address(), alone).await?;
    let victim = victim.primary_to(mitm.address());

    let outcome = victim
        .clone()
        .side_to(alone.address())
        .outcome(Policy::Require)
        .await?;
    assert_eq!(outcome, "refused: unknown-handshake");
    mitm.captured().expect_no_plaintext().await?;

    let stream = victim
        .side_to(friend.address())
        .connect(Policy::Require)
        .await?;
    fetch(stream).await?;
    mitm.captured().expect_both_secrets().await
}

#[tokio::test]
async fn an_attacker_on_the_side_path_alone_can_only_make_the_client_refuse() -> Result {
    let (world, server, victim) = smkex().await?;
    for (number, attack) in [
        (77, SideAttack::Reset),
        (
            78,
            SideAttack::SendAndClose(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ),
    ] {
        let side = SideAttacker::start(world.host(number, &server), server.address(), attack);
        let side = side.await?;
        let outcome = victim.clone().side_to(side.address());
        let outcome = outcome.outcome(Policy::Require).await?;
        // Whether the connection counts as made before it is reset is the kernels' affair.
        assert!(
            ["refused: no-greeting", "refused: side-unreachable"].contains(&&*outcome),
            "{outcome}"
        );
    }
    assert_eq!(server.bytes(), 0);
    Ok(())
}
