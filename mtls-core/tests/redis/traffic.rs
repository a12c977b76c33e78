//! Verifications of honest clients and of a man in the middle, as the registry sees them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mtls_core::proto::binding::{
    Association, Binding, Bindings, SideContext, SideSecret, SideSecrets,
};
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode};
use mtls_core::registry::{
    ConfirmedSide, Found, LookupReply, LookupRequester, PendingRegistry, Registration, RegistryKey,
    ServiceId,
};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::fleet::Machine;

/// How often a handshake begins.
const PERIOD: Duration = Duration::from_millis(20);

/// The results of the verifications so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) verified: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    /// The machine did not take the handshake.
    pub(crate) refused: AtomicU64,
    /// An honest client was answered *unknown*.
    pub(crate) false_alarms: AtomicU64,
    /// Other secrets than those registered, or a handshake that there is not.
    pub(crate) wrong: AtomicU64,
    /// A confirmation that did not arrive.
    pub(crate) unconfirmed: AtomicU64,
}

/// Verifications in the background, made by the first machine and answered by the second.
pub(crate) struct Traffic {
    pub(crate) tally: Arc<Tally>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Traffic {
    pub(crate) fn start(machines: &[Machine; 2]) -> Self {
        let tally = Arc::new(Tally::default());
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(machines.clone(), Arc::clone(&tally), Arc::clone(&over)));
        Self { tally, over, task }
    }

    /// Waits until so many more are verified: the fleet is well.
    pub(crate) async fn more_verified(&self, count: u64) {
        let verified = || self.tally.verified.load(Ordering::Relaxed);
        let goal = verified() + count;
        let enough = async {
            while verified() < goal {
                sleep(PERIOD).await;
            }
        };
        timeout(Duration::from_secs(60), enough)
            .await
            .unwrap_or_else(|_| panic!("not well again: {:?}", self.tally));
    }

    /// Ends the traffic, and checks that no client saw an interception that there was not.
    pub(crate) async fn finish(self) -> Arc<Tally> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic");
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(read(&self.tally.false_alarms), 0, "{:?}", self.tally);
        assert_eq!(read(&self.tally.wrong), 0, "{:?}", self.tally);
        eprintln!("{:?}", self.tally);
        self.tally
    }
}

async fn run(machines: [Machine; 2], tally: Arc<Tally>, over: Arc<AtomicBool>) {
    let mut tasks = tokio::task::JoinSet::new();
    let mut number = 0_u128;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let [here, there] = machines.clone();
        tasks.spawn(verify(here, there, number, Arc::clone(&tally)));
        if number.is_multiple_of(10) {
            tasks.spawn(intercept(machines[1].clone(), number, Arc::clone(&tally)));
        }
        sleep(PERIOD).await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
}

/// One honest client, whose Open comes before or after its ClientHello.
async fn verify(here: Machine, there: Machine, number: u128, tally: Arc<Tally>) {
    let count = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let key = key(1, number);
    let open = || there.look_up(key, LookupMode::UntilFlushed, requester(number));
    let early = number.is_multiple_of(2).then(|| tokio::spawn(open()));
    sleep(Duration::from_millis(2)).await;
    let Ok(entry) = here.register(key, keys(number)).await else {
        return count(&tally.refused);
    };
    entry.flushed();
    let open = early.unwrap_or_else(|| tokio::spawn(open()));
    // A client that has completed TLS says Done after a while.
    let reply = match timeout(Duration::from_millis(300), open).await {
        Ok(reply) => reply.expect("no panic"),
        Err(_) => {
            there
                .look_up(key, LookupMode::Immediate, requester(number))
                .await
        }
    };
    match reply {
        LookupReply::Found(found) if has_keys(&found, number) => {
            confirm(&*entry, &there, key, &found, &tally).await;
        }
        LookupReply::Found(_) => count(&tally.wrong),
        LookupReply::Unknown => count(&tally.false_alarms),
        LookupReply::Unavailable | LookupReply::Busy => count(&tally.unavailable),
        other => panic!("unexpected {other:?}"),
    }
}

async fn confirm(
    entry: &dyn Registration,
    there: &Machine,
    key: RegistryKey,
    found: &Found,
    tally: &Tally,
) {
    let nonce = [0; 32];
    let context = SideContext::new(
        &key.association,
        &nonce,
        Bindings::ALL,
        &nonce,
        Binding::Hello,
    );
    let confirmation = Confirmation {
        association: key.association,
        registration: found.registration,
        binding: Binding::Hello,
        context,
    };
    let side = ConfirmedSide::new(confirmation, ([192, 0, 2, 1], 443).into());
    there.confirm(key.service, side);
    match timeout(Duration::from_secs(8), entry.confirmed()).await {
        Ok(()) => tally.verified.fetch_add(1, Ordering::Relaxed),
        Err(_) => tally.unconfirmed.fetch_add(1, Ordering::Relaxed),
    };
}

/// A man in the middle completed the client's handshake: the servers never saw it.
async fn intercept(there: Machine, number: u128, tally: Arc<Tally>) {
    let reply = there
        .look_up(key(2, number), LookupMode::Immediate, requester(number))
        .await;
    if matches!(reply, LookupReply::Found(_)) {
        tally.wrong.fetch_add(1, Ordering::Relaxed);
    }
}

fn key(kind: u128, number: u128) -> RegistryKey {
    RegistryKey {
        service: ServiceId::from_name("shop"),
        association: Association((kind << 64 | number).to_be_bytes()),
    }
}

fn secret(number: u128) -> SideSecret {
    let mut secret = [0; 32];
    secret[..16].copy_from_slice(&number.to_be_bytes());
    SideSecret::new(secret)
}

fn keys(number: u128) -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(secret(number)),
        hello: None,
    })
}

fn has_keys(found: &Found, number: u128) -> bool {
    let HandshakeKeys::Tls13(secrets) = &*found.keys else {
        return false;
    };
    secrets.hello.is_none()
        && secrets.exporter.as_ref().map(SideSecret::as_bytes) == Some(secret(number).as_bytes())
}

fn requester(number: u128) -> LookupRequester {
    LookupRequester::new(IpAddr::from([192, 0, 2, number as u8]), false)
}
