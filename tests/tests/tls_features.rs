//! Other features of TLS 1.3, with a verification beside them.

use std::sync::Arc;

use mtls_core::proto::binding::Binding;
use mtls_core::{Policy, Verdict};
use mtls_lab::attacker::{Mitm, MitmPlan};
use mtls_lab::{PAGE_SECRET, Result, Setup, Victim, World, fetch, provider, retrying_provider};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};

const BINDINGS: [Binding; 2] = [Binding::Exporter, Binding::Hello];

/// Fetches the page under `Require`, with this binding.
async fn verified(victim: &Victim, binding: Binding) -> Result<Verdict> {
    let connector = victim
        .connector_with(victim.settings(Policy::Require).bindings(binding))?
        .build()?;
    let stream = connector.connect(&victim.target()).await?;
    let verdict = stream.verdict();
    assert_eq!(verdict.binding(), Some(binding));
    assert_eq!(fetch(stream).await?, PAGE_SECRET);
    Ok(verdict)
}

#[tokio::test]
async fn hybrid_key_exchange_verifies() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Require)).await?;
    for binding in BINDINGS {
        let verdict = verified(&world.victim(&server)?, binding).await?;
        assert_eq!(verdict.tls.key_exchange.as_deref(), Some("X25519MLKEM768"));
        assert_eq!(verdict.tls.handshake, Some("full"));
    }
    Ok(())
}

#[tokio::test]
async fn hello_retry_request_verifies() -> Result {
    let world = World::new()?;
    let versions = rustls::DEFAULT_VERSIONS;
    let tls = world.server_tls(&world.pki.server, retrying_provider(), versions)?;
    let server = world.serve(Setup::new(Policy::Require).tls(tls)).await?;
    for binding in BINDINGS {
        let verdict = verified(&world.victim(&server)?, binding).await?;
        assert_eq!(verdict.tls.handshake, Some("full-with-retry"));
        assert_eq!(verdict.tls.key_exchange.as_deref(), Some("secp384r1"));
    }
    Ok(())
}

#[tokio::test]
async fn man_in_the_middle_of_a_retried_handshake_is_detected() -> Result {
    let world = World::new()?;
    let versions = rustls::DEFAULT_VERSIONS;
    let tls = world.server_tls(&world.pki.server, retrying_provider(), versions)?;
    let server = world.serve(Setup::new(Policy::Observe).tls(tls)).await?;
    let plan = MitmPlan::rogue_ca(&world, &server)?
        .stalls_after_retry(&world, std::time::Duration::ZERO)?;
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let victim = world.victim(&server)?.primary_to(mitm.address());
    victim.fetch_plain().await?;
    mitm.captured().expect_both_secrets().await?;
    for policy in [Policy::Require, Policy::Prefer] {
        assert_eq!(victim.outcome(policy).await?, "refused: unknown-handshake");
        mitm.captured().expect_no_plaintext().await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_cipher_suite_verifies() -> Result {
    let world = World::new()?;
    for suite in provider().cipher_suites {
        let Some(suite) = suite.tls13().map(|_| suite) else {
            continue;
        };
        let only = CryptoProvider {
            cipher_suites: vec![suite],
            ..provider()
        };
        let tls = world.server_tls(&world.pki.server, only, &[&rustls::version::TLS13])?;
        let server = world.serve(Setup::new(Policy::Require).tls(tls)).await?;
        for binding in BINDINGS {
            verified(&world.victim(&server)?, binding).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn resumed_connection_is_verified_like_any_other() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Require)).await?;
    let victim = world.victim(&server)?;
    for binding in BINDINGS {
        let connector = victim
            .connector_with(victim.settings(Policy::Require).bindings(binding))?
            .build()?;
        for expected in ["full", "resumed", "resumed"] {
            let stream = connector.connect(&victim.target()).await?;
            assert_eq!(stream.verdict().tls.handshake, Some(expected));
            assert_eq!(stream.verdict().binding(), Some(binding));
            fetch(stream).await?;
        }
    }
    Ok(())
}

/// A server that wants a certificate of the real authority's from its clients.
fn with_client_certificates(world: &World) -> Result<(ClientConfig, ServerConfig)> {
    let crypto = Arc::new(provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.pki.ca.cert_der())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&crypto))
            .build()?;
    let server = &world.pki.server;
    let server = ServerConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain_der(), server.key_der())?;
    let alice = world.pki.ca.issue_client("alice")?;
    let client = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(world.roots()?)
        .with_client_auth_cert(alice.chain_der(), alice.key_der())?;
    Ok((client, server))
}

#[tokio::test]
async fn client_certificate_is_sent_and_the_connection_verified() -> Result {
    let world = World::new()?;
    let (client, tls) = with_client_certificates(&world)?;
    let server = world.serve(Setup::new(Policy::Require).tls(tls)).await?;
    let victim = world.victim(&server)?;
    let connected = victim.connect(Policy::Require).await;
    assert!(
        connected.is_err() || fetch(connected?).await.is_err(),
        "no certificate, no page"
    );
    for binding in BINDINGS {
        verified(&victim.clone().with_config(client.clone()), binding).await?;
    }
    let seen = server.verdicts();
    assert!(
        seen.iter()
            .all(|verdict| verdict.tls.peer_chain_sha256.len() == 2)
    );
    Ok(())
}

#[tokio::test]
async fn client_certificate_does_not_help_a_man_in_the_middle() -> Result {
    let world = World::new()?;
    let (client, tls) = with_client_certificates(&world)?;
    let server = world.serve(Setup::new(Policy::Observe).tls(tls)).await?;
    // The attacker cannot use the certificate that they see, but they read the request.
    let plan = MitmPlan::rogue_ca(&world, &server)?.forges("forged");
    let mitm = Mitm::start(world.host(66, &server), plan).await?;
    let victim = world
        .victim(&server)?
        .with_config(client)
        .primary_to(mitm.address());
    assert_eq!(victim.fetch_plain().await?, "forged");
    mitm.captured().wait_until_closed().await?;
    assert!(mitm.captured().has_request_secret());
    mitm.captured().clear();
    for policy in [Policy::Require, Policy::Prefer] {
        assert_eq!(victim.outcome(policy).await?, "refused: unknown-handshake");
        mitm.captured().expect_no_plaintext().await?;
    }
    Ok(())
}

#[tokio::test]
async fn application_protocol_is_agreed_on() -> Result {
    let world = World::new()?;
    let mut tls = world.server_config()?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = world.serve(Setup::new(Policy::Require).tls(tls)).await?;
    let mut config = world.client_config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let victim = world.victim(&server)?.with_config(config);
    let verdict = verified(&victim, Binding::Exporter).await?;
    assert_eq!(verdict.tls.alpn.as_deref(), Some("http/1.1"));
    Ok(())
}
