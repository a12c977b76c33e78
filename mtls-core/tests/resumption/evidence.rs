//! Evidence that third parties can check: what is in it, what is not, and which forgeries it shows.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_core::{
    Evidence, EvidenceBundle, EvidenceError, Policy, RecordingVerifier, ResumptionFailure,
};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, KeyLog};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{Site, To, World, builder, plain, refused, target};

/// Keeps the secrets of each handshake, as a file of SSLKEYLOGFILE would.
#[derive(Debug, Default)]
struct Secrets(Mutex<Vec<Vec<u8>>>);

impl KeyLog for Secrets {
    fn log(&self, _label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.push(secret.to_vec());
    }
}

fn recording(world: &World, secrets: &Arc<Secrets>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(world.roots());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .expect("a verifier");
    let mut config = world.client_config();
    let verifier = Arc::new(RecordingVerifier::new(verifier));
    config.dangerous().set_certificate_verifier(verifier);
    config.key_log = Arc::clone(secrets) as Arc<dyn KeyLog>;
    config
}

/// The evidence of a client whose primary path leads to an attacker with a certificate of a trusted
/// rogue authority.
async fn evidence_of(world: &World) -> (Evidence, Arc<Secrets>) {
    let attacker = Site::start(world.rogue()).await;
    let site = Site::start(world.genuine()).await;
    let fooled = plain(world.client_config(), attacker.address).await;
    fooled.expect("plain TLS trusts the attacker");
    let secrets = Arc::new(Secrets::default());
    let (primary, side) = (To::one(attacker.address), To::one(site.address));
    let config = recording(world, &secrets);
    let connector = builder(config, Policy::Require, &primary, &side);
    let connector = connector.build().expect("a connector");
    let error = connector.connect(&target()).await.expect_err("a refusal");
    let evidence = refused(error).evidence.expect("evidence");
    assert_eq!(evidence.reason.as_str(), ResumptionFailure::Split.as_str());
    (*evidence, secrets)
}

fn verified(bytes: &[u8]) -> Result<(), EvidenceError> {
    EvidenceBundle::parse(bytes)?.verify(&aws_lc_rs::default_provider())
}

/// Changes evidence, and computes the digest again: anyone can.
fn forged(evidence: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(evidence).expect("JSON");
    json.as_object_mut().expect("an object").remove("sha256");
    change(&mut json);
    let object = serde_json::to_string_pretty(&json).expect("JSON");
    let object = object.strip_suffix("\n}").expect("an object");
    let covered = format!("{object},\n  \"sha256\": \"");
    format!("{covered}{}\"\n}}\n", hex(&Sha256::digest(&covered))).into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string");
        hex
    })
}

#[tokio::test]
async fn evidence_has_the_signatures_of_both_handshakes_and_verifies() {
    let world = World::new();
    let (evidence, _) = evidence_of(&world).await;
    let bytes = evidence.to_json().expect("JSON");
    verified(&bytes).expect("evidence that verifies");
    let bundle = EvidenceBundle::parse(&bytes).expect("a bundle");
    let paths: Vec<_> = bundle.handshakes().map(|one| one.path).collect();
    assert_eq!(paths, ["primary", "side"]);
    let hashes: Vec<_> = bundle
        .handshakes()
        .map(|one| one.signature.expect("a signature").transcript_hash())
        .collect();
    assert!(hashes.iter().all(Option::is_some));
    assert_ne!(hashes[0], hashes[1], "two handshakes");
    assert_eq!(bundle.connection["method"], "resumption");
}

