//! A man in the middle who copies the client's random, and is registered at the server before the client
//! asks for its handshake.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use mtls_core::{Error, EvidenceReason, Policy};
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};
use rustls::{ClientConfig, KeyLog};

use super::world::*;

/// Gives out the same 32 bytes again and again.
#[derive(Debug)]
struct Copied([u8; 32]);

impl SecureRandom for Copied {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        let bytes = self.0.iter().cycle();
        buf.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

/// Holds the attacker's own flight back until the server has registered the copied random: it is called
/// before the flight is written.
#[derive(Debug)]
struct HoldBack {
    random: mpsc::Sender<[u8; 32]>,
    registered: Mutex<mpsc::Receiver<()>>,
}

impl KeyLog for HoldBack {
    fn log(&self, label: &str, client_random: &[u8], _: &[u8]) {
        if label == "CLIENT_HANDSHAKE_TRAFFIC_SECRET" {
            let random = client_random.try_into().expect("a random");
            let _ = self.random.send(random);
            let registered = &self.registered;
            let registered = registered.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = registered.recv();
        }
    }
}

/// A client of the attacker's, which sends this random.
fn copying(world: &World, random: [u8; 32]) -> ClientConfig {
    let provider = CryptoProvider {
        secure_random: Box::leak(Box::new(Copied(random))),
        ..(*provider()).clone()
    };
    ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(world.pki.roots().expect("roots"))
        .with_no_client_auth()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copied_random_is_a_wrong_value() {
    let world = Arc::new(World::new());
    // The attacker's connection ends at the deadline, long after the client has asked for its handshake.
    let settings = patient(Policy::Require).deadline(Duration::from_secs(8));
    let served = serve(&world.server, settings).await;
    let (random, randoms) = mpsc::channel();
    let (registered, is_registered) = mpsc::channel();
    let mut rogue = (*world.rogue).clone();
    rogue.key_log = Arc::new(HoldBack {
        random,
        registered: Mutex::new(is_registered),
    });
    let attacker = ([127, 0, 0, 2], served.address.port()).into();
    let front = plain_server(&rogue, attacker);
    tokio::spawn(async move {
        let near = front.accept().await.expect("a client").await;
        near.expect("the handshake completes").closed().await;
    });
    let (victim_of, server) = (Arc::clone(&world), served.address);
    let runtime = tokio::runtime::Handle::current();
    let other_half = std::thread::spawn(move || {
        let random = randoms.recv().expect("a client");
        runtime.block_on(async move {
            let client = plain_client(&copying(&victim_of, random));
            let far = client.connect(server, HOST).expect("a connection").await;
            let far = far.expect("the server registers the copied random");
            let _ = registered.send(());
            far.closed().await;
        });
    });
    let connector = connector(&world.client, through_127_0_0_2(Policy::Require, server));
    let refused = connector.connect(&target(server)).await;
    let Err(Error::Interception(evidence)) = refused else {
        panic!("{refused:?}");
    };
    let EvidenceReason::Interception(reason) = evidence.reason else {
        panic!("{evidence:?}");
    };
    assert_eq!(reason.as_str(), "wrong-value");
    assert_eq!(served.bytes(), 0);
    other_half
        .join()
        .expect("the server closes what is not confirmed");
}
