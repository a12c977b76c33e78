//! Attackers on the paths.
//!
//! On the primary path a [`Mitm`] terminates the victim's TLS and opens its own to the server. On a
//! side path a [`SideAttacker`] reads and changes the bytes of a side connection;
//! [`ClosedPort`] and [`BlackHole`] let none come about. [`SideClient`] speaks the side protocol
//! by hand, and [`Flood`] makes it busy. An [`Eavesdropper`] only reads, on any path, and at the
//! [`Dispatcher`] all paths meet.

mod blocked;
mod datagrams;
mod dispatcher;
mod eavesdropper;
mod flood;
mod forger;
pub mod frames;
mod hello;
mod mitm;
mod quic;
mod random;
mod rewound;
mod side;
mod side_client;

pub use blocked::{BlackHole, ClosedPort};
pub use dispatcher::Dispatcher;
pub use eavesdropper::{Eavesdropper, Notes};
pub use flood::Flood;
pub(crate) use mitm::pump;
pub use mitm::{EarlyConnection, Mitm, MitmPlan};
pub use quic::{Injection, Injector};
pub use random::with_client_random;
pub use side::{End, FrameAttack, Record, SideAttack, SideAttacker, Step, Tamper};
pub use side_client::SideClient;