#[tokio::test]
async fn every_modified_byte_is_noticed() {
    let world = World::new();
    let bytes = evidence_of(&world).await.0.to_json().expect("JSON");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(EvidenceBundle::parse(&changed).is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn a_forger_who_computes_the_digest_again_cannot_replace_keys_or_signatures() {
    let world = World::new();
    let bytes = evidence_of(&world).await.0.to_json().expect("JSON");
    let same = forged(&bytes, |_| {});
    assert_eq!(verified(&same), Ok(()), "the test can compute the digest");
    let signature = |path| move |error| matches!(error, EvidenceError::Signature { path: at, .. } if at == path);
    let primary = signature("primary");
    let swap = |json: &mut Value, one: &str, other: &str| {
        let (a, b) = (json[one].take(), json[other].take());
        (json[one], json[other]) = (b, a);
    };
    // The signature of another handshake.
    let swapped = forged(&bytes, |json| swap(json, "signature", "side_signature"));
    assert!(verified(&swapped).is_err_and(primary));
    // The certificate of another server.
    let swapped = forged(&bytes, |json| {
        swap(json, "chain", "side_chain");
        let leaf = json["chain"][0]["sha256"].clone();
        json["connection"]["tls"]["peer_chain_sha256"] = json!([leaf]);
    });
    assert!(verified(&swapped).is_err_and(primary));
    // Another transcript hash.
    let replaced = forged(&bytes, |json| {
        let mut input = STANDARD
            .decode(json["signature"]["input"].as_str().unwrap())
            .unwrap();
        let last = input.last_mut().expect("a byte");
        *last ^= 1;
        json["signature"]["input"] = json!(STANDARD.encode(&input));
        json["signature"]["transcript_hash"] = json!(hex(&input[98..]));
    });
    assert!(verified(&replaced).is_err_and(primary));
    // A signature over other bytes than a handshake.
    let replaced = forged(&bytes, |json| {
        json["signature"]["input"] = json!(STANDARD.encode("a document"));
        json["signature"]["transcript_hash"] = Value::Null;
    });
    assert!(verified(&replaced).is_err_and(primary));
}

#[tokio::test]
async fn descriptions_that_contradict_the_certificates_or_the_connection_are_refused() {
    let world = World::new();
    let bytes = evidence_of(&world).await.0.to_json().expect("JSON");
    for (pointer, value) in [
        ("/chain/0/subject", json!("CN=someone else")),
        ("/chain/0/spki_sha256", json!("00")),
        ("/side_chain/0/pem", json!("")),
        ("/reason", json!("other-key")),
        ("/association", json!("00")),
        ("/connection/tls/peer_chain_sha256", json!([])),
        ("/signature/transcript_hash", json!("00")),
        ("/signature/scheme_name", json!("ED25519")),
        ("/signature/scheme", json!(0x0401)),
        ("/schema", json!(1)),
    ] {
        let changed = forged(&bytes, |json| {
            *json.pointer_mut(pointer).expect(pointer) = value
        });
        assert!(verified(&changed).is_err(), "{pointer}");
    }
    let added = forged(&bytes, |json| json["more"] = json!(1));
    assert!(verified(&added).is_err());
}

#[tokio::test]
async fn evidence_contains_no_secret_of_the_connections() {
    let world = World::new();
    let (evidence, secrets) = evidence_of(&world).await;
    let json = String::from_utf8(evidence.to_json().expect("JSON")).expect("UTF-8");
    let secrets = secrets.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(secrets.len() >= 8, "those of two handshakes");
    for secret in secrets.iter() {
        assert!(!json.to_lowercase().contains(&hex(secret)));
        assert!(!json.contains(STANDARD.encode(secret).trim_end_matches('=')));
        // Inside of a longer value in base64, at any offset.
        let values = json
            .split('"')
            .filter_map(|text| STANDARD.decode(text).ok());
        let mut parts = values.flat_map(|value| {
            let parts: Vec<_> = value.windows(secret.len()).map(<[u8]>::to_vec).collect();
            parts
        });
        assert!(!parts.any(|part| part == *secret));
    }
}

#[tokio::test]
async fn without_a_recording_verifier_evidence_has_no_signature_and_says_so() {
    let world = World::new();
    let attacker = Site::start(world.rogue()).await;
    let site = Site::start(world.genuine()).await;
    let (primary, side) = (To::one(attacker.address), To::one(site.address));
    let connector = builder(world.client_config(), Policy::Require, &primary, &side);
    let connector = connector.build().expect("a connector");
    let error = connector.connect(&target()).await.expect_err("a refusal");
    let evidence = refused(error).evidence.expect("evidence");
    assert!(evidence.signature.is_none() && evidence.side_signature.is_none());
    verified(&evidence.to_json().expect("JSON")).expect("what there is verifies");
}
