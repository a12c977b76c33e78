//! The server's evaluation of its side connections, without a network: the reason of each verdict, and what
//! the policies let pass.

use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::evaluate::decision::Handshaken;
use crate::proto::binding::{Binding, Bindings, HelloHash, SideContext, SideSecrets};
use crate::proto::client::InterceptionReason;
use crate::proto::server::{Confirmation, HandshakeKeys, LookupMode};
use crate::registry::{
    ConfirmedSide, LookupReply, LookupRequester, MemoryRegistry, PendingRegistry, RegistryKey,
    ServiceId,
};
use crate::side::server::service::SideService;
use crate::side::server::settings::SideServiceSettings;
use crate::stream::MultipathStream;

const POLICIES: [Policy; 3] = [Policy::Require, Policy::Prefer, Policy::Observe];

fn peer(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 443).into()
}

fn association() -> Association {
    Association([3; 16])
}

fn evaluation(policy: Policy) -> ServerEvaluation {
    ServerEvaluation {
        policy,
        deadline: Duration::from_secs(3),
        started: Instant::now(),
        peer: peer(1),
        association: Some(association()),
        times: Times::default(),
        inherits: None,
    }
}

/// A registered handshake, and the means to confirm or dispute it.
struct Registered {
    registry: MemoryRegistry,
    registration: Arc<dyn Registration>,
    confirmation: Confirmation,
}

impl Registered {
    async fn new() -> Self {
        let registry = MemoryRegistry::default();
        let key = RegistryKey {
            service: ServiceId::default(),
            association: association(),
        };
        let keys = HandshakeKeys::Tls13(SideSecrets::from_hello(&HelloHash([1; 32])));
        let registration = registry.register(key, keys).await.expect("a place");
        let unnoticed = registration.status();
        assert!(!unnoticed.opened);
        let requester = LookupRequester {
            peer: peer(2).ip(),
            confirmed_before: false,
        };
        let reply = registry
            .look_up(key, LookupMode::Immediate, requester)
            .await;
        let LookupReply::Found(found) = reply else {
            panic!("expected the handshake, got {reply:?}");
        };
        let (nonce, binding) = ([0; 32], Binding::Hello);
        let context = SideContext::new(&association(), &nonce, Bindings::ALL, &nonce, binding);
        Self {
            registry,
            registration: registration.into(),
            confirmation: Confirmation {
                association: association(),
                registration: found.registration,
                binding,
                context,
            },
        }
    }

    async fn confirmed(self) -> Self {
        let side = ConfirmedSide {
            confirmation: self.confirmation,
            peer: peer(2),
        };
        self.registry.confirm(ServiceId::default(), side);
        self
    }

    async fn disputed(self) -> Self {
        let about = self.confirmation;
        self.registry.dispute(ServiceId::default(), about);
        self
    }

    fn get(&self) -> Option<Arc<dyn Registration>> {
        Some(Arc::clone(&self.registration))
    }
}

