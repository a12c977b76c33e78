//! A man in the middle hands out tickets of its own. A client that stored one would resume its
//! session later, and see no certificate at all.

use mtls_core::path::Endpoint;
use mtls_core::{MultipathConnector, Policy};
use mtls_lab::attacker::{Mitm, MitmPlan};
use mtls_lab::{HOST, Result, Server, Setup, Victim, World, describe, fetch};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

struct Scene {
    server: Server,
    mitm: Mitm,
    victim: Victim,
}

impl Scene {
    /// Plain TLS resumes the attacker's session.
    async fn new() -> Result<Self> {
        let world = World::new()?;
        let server = world.serve(Setup::new(Policy::Observe)).await?;
        let plan = MitmPlan::rogue_ca(&world, &server)?;
        let mitm = Mitm::start(world.host(66, &server), plan).await?;
        let victim = world.victim(&server)?.primary_to(mitm.address());
        for _ in 0..2 {
            victim.fetch_plain().await?;
        }
        mitm.captured().wait_until_closed().await?;
        assert_eq!(
            mitm.captured().tickets_offered(),
            1,
            "plain TLS offers the attacker's ticket"
        );
        assert_eq!(mitm.captured().resumptions(), 1, "and sees no certificate");
        mitm.captured().clear();
        Ok(Self {
            server,
            mitm,
            victim,
        })
    }

    /// The same connector, now over a path that leads straight to the server.
    async fn honest(&self, connector: &MultipathConnector) -> Result<&'static str> {
        let address = self.server.address();
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(HOST)?;
        let stream = connector
            .connect_stream(name, tcp, &Endpoint::from(address))
            .await?;
        let handshake = stream.verdict().tls.handshake;
        assert!(stream.verdict().verified().is_some());
        fetch(stream).await?;
        Ok(handshake.unwrap_or_default())
    }
}

#[tokio::test]
async fn ticket_of_an_intercepted_connection_is_never_offered() -> Result {
    let scene = Scene::new().await?;
    let connector = scene.victim.connector(Policy::Observe)?.build()?;
    for _ in 0..3 {
        let stream = connector.connect(&scene.victim.target()).await?;
        assert_eq!(stream.verdict().outcome.as_str(), "intercepted");
        // The attacker's tickets arrive with the page.
        fetch(stream).await?;
    }
    scene.mitm.captured().wait_until_closed().await?;
    assert_eq!(scene.mitm.captured().handshakes(), 3);
    assert_eq!(scene.mitm.captured().tickets_offered(), 0);
    assert_eq!(scene.honest(&connector).await?, "full");
    Ok(())
}

#[tokio::test]
async fn ticket_of_a_refused_connection_is_never_offered() -> Result {
    for policy in [Policy::Require, Policy::Prefer] {
        let scene = Scene::new().await?;
        let connector = scene.victim.connector(policy)?.build()?;
        for _ in 0..3 {
            let refused = connector.connect(&scene.victim.target()).await;
            assert_eq!(describe(&refused), "refused: unknown-handshake");
        }
        assert_eq!(scene.mitm.captured().tickets_offered(), 0);
        assert_eq!(scene.honest(&connector).await?, "full");
        scene.mitm.captured().expect_no_plaintext().await?;
    }
    Ok(())
}

#[tokio::test]
async fn ticket_of_an_unverified_connection_is_never_offered() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::plain()).await?;
    let victim = world.victim(&server)?;
    for policy in [Policy::Prefer, Policy::Observe] {
        let connector = victim.connector(policy)?.build()?;
        for _ in 0..2 {
            let stream = connector.connect(&victim.target()).await?;
            assert_eq!(stream.verdict().tls.handshake, Some("full"));
            fetch(stream).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn tickets_of_the_wrapped_configuration_are_not_used() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Prefer)).await?;
    let victim = world.victim(&server)?;
    // This fills the store of the configuration that the connector wraps.
    victim.fetch_plain().await?;
    let stream = victim.connect(Policy::Require).await?;
    assert_eq!(stream.verdict().tls.handshake, Some("full"));
    Ok(())
}

#[tokio::test]
async fn own_ticket_offered_to_a_man_in_the_middle_is_of_no_use_to_him() -> Result {
    let scene = Scene::new().await?;
    let connector = scene.victim.connector(Policy::Require)?.build()?;
    assert_eq!(scene.honest(&connector).await?, "full");
    let refused = connector.connect(&scene.victim.target()).await;
    assert_eq!(describe(&refused), "refused: unknown-handshake");
    assert_eq!(
        scene.mitm.captured().tickets_offered(),
        1,
        "the honest server's"
    );
    assert_eq!(scene.mitm.captured().resumptions(), 0);
    scene.mitm.captured().expect_no_plaintext().await
}

/// A TLS 1.2 session enters the store with the server's Finished: before any verdict.
#[tokio::test]
async fn session_that_comes_before_the_verdict_is_never_offered() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Observe)).await?;
    let plan = MitmPlan::rogue_ca(&world, &server)?.downgrades_victim(&world)?;
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let victim = world.victim(&server)?.primary_to(mitm.address());
    for _ in 0..2 {
        victim.fetch_plain().await?;
    }
    mitm.captured().wait_until_closed().await?;
    assert_eq!(
        mitm.captured().resumptions(),
        1,
        "plain TLS resumes the attacker's session"
    );
    mitm.captured().clear();
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let connector = victim.connector(policy)?.build()?;
        for _ in 0..2 {
            if let Ok(stream) = connector.connect(&victim.target()).await {
                fetch(stream).await?;
            }
        }
    }
    mitm.captured().wait_until_closed().await?;
    assert_eq!(mitm.captured().connections(), 6);
    assert_eq!(mitm.captured().resumptions(), 0);
    Ok(())
}
