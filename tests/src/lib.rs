//! Attackers and topologies for multipath TLS (never mutual TLS): the building blocks of its
//! integration tests and its demo.
//!
//! A [`World`] is a small internet on loopback addresses of its own: a PKI with a rogue authority
//! that clients trust like any other, a [`Server`] with a secret page, and a [`Victim`] with a
//! secret request, which connects as plain TLS does or over several paths. The [`attacker`]s are
//! on these paths, and [`Captured`] holds the data that they read. [`netns`] creates two real paths of network
//! namespaces.
//!
//! ```
//! use mtls_core::Policy;
//! use mtls_lab::attacker::{Mitm, MitmPlan};
//! use mtls_lab::{Setup, World};
//!
//! # fn main() -> mtls_lab::Result {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let world = World::new()?;
//! let server = world.serve(Setup::new(Policy::Prefer)).await?;
//! let mitm = Mitm::start(world.host(66, &server), MitmPlan::rogue_ca(&world, &server)?).await?;
//! let victim = world.victim(&server)?.primary_to(mitm.address());
//!
//! victim.fetch_plain().await?; // Plain TLS accepts the man in the middle …
//! assert!(mitm.captured().has_both_secrets());
//! mitm.captured().clear();
//! assert!(victim.connect(Policy::Require).await.is_err()); // … and multipath TLS does not.
//! assert_eq!(mitm.captured().bytes_from_victim(), 0);
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Everything here is for tests: an error is a boxed error, and keys lie in memory.

pub mod attacker;
pub mod bench;
mod captured;
pub mod child;
pub mod demo;
pub mod fleet;
pub mod flood;
pub mod http3;
pub mod latency;
pub mod link;
mod load;
pub mod matrix;
mod meter;
pub mod mptcp;
pub mod netns;
pub mod prng;
pub mod programs;
mod progress;
pub mod quic;
pub mod raw_keys;
mod redis;
mod rounds;
mod secrets;
mod server;
pub mod sim;
pub mod soak;
mod sockets;
pub mod stats;
mod status_page;
mod tasks;
pub mod tls;
pub mod verdicts;
mod victim;
mod world;

pub use captured::Captured;
pub use redis::free_address;
pub use secrets::{HOST, PAGE_SECRET, REQUEST_SECRET};
pub use server::{Server, Setup};
pub use tasks::Tasks;
pub use victim::{Victim, describe, fetch, request};
pub use world::{World, provider, retrying_provider};

/// The result of a test.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Waits until `condition` holds, for events that happen soon and send no notification.
///
/// # Errors
/// When it still does not hold after 20 s.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Result {
    let patience = std::time::Duration::from_secs(20);
    let pause = std::time::Duration::from_millis(5);
    let waiting = async {
        while !condition() {
            tokio::time::sleep(pause).await;
        }
    };
    tokio::time::timeout(patience, waiting)
        .await
        .map_err(|_| format!("timed out waiting until {what}").into())
}

/// Compiles the code in the pages for readers, which no published package contains.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guide.md")]
    struct Guide;
}