/// The outcome of the verdict that passes, or of the refusal.
fn concluded(
    policy: Policy,
    registration: Option<Arc<dyn Registration>>,
    unverifiable: Option<Reason>,
) -> (bool, Outcome) {
    match evaluation(policy).conclude(registration, unverifiable, TlsReport::default(), None) {
        Ok(handle) => (true, handle.get().outcome),
        Err(Error::Unverified(why)) => {
            assert_eq!(why.verdict.outcome, Outcome::Unverified(why.reason));
            (false, why.verdict.outcome)
        }
        Err(Error::Disputed(verdict)) => (false, verdict.outcome),
        Err(other) => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_registered_passes_unless_verification_is_required() {
    for policy in POLICIES {
        let (passes, outcome) = concluded(policy, None, None);
        assert_eq!(outcome, Outcome::Unverified(Reason::NotRegistered));
        assert_eq!(passes, policy != Policy::Require, "{policy}");
    }
}

#[tokio::test]
async fn a_handshake_without_a_confirmation_passes_unless_verification_is_required() {
    let opened = Registered::new().await;
    for policy in POLICIES {
        let (passes, outcome) = concluded(policy, opened.get(), None);
        assert_eq!(outcome, Outcome::Unverified(Reason::NotConfirmed));
        assert_eq!(passes, policy != Policy::Require, "{policy}");
    }
}

#[tokio::test]
async fn a_confirmed_handshake_passes_with_both_paths_in_its_verdict() {
    let registered = Registered::new().await.confirmed().await;
    for policy in POLICIES {
        let handle =
            evaluation(policy).conclude(registered.get(), None, TlsReport::default(), None);
        let verdict = handle.expect("a verified connection passes").get();
        assert!(verdict.verified().is_some());
        let peers: Vec<_> = verdict.paths.iter().map(|path| path.peer).collect();
        assert_eq!(peers, [Some(peer(1)), Some(peer(2))]);
        assert!(verdict.times.verdict.is_some());
        assert_eq!(verdict.association, Some(association()));
    }
}

#[tokio::test]
async fn a_disputed_handshake_passes_only_where_it_is_observed() {
    let registered = Registered::new().await.disputed().await;
    for policy in POLICIES {
        let (passes, outcome) = concluded(policy, registered.get(), None);
        assert_eq!(
            outcome,
            Outcome::Intercepted(InterceptionReason::WrongValue)
        );
        assert_eq!(passes, policy == Policy::Observe, "{policy}");
    }
}

#[tokio::test]
async fn a_dispute_outweighs_an_inheritance_also_after_the_decision() {
    let registered = Registered::new().await;
    let origin = Origin::now(Method::Side, Vec::new());
    let inheriting = ServerEvaluation {
        inherits: Some(Arc::new(origin)),
        ..evaluation(Policy::Prefer)
    };
    let decided = inheriting.conclude(registered.get(), None, TlsReport::default(), None);
    let handle = decided.expect("an inherited verification");
    assert_eq!(handle.outcome().as_str(), "verified");
    let _disputed = registered.disputed().await;
    let disputed = Outcome::Intercepted(InterceptionReason::WrongValue);
    assert_eq!(handle.outcome(), disputed);
    assert_eq!(handle.get().outcome, disputed);
}

#[tokio::test]
async fn no_confirmation_verifies_a_handshake_that_cannot_be_bound() {
    let registered = Registered::new().await.confirmed().await;
    for (unverifiable, passes_under) in [
        (Reason::NotTls13, &POLICIES[1..]),
        (Reason::EarlyData, &POLICIES[..0]),
    ] {
        for policy in POLICIES {
            let (passes, outcome) = concluded(policy, registered.get(), Some(unverifiable));
            assert_eq!(outcome, Outcome::Unverified(unverifiable));
            assert_eq!(
                passes,
                passes_under.contains(&policy),
                "{policy} {unverifiable:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_verdict_follows_what_side_connections_say_later() {
    let registered = Registered::new().await;
    let handle =
        evaluation(Policy::Observe).conclude(registered.get(), None, TlsReport::default(), None);
    let handle = handle.expect("observe lets it pass");
    assert!(handle.get().verified().is_none());
    registered.confirmed().await;
    assert!(handle.get().verified().is_some());
}

#[tokio::test]
async fn a_confirm_is_awaited_until_the_deadline_after_the_start() {
    let evaluation = evaluation(Policy::Require);
    assert_eq!(
        evaluation.confirm_deadline() - evaluation.started,
        evaluation.deadline
    );
}

/// The result for a connection that is complete, with one registration.
async fn handed_out(
    policy: Policy,
    tls13: bool,
    inherits: Option<Arc<Origin>>,
    registered: &Registered,
) -> Result<MultipathStream<DuplexStream>, Error> {
    let settings = SideServiceSettings::new(policy);
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    let sides = SideService::new(settings, Bindings::ALL, random).expect("valid settings");
    let evaluation = ServerEvaluation {
        inherits,
        ..evaluation(policy)
    };
    let complete = Handshaken {
        tls: duplex(1).0,
        tls13,
        report: TlsReport::default(),
    };
    let sides = Arc::new(sides);
    evaluation
        .hand_out(complete, registered.get(), &sides, None)
        .await
}

#[tokio::test(start_paused = true)]
async fn only_a_requirement_that_a_confirm_can_fulfil_is_waited_for() {
    let origin = || Some(Arc::new(Origin::now(Method::Side, Vec::new())));
    for (policy, tls13, inherits, waits) in [
        (Policy::Require, true, None, true),
        (Policy::Require, true, origin(), false),
        (Policy::Require, false, None, false),
        (Policy::Require, false, origin(), false),
        (Policy::Prefer, true, None, false),
        (Policy::Observe, true, None, false),
    ] {
        let case = format!("{policy}, {tls13}, {inherits:?}");
        let started = Instant::now();
        let _ = handed_out(policy, tls13, inherits, &Registered::new().await).await;
        let waited = started.elapsed() > Duration::from_secs(1);
        assert_eq!(waited, waits, "{case}");
    }
}

#[tokio::test]
async fn only_a_preference_without_a_confirm_leaves_the_verdict_open() {
    for (policy, confirmed, open) in [
        (Policy::Prefer, false, true),
        (Policy::Prefer, true, false),
        (Policy::Observe, false, false),
        (Policy::Observe, true, false),
        (Policy::Require, true, false),
    ] {
        let mut registered = Registered::new().await;
        if confirmed {
            registered = registered.confirmed().await;
        }
        let stream = handed_out(policy, true, None, &registered).await;
        let stream = stream.expect("a connection that passes");
        assert_eq!(!stream.is_decided(), open, "{policy}, {confirmed}");
    }
}
