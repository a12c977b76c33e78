//! The tickets of a connection leave their quarantine only for a verified connection, and with the
//! side protocol's proof unless they are kept for inheritance.

use std::time::Duration;

use rustls::NamedGroup;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore};
use rustls::pki_types::ServerName;

use super::*;
use crate::proto::client::SideProof;
use crate::tls::descent::{DescendedTickets, Peer};
use crate::tls::tickets::Descended;
use crate::verdict::inheritance::Inheritance;
use crate::verdict::resumption::{ResumptionDirection, ResumptionProof};

fn name() -> ServerName<'static> {
    "example.org".try_into().expect("a DNS name")
}

fn by_the_side_protocol() -> Verified {
    let (outcome, _) = found(&[verified()]);
    let sides: Vec<SideProof> = proofs(&outcome).to_vec();
    Verified::new(sides, Vec::new()).expect("a proof")
}

fn by_resumption() -> Verified {
    let proof = ResumptionProof::new(ResumptionDirection::Forward);
    Verified::new(Vec::new(), vec![proof]).expect("a proof")
}

fn inherited() -> Verified {
    let origin = Origin::now(Method::Side, Vec::new());
    Verified::inherited(Inheritance::of(Arc::new(origin)))
}

fn descended() -> Descended {
    let tickets = DescendedTickets::new(Some(Duration::from_secs(60)), 8);
    let peer = Peer::new(&name(), &"example.org:443".parse().expect("an endpoint"));
    Descended::of(Arc::new(tickets), peer)
}

/// Whether the memory of the key-exchange group, which is held back with the tickets, reaches the
/// store.
fn reaches_the_store(verified: Option<&Verified>, descended: Option<Descended>) -> bool {
    let store = Arc::new(ClientSessionMemoryCache::new(8));
    let quarantine = Quarantine::new(Some(store.clone()), descended);
    quarantine.set_kx_hint(name(), NamedGroup::X25519);
    if let Some(verified) = verified {
        release(&quarantine, verified, &[]);
    }
    store.kx_hint(&name()).is_some()
}

#[test]
fn nothing_leaves_the_quarantine_without_a_verification() {
    assert!(!reaches_the_store(None, None));
    assert!(!reaches_the_store(None, Some(descended())));
}

#[test]
fn a_verification_by_the_side_protocol_releases_the_tickets() {
    assert!(reaches_the_store(Some(&by_the_side_protocol()), None));
}

#[test]
fn a_verification_by_resumption_releases_tickets_only_for_inheritance() {
    assert!(!reaches_the_store(Some(&by_resumption()), None));
    assert!(reaches_the_store(Some(&by_resumption()), Some(descended())));
}

#[test]
fn an_inherited_verification_releases_the_renewed_tickets() {
    assert!(reaches_the_store(Some(&inherited()), Some(descended())));
}
