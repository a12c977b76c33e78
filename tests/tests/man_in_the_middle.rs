//! A man in the middle on the primary path, whose certificate the client trusts.

use mtls_core::proto::binding::Binding;
use mtls_core::proto::client::InterceptionReason;
use mtls_core::{Error, Evidence, EvidenceReason, Outcome, Policy};
use mtls_lab::attacker::{EarlyConnection, Mitm, MitmPlan};
use mtls_lab::{Result, Server, Setup, Victim, World, eventually, fetch};

const REFUSING: [Policy; 2] = [Policy::Require, Policy::Prefer];
const BINDINGS: [Binding; 2] = [Binding::Exporter, Binding::Hello];

/// A world with a man in the middle on the primary path.
struct Scene {
    world: World,
    server: Server,
    mitm: Mitm,
    victim: Victim,
}

impl Scene {
    /// Shows first that plain TLS accepts the attacker.
    async fn new(plan: impl FnOnce(&World, &Server) -> Result<MitmPlan>) -> Result<Self> {
        let world = World::new()?;
        // The server that is easiest on attackers: it refuses no connection.
        let server = world.serve(Setup::new(Policy::Observe)).await?;
        let plan = plan(&world, &server)?;
        let mitm = Mitm::start(world.host(66, &server), plan).await?;
        let victim = world.victim(&server)?.primary_to(mitm.address());
        victim.fetch_plain().await?;
        mitm.captured().expect_both_secrets().await?;
        Ok(Self {
            world,
            server,
            mitm,
            victim,
        })
    }

    /// No policy but `Observe` gives out the stream, and none leaks a byte.
    async fn is_detected(&self, reason: InterceptionReason) -> Result {
        for policy in REFUSING {
            for binding in BINDINGS {
                let evidence = self.is_refused(policy, binding).await?;
                let found = EvidenceReason::Interception(reason);
                assert_eq!(evidence.reason, found, "{policy} {binding}");
            }
        }
        self.is_reported(reason).await
    }

    async fn is_refused(&self, policy: Policy, binding: Binding) -> Result<Box<Evidence>> {
        let before = self.server.bytes();
        let connector = self
            .victim
            .connector_with(self.victim.settings(policy).bindings(binding))?
            .build()?;
        let refused = connector.connect(&self.victim.target()).await;
        let Err(Error::Interception(evidence)) = refused else {
            return Err(format!("{policy} {binding}: not refused: {refused:?}").into());
        };
        self.mitm.captured().expect_no_plaintext().await?;
        assert_eq!(self.server.bytes(), before, "{policy} {binding}");
        Ok(evidence)
    }

    async fn is_reported(&self, reason: InterceptionReason) -> Result {
        let stream = self.victim.connect(Policy::Observe).await?;
        assert_eq!(stream.verdict().outcome, Outcome::Intercepted(reason));
        assert!(stream.channel_bindings()?.is_empty());
        fetch(stream).await?;
        assert!(
            self.mitm.captured().has_request_secret(),
            "observe fails nothing"
        );
        Ok(())
    }
}

#[tokio::test]
async fn rogue_authority_is_detected() -> Result {
    let scene = Scene::new(MitmPlan::rogue_ca).await?;
    scene
        .is_detected(InterceptionReason::UnknownHandshake)
        .await
}

#[tokio::test]
async fn stolen_key_is_detected() -> Result {
    let scene = Scene::new(MitmPlan::stolen_key).await?;
    scene
        .is_detected(InterceptionReason::UnknownHandshake)
        .await
}

#[tokio::test]
async fn copied_client_random_is_detected() -> Result {
    for early_connection in [EarlyConnection::None, EarlyConnection::Connects] {
        let scene = Scene::new(|world, server| {
            Ok(MitmPlan::rogue_ca(world, server)?
                .copies_random()
                .early_connection(early_connection))
        })
        .await?;
        // An attacker that connects afterwards may be later than the Open: then it is the server that
        // has not seen the handshake. Both are the truth.
        match early_connection {
            EarlyConnection::None => {
                for policy in REFUSING {
                    scene.is_refused(policy, Binding::Exporter).await?;
                }
            }
            _ => scene.is_detected(InterceptionReason::WrongValue).await?,
        }
    }
    Ok(())
}

#[tokio::test]
async fn copied_client_random_with_the_stolen_key_is_detected() -> Result {
    let scene = Scene::new(|world, server| {
        let plan = MitmPlan::stolen_key(world, server)?;
        Ok(plan
            .copies_random()
            .early_connection(EarlyConnection::Connects))
    })
    .await?;
    scene.is_detected(InterceptionReason::WrongValue).await
}

#[tokio::test]
async fn copying_the_random_and_confirming_first_downgrades_nobody() -> Result {
    let scene = Scene::new(|world, server| {
        let plan = MitmPlan::rogue_ca(world, server)?;
        Ok(plan
            .copies_random()
            .early_connection(EarlyConnection::Confirms))
    })
    .await?;
    scene.is_detected(InterceptionReason::WrongValue).await?;
    eventually(
        "to the server the attacker is a client like any other",
        || {
            let verdicts = scene.server.verdicts();
            verdicts.iter().any(|verdict| verdict.verified().is_some())
        },
    )
    .await
}

#[tokio::test]
async fn copying_the_random_and_closing_first_downgrades_nobody() -> Result {
    let scene = Scene::new(|world, server| {
        let plan = MitmPlan::rogue_ca(world, server)?;
        Ok(plan
            .copies_random()
            .early_connection(EarlyConnection::Closes))
    })
    .await?;
    // The closed handshake is a tombstone, and is answered truthfully.
    scene.is_detected(InterceptionReason::WrongValue).await
}

#[tokio::test]
async fn evidence_shows_the_chain_that_was_presented_and_no_secret() -> Result {
    let scene = Scene::new(MitmPlan::rogue_ca).await?;
    let evidence = scene.is_refused(Policy::Require, Binding::Exporter).await?;
    assert_eq!(evidence.chain.len(), 2);
    assert_eq!(
        evidence.chain_pem(),
        scene.world.pki.rogue.chain_pem().replace("\r\n", "\n")
    );
    let primary = &evidence.connection.paths[0];
    assert_eq!(primary.peer, Some(scene.mitm.address()));
    assert_eq!(
        evidence.connection.paths[1].result,
        Some("unknown-handshake")
    );
    Ok(())
}

#[tokio::test]
async fn forged_page_reaches_only_clients_of_plain_tls() -> Result {
    let scene =
        Scene::new(|world, server| Ok(MitmPlan::rogue_ca(world, server)?.forges("forged"))).await?;
    assert_eq!(scene.victim.fetch_plain().await?, "forged");
    scene.mitm.captured().wait_until_closed().await?;
    scene.mitm.captured().clear();
    scene.is_refused(Policy::Require, Binding::Exporter).await?;
    Ok(())
}

#[tokio::test]
async fn without_a_man_in_the_middle_the_page_arrives() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Require)).await?;
    let stream = world.victim(&server)?.connect(Policy::Require).await?;
    assert_eq!(stream.verdict().binding(), Some(Binding::Exporter));
    assert_eq!(fetch(stream).await?, mtls_lab::PAGE_SECRET);
    Ok(())
}
